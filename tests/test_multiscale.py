"""Several scales: the same pair, smaller; a hole stays a hole at each of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geo_p2p.card import FILL
from geo_p2p.errors import ModelError
from geo_p2p.losses import discriminator_loss, fill
from geo_p2p.networks import MultiScale, halved, initialise, receptive_field

SHAPES = st.tuples(st.integers(1, 13), st.integers(1, 13))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def holed(rows: int, cols: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return condition, image and valid, filled nowhere."""
    g = seeded(seed)
    condition, image = (torch.randn(2, bands, rows, cols, generator=g) for bands in (2, 1))
    return condition, image, torch.rand(2, 1, rows, cols, generator=g) < 0.9


# ------------------------------------------------------------------ halving


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.integers(0, 99))
def test_a_halved_pixel_is_the_mean_of_three_by_three_valid_ones_or_a_hole(
    shape: tuple[int, int], seed: int
) -> None:
    condition, image, valid = holed(*shape, seed)
    found, _, kept = halved(fill(condition, valid), fill(image, valid), valid)
    assert found.shape[2:] == kept.shape[2:] == tuple(-(-side // 2) for side in shape)
    for row in range(found.shape[2]):
        for col in range(found.shape[3]):
            rows, cols = (slice(max(0, 2 * i - 1), 2 * i + 2) for i in (row, col))
            whole = valid[0, 0, rows, cols].all()
            assert kept[0, 0, row, col] == whole
            expected = condition[0, 0, rows, cols].mean() if whole else torch.tensor(FILL)
            torch.testing.assert_close(found[0, 0, row, col], expected)


@settings(deadline=None, max_examples=20)
@given(SHAPES, st.integers(0, 99), st.floats(-9, 9))
def test_what_a_hole_is_filled_with_reaches_no_valid_pixel_of_any_scale(
    shape: tuple[int, int], seed: int, junk: float
) -> None:
    condition, image, valid = holed(*shape, seed)
    one = fill(condition, valid), fill(image, valid), valid
    two = condition.masked_fill(~valid, junk), image.masked_fill(~valid, -junk), valid
    for _ in range(3):
        one, two = halved(*one), halved(*two)
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# ------------------------------------------------------------------ the networks


def test_a_discriminator_of_one_scale_is_a_patchgan() -> None:
    net = initialise(MultiScale(3, scales=1, layers=1, ndf=4), seeded()).eval()
    condition, image, _ = holed(16, 16, 0)
    ((*_, scores),) = net(condition, image)
    assert torch.equal(scores, net.scales[0](condition, image))


def test_each_scale_judges_the_pair_halved_once_more() -> None:
    net = initialise(MultiScale(3, scales=3, layers=1, ndf=4), seeded()).eval()
    condition, image, valid = holed(40, 44, 0)
    condition, image = fill(condition, valid), fill(image, valid)
    for found, judge in zip(net(condition, image, valid), net.scales, strict=True):
        assert torch.equal(found[-1], judge(condition, image))
        assert len(found) == 3  # two layers and the scores
        condition, image, valid = halved(condition, image, valid)


def test_without_a_mask_all_is_valid() -> None:
    net = initialise(MultiScale(3, scales=2, layers=1, ndf=4), seeded()).eval()
    condition, image, valid = holed(24, 24, 0)
    for one, two in zip(
        net(condition, image), net(condition, image, torch.ones_like(valid)), strict=True
    ):
        assert torch.equal(one[-1], two[-1])


class OneScale(nn.Module):
    """The scores of one of the scales."""

    def __init__(self, net: MultiScale, number: int) -> None:
        super().__init__()
        self.net, self.number = net, number

    def forward(self, condition: Tensor, image: Tensor) -> Tensor:
        scores: Tensor = self.net(condition, image)[self.number][-1]
        return scores


@pytest.mark.parametrize(("number", "patch"), [(0, 34), (1, 69), (2, 139)])
def test_each_scale_sees_twice_as_far_as_the_one_before(number: int, patch: int) -> None:
    net = initialise(MultiScale(2, scales=3, layers=2, ndf=2), seeded())
    assert receptive_field(OneScale(net, number), 1, 1, side=256) == patch  # 2 n + 1 of n


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_it_gives_one_verdict_at_its_smallest_and_refuses_less(scales: int, layers: int) -> None:
    net = MultiScale(2, scales=scales, layers=layers, ndf=2).eval()
    image = torch.zeros(1, 1, net.smallest, net.smallest)
    *_, last = net(image, image)
    assert last[-1].shape == (1, 1, 1, 1)
    if layers:
        with pytest.raises(ModelError, match="larger chips, or fewer layers"):
            net(image[..., 1:, 1:], image[..., 1:, 1:])


def test_no_scale_at_all_is_refused() -> None:
    with pytest.raises(ModelError, match="scales is 1 or more, got scales=0"):
        MultiScale(3, scales=0)


# ------------------------------------------------------------------ holes


def a_pair_with_holes(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return condition, target, valid and a translation that is perfect where there is a truth."""
    g = seeded(seed)
    condition = torch.rand(4, 2, 40, 40, generator=g) * 2 - 1
    target = condition[:, :1] * condition[:, 1:]
    valid = torch.ones(4, 1, 40, 40, dtype=torch.bool)
    for image in valid:
        top, left = torch.randint(4, 20, (2,), generator=g).tolist()
        image[:, top : top + 13, left : left + 15] = False
    made = torch.where(valid, target, torch.rand(target.shape, generator=g) * 2 - 1)
    return condition.masked_fill(~valid, -1), target.masked_fill(~valid, -1), valid, made


@pytest.mark.parametrize("filled", [True, False])
def test_a_perfect_generator_loses_at_no_scale_by_its_holes(filled: bool) -> None:
    net = initialise(MultiScale(3, scales=2, layers=1, ndf=8), seeded()).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.999))

    def verdicts(seed: int) -> list[list[Tensor]]:
        condition, target, valid, made = a_pair_with_holes(seed)
        images = [fill(image, valid) if filled else image for image in (target, made)]
        # Unfilled, the second scale is all there is to hide the holes with.
        return [
            [scale[-1] for scale in net(fill(condition, valid), image, valid)] for image in images
        ]

    for step in range(30):
        optimiser.zero_grad()
        discriminator_loss(*verdicts(step)).total.backward()
        optimiser.step()
    with torch.no_grad():
        rounds = [verdicts(seed) for seed in range(1000, 1006)]
    for scale in (0, 1):
        right = [torch.cat([real[scale] > 0, fake[scale] <= 0]) for real, fake in rounds]
        accuracy = float(torch.cat([each.flatten() for each in right]).float().mean())
        hidden = filled or scale == 1
        assert accuracy == pytest.approx(0.5, abs=0.02) if hidden else accuracy > 0.75
