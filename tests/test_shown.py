"""What the discriminator is shown varies, and all that belongs to a pair in the same way."""

import pytest
import torch
from torch import Tensor

from geo_p2p.card import FILL
from geo_p2p.pix2pix.shown import Shown, varied

SIDE = 24
KINDS = ["shift", "cutout", "both"]


def places(count: int = 8) -> Shown:
    """Return pairs whose every image holds the place of each pixel, and no pixel the fill."""
    rows, cols = torch.meshgrid(*2 * [torch.arange(1.0, SIDE + 1)], indexing="ij")
    image = torch.stack((rows, cols)).expand(count, 2, SIDE, SIDE)
    known = torch.ones(count, 1, SIDE, SIDE, dtype=torch.bool)
    known[:, :, 3:7, 9:12] = False
    images = image.where(known, FILL)
    return Shown(images, images.clone(), images.clone(), known)


def seeded(kind: str, shown: Shown, seed: int = 0) -> Shown:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return varied(shown, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_condition_real_fake_and_mask_move_alike(kind: str) -> None:
    shown = seeded(kind, places())
    assert torch.equal(shown.condition, shown.real)
    assert torch.equal(shown.real, shown.fake)
    # A pixel is known exactly where the place it holds is: the rest is fill, holes included.
    assert torch.equal(shown.known, (shown.real != FILL).any(1, keepdim=True))


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_a_batch_vary_each_in_its_own_way(kind: str) -> None:
    shown = seeded(kind, places(16))
    assert len({tuple(mask.flatten().tolist()) for mask in shown.known}) > 8


def test_a_shift_moves_by_whole_pixels_up_to_an_eighth_and_uncovers_holes() -> None:
    before, found = places(64), set()
    after = seeded("shift", before)
    for image, mask in zip(after.real, after.known, strict=True):
        here = mask[0].nonzero()
        away = image[:, mask[0]].T - 1 - here  # where it came from, less where it is
        assert (away == away[0]).all()
        found.add(tuple(away[0].int().tolist()))
        assert mask.sum() >= before.known[0].sum() - 2 * SIDE * SIDE // 8
    assert {step for steps in found for step in steps} == set(range(-3, 4))


def test_a_cutout_is_a_square_of_half_the_side_where_it_fits() -> None:
    whole = places(64)._replace(known=torch.ones(64, 1, SIDE, SIDE, dtype=torch.bool))
    sizes = [int((~mask).sum()) for mask in seeded("cutout", whole).known]
    assert max(sizes) == (SIDE // 2) ** 2
    assert min(sizes) >= (SIDE // 4) ** 2  # its centre is in the pair


@pytest.mark.parametrize("kind", KINDS)
def test_it_follows_torch_s_chance_and_none_takes_nothing_of_it(kind: str) -> None:
    assert all(map(torch.equal, seeded(kind, places(), 1), seeded(kind, places(), 1)))
    assert not torch.equal(seeded(kind, places(), 1).known, seeded(kind, places(), 2).known)
    before = torch.get_rng_state()
    shown = places()
    assert varied(shown, "none") is shown
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_finds_back_to_where_a_pixel_came_from(kind: str) -> None:
    shown = places()
    fake: Tensor = shown.fake.clone().requires_grad_()
    made = seeded(kind, shown._replace(fake=fake))
    (grad,) = torch.autograd.grad((made.fake * made.fake.detach()).sum(), fake)
    seen = grad != 0
    assert torch.equal(grad[seen], fake.detach()[seen])
    assert seen.any(1).sum() == made.known.sum()
