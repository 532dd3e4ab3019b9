"""The adversary: what it sees, what it moves, and that nothing else moves with it."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from pairs import TINY
from torch import Tensor, nn
from torch.nn import functional as F

from geo_p2p.card import TrainConfig
from geo_p2p.losses import (
    discriminator_loss,
    feature_loss,
    fill,
    gradient_loss,
    l1_loss,
    ssim_loss,
)
from geo_p2p.networks import Generator, MultiScale, PatchGAN, UNet, initialise
from geo_p2p.pix2pix.adversary import Adversary
from geo_p2p.pix2pix.build import build_learner  # before fastai, whose import warns
from geo_p2p.pix2pix.callbacks import Schedule, flat_then_linear
from geo_p2p.pix2pix.shown import Shown

from fastai.callback.core import Callback  # isort: skip
from fastai.data.core import DataLoaders  # isort: skip
from fastai.data.load import DataLoader  # isort: skip

SIDE, CHANNELS, OUT = 16, 2, 3
GARBAGE = 7.0
Batch = tuple[Tensor, Tensor, Tensor]


class Spy(nn.Module):
    """A discriminator that remembers what it was shown, and whether it could learn from it."""

    def __init__(self, judge: PatchGAN) -> None:
        super().__init__()
        self.judge = judge
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.learns: list[bool] = []

    def forward(self, condition: Tensor, image: Tensor) -> Tensor:
        self.seen.append((condition.detach().clone(), image.detach().clone()))
        self.learns.append(all(p.requires_grad for p in self.parameters()))
        scores: Tensor = self.judge(condition, image)
        return scores


class Watch(Callback):
    """Calls functions at events, after (or, with a lower order, before) the adversary."""

    def __init__(self, order: int = 11, **watchers: Callable[[Any], None]) -> None:
        self.order = order
        for event, watcher in watchers.items():
            setattr(self, event, lambda watcher=watcher: watcher(self.learn))


def samples(count: int = 4, classes: bool = False) -> list[Batch]:
    """Return single samples with a hole each, in which x and y hold garbage that differs."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for index in range(count):
        x, y = (torch.rand(n, SIDE, SIDE, generator=draw) * 2 - 1 for n in (CHANNELS, OUT))
        if classes:
            y = F.one_hot(y.argmax(0), OUT).permute(2, 0, 1).float()
        valid = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
        valid[:, 2:7, index : index + 5] = False
        found.append((x.where(valid, GARBAGE), y.where(valid, -GARBAGE), valid))
    return found


def learner(batches: list[Batch], **settings: Any) -> Any:
    """Return fastai's loop over samples, all of them in each batch, with a spied-on adversary."""
    classes = settings.pop("classes", False)
    config = TrainConfig(**{**TINY, "lr": 1e-3, **settings})
    draw = torch.Generator().manual_seed(config.seed)
    head = "logits" if classes else "tanh"
    generator = UNet(CHANNELS, OUT, halvings=2, ngf=4, dropout=config.dropout, head=head)
    norm = config.norm if config.d_norm == "same" else config.d_norm
    judge = PatchGAN(CHANNELS + OUT, layers=1, ndf=4, norm=norm)
    for net in (generator, judge):
        initialise(net, draw)
        for parameter in net.parameters():
            parameter.data *= 5  # far enough from where everything is alike
    loaders = DataLoaders(DataLoader(batches, bs=4), DataLoader(batches[:2], bs=2), device="cpu")
    loaders.n_inp = 1
    return build_learner(loaders, generator, Adversary(Spy(judge), config, classes), torch.float32)


def fit(learn: Any, epochs: int = 1, *watches: Callback) -> None:
    schedule = Schedule(learn.adversary.config.lr, flat_then_linear(0.5))
    learn.fit(epochs, cbs=[schedule, *watches])


def state(net: nn.Module) -> dict[str, Tensor]:
    return deepcopy(net.state_dict())


def grads(net: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in net.parameters()]


def same(one: Any, two: Any) -> bool:
    pairs: Iterator[tuple[Any, Any]]
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        one, two = list(one.values()), list(two.values())
    pairs = zip(one, two, strict=True)
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


# ------------------------------------------------------------------ what it sees


@pytest.mark.parametrize("classes", [False, True])
def test_it_sees_input_and_real_then_input_and_translated_in_that_order(classes: bool) -> None:
    batch = [torch.stack(part) for part in zip(*samples(classes=classes), strict=True)]
    learn = learner(samples(classes=classes), classes=classes)
    made: list[Tensor] = []
    fit(learn, 1, Watch(9, after_pred=lambda learn: made.append(learn.pred.detach().clone())))
    x, y, valid = batch
    fake = made[0].softmax(1) if classes else made[0]
    filled = [image.where(valid, 0.0) for image in (x, y, fake)]
    seen = learn.adversary.discriminator.seen
    assert len(seen) == 3  # real, translated, translated again; none in validation
    for (condition, image), expected in zip(seen, (filled[1], filled[2], filled[2]), strict=True):
        assert torch.equal(condition, filled[0])
        assert torch.equal(image, expected)
    assert not torch.equal(filled[1], filled[2])


def test_holes_look_alike_in_input_target_and_translation() -> None:
    learn = learner(samples())
    fit(learn)
    valid = torch.stack([sample[2] for sample in samples()])
    for pair in learn.adversary.discriminator.seen:
        for image in pair:
            assert (image.where(valid, 0.0) == image).all()
            assert image.abs().max() <= 1


def test_a_pixel_of_no_known_class_is_a_hole_in_target_and_translation_alike() -> None:
    unknown = samples(classes=True)
    for _, y, _ in unknown:
        y[:, 12:, 12:] = 0
    learn = learner(unknown, classes=True)
    fit(learn)
    for _, image in learn.adversary.discriminator.seen:
        assert (image[:, :, 12:, 12:] == 0).all()
        assert (image[:, :, :2].sum(1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("norm", ["instance", "layer", "none", "spectral"])
def test_without_batch_norm_it_sees_real_and_translated_pairs_in_one_pass(norm: str) -> None:
    learn = learner(samples(), d_norm=norm)
    fit(learn)
    both, again = learn.adversary.discriminator.seen
    seen = [image.chunk(2) for image in both]
    assert torch.equal(*seen[0])
    assert torch.equal(seen[1][1], again[1])
    assert not torch.equal(*seen[1])


@pytest.mark.parametrize("kind", ["plain", "multiscale"])
@pytest.mark.parametrize("norm", ["instance", "tracked-instance", "layer", "none", "spectral"])
def test_one_pass_gives_what_two_passes_give(norm: str, kind: str) -> None:
    config = TrainConfig(gan="bce")
    if kind == "plain":
        judge: nn.Module = PatchGAN(CHANNELS + OUT, layers=1, ndf=4, norm=norm)
    else:
        judge = MultiScale(CHANNELS + OUT, scales=2, layers=1, ndf=4, norm=norm)
    initialise(judge, torch.Generator().manual_seed(0))
    # A pass in train mode is a step of the power method: two go further than one.
    judge.train(norm != "spectral")
    adversary = Adversary(judge, config, logits=False)
    x, y, valid = (torch.stack(part) for part in zip(*samples(), strict=True))
    shown = Shown(fill(x, valid), fill(y, valid), fill(-y, valid), valid)
    assert adversary.one_pass
    found = []
    for adversary.one_pass in (True, False):
        scores = [[scale[-1] for scale in each] for each in adversary._compared(shown)]
        loss = discriminator_loss(*scores).total
        grads = torch.autograd.grad(loss, list(judge.parameters()))
        found.append([loss, *(scores[0] + scores[1]), *grads])
    for one, two in zip(*found, strict=True):
        assert (one - two).abs().max() <= 1e-6 * max(1.0, float(two.detach().abs().max()))


# ------------------------------------------------------------------ what it moves


def test_its_step_leaves_the_generator_alone() -> None:
    learn = learner(samples(), dropout=0.5)
    before: list[Any] = []

    def keep(learn: Any) -> None:
        before[:] = [state(learn.model), grads(learn.model)]

    def compare(learn: Any) -> None:
        assert same(before[0], state(learn.model))
        assert same(before[1], grads(learn.model))

    judge = state(learn.adversary.discriminator)
    watches = Watch(9, after_pred=keep), Watch(11, after_pred=compare)
    fit(learn, 2, *watches)
    assert not same(judge, state(learn.adversary.discriminator))


def test_the_step_of_the_generator_leaves_it_alone() -> None:
    learn = learner(samples())
    judge = learn.adversary.discriminator
    before: list[Any] = []

    def keep(_: Any) -> None:
        before[:] = [[p.clone() for p in judge.parameters()], grads(judge)]

    def compare(_: Any) -> None:
        assert same(before[0], list(judge.parameters()))
        assert same(before[1], grads(judge))

    generator = state(learn.model)
    fit(learn, 2, Watch(11, after_pred=keep, after_batch=compare))
    assert all(grad is not None for grad in grads(judge))
    assert not same(generator, state(learn.model))
    assert judge.learns == 2 * [True, True, False]
    assert all(p.requires_grad for p in judge.parameters())


def test_its_opinion_reaches_the_generator() -> None:
    learn = learner(samples(), pixel_weight=0.0)
    found: list[Any] = []
    fit(learn, 1, Watch(after_backward=lambda learn: found.append(grads(learn.model))))
    assert all(grad is not None and grad.abs().max() > 0 for grad in found[0])


def test_without_a_weight_it_is_neither_trained_nor_asked() -> None:
    learn = learner(samples(), gan_weight=0.0)
    judge = learn.adversary.discriminator
    before = state(judge)
    sums: list[tuple[float, float]] = []

    def note(learn: Any) -> None:
        sums.append((float(learn.loss_grad.detach()), float(learn.loss.detach())))

    fit(learn, 1, Watch(after_backward=note))
    assert same(before, state(judge))
    assert judge.seen == []
    assert sums
    assert all(whole == pytest.approx(100 * pixels) for whole, pixels in sums)


def test_its_opinion_has_the_weight_that_is_asked_for() -> None:
    def parts(weight: float) -> dict[str, float]:
        found: list[dict[str, float]] = []

        def note(learn: Any) -> None:
            if not found:
                found.append({k: float(v) for k, v in learn.adversary.parts.items()})

        fit(learner(samples(), gan_weight=weight), 1, Watch(after_backward=note))
        return found[0]

    one, five = parts(1.0), parts(5.0)
    opinion = one["fake_d_real_class_loss"]
    assert five["fake_d_real_class_loss"] == pytest.approx(opinion)
    assert five["total_gen_loss"] - one["total_gen_loss"] == pytest.approx(4 * opinion, rel=1e-4)


def test_validation_moves_nothing_and_shows_it_nothing() -> None:
    learn = learner(samples())
    before: list[Any] = []

    def keep(learn: Any) -> None:
        judge = learn.adversary.discriminator
        before[:] = [state(learn.model), state(judge), len(judge.seen)]

    def compare(learn: Any) -> None:
        judge = learn.adversary.discriminator
        assert same(before[0], state(learn.model))
        assert same(before[1], state(judge))
        assert before[2] == len(judge.seen)

    passed: list[Any] = []
    watch = Watch(before_validate=keep, after_validate=compare, after_fit=passed.append)
    fit(learn, 2, watch)
    assert passed
    assert len(learn.adversary.discriminator.seen) == 6


def test_its_step_size_follows_the_schedule_of_the_generator() -> None:
    learn = learner(samples(), lr=1e-3)
    rates: list[tuple[float, float]] = []

    def keep(learn: Any) -> None:
        ours = learn.adversary.optimiser.param_groups
        theirs = learn.opt.opt.param_groups
        rates.append((ours[0]["lr"], theirs[0]["lr"]))

    fit(learn, 4, Watch(before_backward=keep))
    expected = [1e-3, 1e-3, 1e-3, 5e-4]  # at 0, 1/4, 1/2 and 3/4 of the way
    assert [rate[0] for rate in rates] == pytest.approx(expected)
    assert [rate[1] for rate in rates] == pytest.approx(expected)


def test_two_time_scales_keep_their_ratio_through_the_schedule() -> None:
    learn = learner(samples(), lr=1e-3, lr_d=4e-3)
    rates: list[float] = []

    def keep(learn: Any) -> None:
        ours, theirs = learn.adversary.optimiser, learn.opt.opt
        rates.append(ours.param_groups[0]["lr"] / theirs.param_groups[0]["lr"])

    fit(learn, 4, Watch(before_backward=keep))
    assert rates == pytest.approx(4 * [4.0])
    assert learn.opt.opt.param_groups[0]["lr"] < 1e-3


@pytest.mark.parametrize(
    ("flat", "expected"),
    [(0.5, [1, 1, 1, 0.5, 0]), (0.0, [1, 0.75, 0.5, 0.25, 0]), (1.0, [1, 1, 1, 1, 1])],
)
def test_the_schedule_is_flat_and_then_falls_to_zero(flat: float, expected: list[float]) -> None:
    factor = flat_then_linear(flat)
    assert [factor(position / 4) for position in range(5)] == pytest.approx(expected)


def test_both_optimisers_are_adam_as_published_at_every_step() -> None:
    learn = learner(samples())
    seen: list[dict[str, Any]] = []

    def keep(learn: Any) -> None:
        seen.extend([*learn.adversary.optimiser.param_groups, *learn.opt.opt.param_groups])
        assert type(learn.opt.opt) is type(learn.adversary.optimiser) is torch.optim.Adam

    fit(learn, 2, Watch(after_batch=keep))
    fit(learn, 1, Watch(after_batch=keep))
    for group in seen:
        assert group["betas"] == (0.5, 0.999)
        assert group["eps"] == 1e-8
        assert group["weight_decay"] == 0
        assert not group["amsgrad"]


# ------------------------------------------------------------------ the whole of it


def plain_losses(real: Tensor, fake: Tensor, opinion: Tensor, gan: str) -> list[Tensor]:
    """Return the losses on real and translated pairs, and the generator's, by their formulas."""
    if gan == "hinge":
        return [F.relu(1 - real).mean(), F.relu(1 + fake).mean(), -opinion.mean()]
    if gan == "lsgan":
        return [((real - 1) ** 2).mean(), (fake**2).mean(), ((opinion - 1) ** 2).mean()]
    with_logits = F.binary_cross_entropy_with_logits
    one, zero = torch.ones_like(real), torch.zeros_like(real)
    return [with_logits(real, one), with_logits(fake, zero), with_logits(opinion, one)]


def plain_step(
    nets: tuple[Generator, PatchGAN],
    optimisers: tuple[torch.optim.Adam, torch.optim.Adam],
    batch: Batch,
    config: TrainConfig,
    classes: bool,
) -> dict[str, float]:
    """Train a step as the paper does, with nothing but PyTorch; return the losses."""
    generator, judge = nets
    x, y, valid = batch
    out = generator(x)
    shown = (out.softmax(1) if classes else out) * valid
    x, y = x.where(valid, 0.0), y.where(valid, 0.0)
    real, fake = judge(torch.as_tensor(x), y), judge(x, shown.detach())
    real_loss, fake_loss, _ = plain_losses(real, fake, fake, config.gan)
    optimisers[1].zero_grad()
    ((real_loss + fake_loss) / 2).backward()
    optimisers[1].step()
    adversarial = plain_losses(real, fake, judge(x, shown), config.gan)[2]
    pixels = valid.expand_as(y)
    if classes:
        each = -(y * out.log_softmax(1)).sum(1, keepdim=True)[valid]
        pixel, weight = each.mean(), config.class_weight
    else:
        pixel, weight = (out - y)[pixels].abs().mean(), config.pixel_weight
    total = adversarial + weight * pixel
    optimisers[0].zero_grad()
    total.backward()
    optimisers[0].step()
    losses = {
        "total_disc_loss": (real_loss + fake_loss) / 2,
        "real_d_loss": real_loss,
        "fake_d_loss": fake_loss,
        "fake_d_real_class_loss": adversarial,
        "l1_loss": pixel,
        "total_gen_loss": total,
    }
    return {name: float(loss.detach()) for name, loss in losses.items()}


@pytest.mark.parametrize(
    ("gan", "classes", "settings"),
    [
        ("lsgan", False, {}),
        ("bce", False, {}),
        ("lsgan", True, {}),
        ("hinge", False, {"d_norm": "instance", "lr_d": 3e-3}),
    ],
)
def test_three_steps_equal_those_of_plain_pytorch(
    gan: str, classes: bool, settings: dict[str, Any]
) -> None:
    learn = learner(samples(classes=classes), gan=gan, classes=classes, **settings)
    config = learn.adversary.config
    nets = deepcopy((learn.model, learn.adversary.discriminator.judge))
    optimisers = tuple(
        torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999), eps=1e-8) for net in nets
    )
    batch = tuple(torch.stack(part) for part in zip(*samples(classes=classes), strict=True))
    history: list[dict[str, float]] = []

    def keep(learn: Any) -> None:
        if learn.training:
            history.append({name: float(v) for name, v in learn.adversary.parts.items()})

    fit(learn, 3, Watch(after_batch=keep))
    for net in nets:
        net.train()
    for step in range(3):
        for optimiser, rate in zip(optimisers, (config.lr, config.lr_d or config.lr), strict=True):
            optimiser.param_groups[0]["lr"] = rate * (1.0, 1.0, 2 / 3)[step]
        expected = plain_step(nets, optimisers, batch, config, classes)
        assert history[step] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        weight = config.class_weight if classes else config.pixel_weight
        identity = history[step]["fake_d_real_class_loss"] + weight * history[step]["l1_loss"]
        assert history[step]["total_gen_loss"] == pytest.approx(identity, rel=1e-6)
    for trained, plain in zip(
        (learn.model, learn.adversary.discriminator.judge), nets, strict=True
    ):
        for (name, one), two in zip(trained.named_parameters(), plain.parameters(), strict=True):
            assert (one - two).abs().max() < 1e-6, name


# ------------------------------------------------------------------ what else there is to ask


def test_the_generator_s_loss_is_the_weighted_sum_of_its_parts() -> None:
    weights = {"feature_weight": 3.0, "gradient_weight": 5.0, "ssim_weight": 7.0}
    learn = learner(samples(), **weights)
    judge = initialise(MultiScale(CHANNELS + OUT, scales=2, layers=1, ndf=4), torch.Generator())
    learn.adversary.discriminator = judge
    learn.adversary.optimiser = torch.optim.Adam(judge.parameters())
    x, y, valid = (torch.stack(part) for part in zip(*samples(), strict=True))
    parts: list[dict[str, float]] = []
    expected: list[dict[str, float]] = []

    def keep(learn: Any) -> None:
        parts.append({name: float(value) for name, value in learn.adversary.parts.items()})
        pred = learn.pred.detach()
        with torch.no_grad():
            real, fake = (judge(fill(x, valid), fill(image, valid), valid) for image in (y, pred))
        expected.append(
            {
                "l1_loss": float(l1_loss(pred, y, valid)),
                "feature_loss": float(feature_loss(fake, real)),
                "gradient_loss": float(gradient_loss(pred, y, valid)),
                "ssim_loss": float(ssim_loss(pred, y, valid)),
            }
        )

    fit(learn, 1, Watch(after_loss=lambda learn: keep(learn) if learn.training else None))
    (found,), (computed,) = parts, expected
    assert {name: found[name] for name in computed} == pytest.approx(computed, rel=1e-5)
    total = found["fake_d_real_class_loss"] + 100 * found["l1_loss"]
    total += 3 * found["feature_loss"] + 5 * found["gradient_loss"] + 7 * found["ssim_loss"]
    assert found["total_gen_loss"] == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("term", ["feature_weight", "gradient_weight", "ssim_weight"])
def test_each_part_alone_reaches_the_generator_and_no_discriminator(term: str) -> None:
    found: list[Any] = []
    for weight in (0.0, 10.0):
        learn = learner(samples(), pixel_weight=0.0, **{term: weight})
        judge = initialise(
            MultiScale(CHANNELS + OUT, scales=1, layers=1, ndf=4), torch.Generator().manual_seed(1)
        )
        learn.adversary.discriminator = judge
        learn.adversary.optimiser = torch.optim.Adam(judge.parameters())
        watch = Watch(
            after_backward=lambda learn: found.append(
                (grads(learn.model), grads(learn.adversary.discriminator))
            )
        )
        fit(learn, 1, watch)
    assert not any(torch.equal(a, b) for a, b in zip(found[0][0], found[1][0], strict=True))
    assert same(found[0][1], found[1][1])


def test_holes_stay_alike_when_what_it_is_shown_varies() -> None:
    learn = learner(samples(), d_augment="both")
    torch.manual_seed(0)
    fit(learn)
    (x, real), (x_too, fake), (x_last, again) = learn.adversary.discriminator.seen
    assert torch.equal(x, x_too)
    assert torch.equal(x, x_last)
    assert torch.equal(fake, again)
    holes = [(image == 0).all(1) for image in (x, real, fake)]
    assert torch.equal(holes[0], holes[1])
    assert torch.equal(holes[1], holes[2])
    valid = torch.stack([sample[2] for sample in samples()])
    assert holes[0].sum() > 2 * (~valid).sum()
