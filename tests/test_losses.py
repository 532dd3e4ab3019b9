"""Losses know about holes: what is not valid changes no value and no gradient."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from geo_p2p.card import FILL
from geo_p2p.errors import ModelError
from geo_p2p.losses import (
    GAN_LOSSES,
    cross_entropy,
    discriminator_loss,
    feature_loss,
    fill,
    gan_loss,
    generator_loss,
    gradient_loss,
    l1_loss,
    l2_loss,
    ssim_loss,
)
from geo_p2p.metrics import ImageScores
from geo_p2p.networks import PatchGAN, initialise

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
PIXEL_LOSSES = [l1_loss, l2_loss, cross_entropy, gradient_loss, ssim_loss]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return pred, target and valid of 2 x 3 bands; the target serves as one-hot classes too."""
    g = seeded(seed)
    pred = torch.randn(2, 3, 24, 20, generator=g)
    target = F.one_hot(torch.randint(3, (2, 24, 20), generator=g), 3).permute(0, 3, 1, 2).float()
    valid = torch.rand(2, 1, 24, 20, generator=g) < 0.7
    valid[:, :, 11:, :13] = True  # room for some windows
    return pred, target, valid


def value_and_gradient(loss: Loss, pred: Tensor, target: Tensor, valid: Tensor) -> list[Tensor]:
    pred = pred.clone().requires_grad_()
    value = loss(pred, target, valid)
    (grad,) = torch.autograd.grad(value, pred)
    return [value.detach(), grad]


# ------------------------------------------------------------------ the fill


@pytest.mark.parametrize("junk", [1e30, math.nan, math.inf, -math.inf])
def test_the_fill_replaces_anything_and_keeps_valid_pixels_to_the_bit(junk: float) -> None:
    image, _, valid = example()
    image = image.masked_fill(~valid, junk).requires_grad_()
    filled = fill(image, valid)
    here = valid.expand_as(image)
    assert (filled[~here] == FILL).all()
    assert torch.equal(filled[here], image[here])
    (grad,) = torch.autograd.grad((filled * 3).sum(), image)
    assert torch.equal(grad, 3.0 * here)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_fill_keeps_the_type(dtype: torch.dtype) -> None:
    image, _, valid = example()
    assert fill(image.to(dtype), valid).dtype == dtype


# ------------------------------------------------------------------ pixel losses


def test_pixel_losses_are_means_over_valid_pixels_and_bands() -> None:
    pred, target, valid = example()
    at = [t.permute(0, 2, 3, 1)[valid[:, 0]] for t in (pred, target)]  # (valid pixels, bands)
    torch.testing.assert_close(l1_loss(pred, target, valid), F.l1_loss(*at))
    torch.testing.assert_close(l2_loss(pred, target, valid), F.mse_loss(*at))


def test_cross_entropy_is_the_mean_over_valid_pixels_of_a_known_class() -> None:
    pred, target, valid = example()
    known = torch.rand(2, 1, 24, 20, generator=seeded(1)) < 0.6
    target = target * known
    counts = (valid & known)[:, 0]
    at = [t.permute(0, 2, 3, 1)[counts] for t in (pred, target)]
    expected = F.cross_entropy(at[0], at[1].argmax(dim=1))
    torch.testing.assert_close(cross_entropy(pred, target, valid), expected)
    _, grad = value_and_gradient(cross_entropy, pred, target, valid)
    assert torch.equal(grad.ne(0).any(dim=1), counts)


@pytest.mark.parametrize("junk", [1e30, math.nan, math.inf])
@pytest.mark.parametrize("holed", ["pred", "target", "both"])
@pytest.mark.parametrize("loss", PIXEL_LOSSES)
def test_what_lies_in_a_hole_changes_nothing(loss: Loss, holed: str, junk: float) -> None:
    pred, target, valid = example()
    clean = value_and_gradient(loss, pred, target, valid)
    if holed != "target":
        pred = pred.masked_fill(~valid, junk)
    if holed != "pred":
        target = target.masked_fill(~valid, junk)
    value, grad = value_and_gradient(loss, pred, target, valid)
    assert torch.equal(value, clean[0])
    assert torch.equal(grad, clean[1])
    assert (grad.masked_select(~valid) == 0).all()


@pytest.mark.parametrize("loss", PIXEL_LOSSES)
def test_nothing_valid_gives_zero_and_a_gradient_of_zero(loss: Loss) -> None:
    pred, target, valid = example()
    value, grad = value_and_gradient(loss, pred, target, torch.zeros_like(valid))
    assert value == 0
    assert (grad == 0).all()


def test_a_batch_without_a_known_class_costs_nothing() -> None:
    pred, target, valid = example()
    value, grad = value_and_gradient(cross_entropy, pred, torch.zeros_like(target), valid)
    assert value == 0
    assert (grad == 0).all()


@pytest.mark.parametrize("loss", PIXEL_LOSSES)
def test_means_are_exact_whatever_the_precision_of_the_images(loss: Loss) -> None:
    # 65536 pixels of one value: a mean in half precision would stop growing, or overflow.
    pred = torch.full((1, 2, 256, 256), 0.75, dtype=torch.bfloat16)
    target = torch.zeros(1, 2, 256, 256)
    target[:, 0] = 1
    valid = torch.ones(1, 1, 256, 256, dtype=torch.bool)
    torch.testing.assert_close(loss(pred, target, valid), loss(pred.float(), target, valid))


# ------------------------------------------------------------------ edges and structure


def test_the_gradient_loss_is_the_mean_over_steps_between_valid_neighbours() -> None:
    pred, target, valid = example()
    steps = []
    for axis in (2, 3):
        length = valid.shape[axis] - 1
        counts = valid.narrow(axis, 0, length) & valid.narrow(axis, 1, length)
        apart = (pred.diff(dim=axis) - target.diff(dim=axis)).abs()
        steps.append(apart[counts.expand_as(apart)])
    torch.testing.assert_close(gradient_loss(pred, target, valid), torch.cat(steps).mean())


def test_the_gradient_loss_sees_edges_and_no_brightness() -> None:
    _, target, valid = example()
    assert gradient_loss(target + 0.5, target, valid) == pytest.approx(0, abs=1e-7)
    flat = torch.zeros(1, 1, 4, 4)
    edge = flat.clone()
    edge[..., 2:] = 1
    everywhere = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert gradient_loss(edge, flat, everywhere) == pytest.approx(4 / 24)  # 4 of 12 + 12 steps


def test_the_ssim_loss_is_what_is_missing_of_the_measured_ssim() -> None:
    pred, target, valid = example()
    pred, target = pred.clamp(-1, 1), target + 0.1 * pred
    scores = ImageScores(2.0)
    for p, t, v in zip(pred, target, valid, strict=True):
        scores.update(p.numpy(), t.numpy(), v[0].numpy())
    measured = scores.result()["ssim"]
    assert float(ssim_loss(pred, target, valid)) == pytest.approx(1 - measured, abs=1e-5)
    assert ssim_loss(target, target, valid) == pytest.approx(0, abs=1e-6)


def test_images_smaller_than_a_window_have_no_structure() -> None:
    pred, target, valid = (image[..., :10, :] for image in example())
    value, grad = value_and_gradient(ssim_loss, pred, target, valid)
    assert value == 0
    assert (grad == 0).all()


# ------------------------------------------------------------------ adversarial losses


def test_adversarial_losses_are_the_published_ones() -> None:
    scores = torch.randn(4, 1, 5, 5, generator=seeded(0))
    p = scores.sigmoid()
    torch.testing.assert_close(gan_loss(scores, True), -p.log().mean())
    torch.testing.assert_close(gan_loss(scores, False), -(1 - p).log().mean())
    torch.testing.assert_close(gan_loss(scores, True, "lsgan"), ((scores - 1) ** 2).mean())
    torch.testing.assert_close(gan_loss(scores, False, "lsgan"), (scores**2).mean())
    assert gan_loss(torch.zeros(3), True) == pytest.approx(math.log(2))
    torch.testing.assert_close(gan_loss(scores, True, "hinge"), (1 - scores).clamp(min=0).mean())
    torch.testing.assert_close(gan_loss(scores, False, "hinge"), (1 + scores).clamp(min=0).mean())


def test_the_generator_asks_for_the_verdict_real_and_by_the_hinge_for_ever_more() -> None:
    scores = torch.randn(4, 1, 5, 5, generator=seeded(0)) * 3
    for kind in ("bce", "lsgan"):
        assert torch.equal(generator_loss(scores, kind), gan_loss(scores, True, kind))
    torch.testing.assert_close(generator_loss(scores, "hinge"), -scores.mean())


@pytest.mark.parametrize("kind", GAN_LOSSES)
@pytest.mark.parametrize("loss", [lambda s, k: gan_loss(s, False, k), generator_loss])
def test_scales_count_alike_however_many_scores_they_have(loss: Any, kind: str) -> None:
    fine, coarse = torch.randn(2, 1, 9, 9, generator=seeded(0)), torch.full((2, 1, 2, 2), 0.3)
    torch.testing.assert_close(
        loss([fine, coarse], kind), (loss(fine, kind) + loss(coarse, kind)) / 2
    )
    assert torch.equal(loss([fine], kind), loss(fine, kind))


def test_feature_matching_is_the_mean_over_scales_layers_and_units_without_the_scores() -> None:
    g = seeded(0)
    shapes = [[(2, 4, 8, 8), (2, 8, 4, 4), (2, 1, 3, 3)], [(2, 4, 4, 4), (2, 1, 1, 1)]]
    fake, real = (
        [[torch.randn(shape, generator=g, requires_grad=True) for shape in s] for s in shapes]
        for _ in range(2)
    )
    apart = [(fake[0][0] - real[0][0]).abs().mean(), (fake[0][1] - real[0][1]).abs().mean()]
    expected = (sum(apart) / 2 + (fake[1][0] - real[1][0]).abs().mean()) / 2
    loss = feature_loss(fake, real)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(layer.grad is None for scale in real for layer in scale)
    assert all(layer.grad is not None for scale in fake for layer in scale[:-1])
    assert all(scale[-1].grad is None for scale in fake)


@pytest.mark.parametrize("kind", GAN_LOSSES)
@pytest.mark.parametrize("real", [True, False])
def test_extreme_scores_leave_loss_and_gradient_finite(kind: str, real: bool) -> None:
    scores = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    loss = gan_loss(scores, real, kind)
    (grad,) = torch.autograd.grad(loss, scores)
    assert torch.isfinite(loss)
    assert torch.isfinite(grad).all()
    right, wrong = (4, 0) if real else (0, 4)
    if kind == "bce":
        assert grad[right] == 0
        assert grad[wrong] != 0  # a verdict far off is still told where to go


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_the_discriminator_makes_half_of_both_parts_small(kind: str) -> None:
    real, fake = torch.randn(2, 3, 1, 4, 4, generator=seeded(0))
    loss = discriminator_loss(real, fake, kind)
    assert torch.equal(loss.real, gan_loss(real, True, kind))
    assert torch.equal(loss.fake, gan_loss(fake, False, kind))
    torch.testing.assert_close(loss.total, (loss.real + loss.fake) / 2)
    swapped = discriminator_loss(fake, real, kind)
    assert not torch.isclose(swapped.total, loss.total)  # it matters which one is real


def test_an_unknown_adversarial_loss_is_refused_with_the_choices() -> None:
    with pytest.raises(
        ModelError, match="unknown GAN loss 'wgan': choose one of bce, lsgan, hinge"
    ):
        gan_loss(torch.zeros(1), True, "wgan")


# ------------------------------------------------------------------ holes and the discriminator


def a_pair_with_holes(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return condition, target, valid, and what a perfect generator makes of the condition.

    Perfect where there is something to know; in the holes it makes what it makes. The rasters
    hold their nodata value there, off the range of their data, as rasters do.
    """
    g = seeded(seed)
    condition = torch.rand(4, 2, 32, 32, generator=g) * 2 - 1
    target = condition[:, :1] * condition[:, 1:]
    valid = torch.ones(4, 1, 32, 32, dtype=torch.bool)
    for image in valid:
        top, left = torch.randint(4, 16, (2,), generator=g).tolist()
        image[:, top : top + 12, left : left + 12] = False
    made = torch.where(valid, target, torch.rand(target.shape, generator=g) * 2 - 1)
    nodata = -1.0
    return condition.masked_fill(~valid, nodata), target.masked_fill(~valid, nodata), valid, made


def accuracy_of_a_trained_discriminator(fill_target: bool, fill_made: bool) -> float:
    """Train a discriminator against the perfect generator; score it on pairs it never saw."""
    net = initialise(PatchGAN(3, layers=1, ndf=8), seeded(0)).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.999))

    def scores(seed: int) -> tuple[Tensor, Tensor]:
        condition, target, valid, made = a_pair_with_holes(seed)
        condition = fill(condition, valid)
        if fill_target:
            target = fill(target, valid)
        if fill_made:
            made = fill(made, valid)
        return net(condition, target), net(condition, made)

    for step in range(40):
        optimiser.zero_grad()
        discriminator_loss(*scores(step)).total.backward()
        optimiser.step()
    with torch.no_grad():
        rounds = [scores(seed) for seed in range(1000, 1008)]
    right = [torch.cat([real > 0, fake <= 0]).float().mean() for real, fake in rounds]
    return float(torch.stack(right).mean())


def test_against_a_perfect_generator_the_discriminator_stays_at_chance_in_spite_of_holes() -> None:
    assert accuracy_of_a_trained_discriminator(True, True) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("fill_target", "fill_made"), [(False, False), (False, True)])
def test_without_the_fill_the_discriminator_wins_by_the_holes_alone(
    fill_target: bool, fill_made: bool
) -> None:
    assert accuracy_of_a_trained_discriminator(fill_target, fill_made) > 0.8


def test_the_generator_learns_nothing_from_the_discriminator_in_a_hole() -> None:
    net = initialise(PatchGAN(3, layers=1, ndf=8), seeded(0))
    condition, _, valid, made = a_pair_with_holes(0)
    made.requires_grad_()
    gan_loss(net(fill(condition, valid), fill(made, valid)), True).backward()
    assert made.grad is not None
    assert (made.grad[~valid] == 0).all()
    assert (made.grad[valid] != 0).float().mean() > 0.99
