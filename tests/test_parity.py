"""The published recipe, to the letter: against forty lines of plain PyTorch, bug by bug."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pairs import TINY, bunch, chip, inverted
from torch import Tensor, nn
from torch.nn import functional as F

from geo_p2p.card import TrainConfig
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix.build import build_networks, decay_of  # before fastai, whose import warns

from fastai.callback.core import Callback  # isort: skip

WIDTH, SIDE = 4, 256
LOSSES = ("real_d_loss", "fake_d_loss", "fake_d_real_class_loss", "l1_loss")


# ------------------------------------------------------------------ the reference


class PlainUNet(nn.Module):
    """U-Net-256 of Isola et al. 2017, batch norm and dropout in use at every pass."""

    def __init__(self, bands: int, out: int, width: int) -> None:
        super().__init__()
        w = [width * min(2**i, 8) for i in range(8)]
        down = [nn.ModuleList([nn.Conv2d(bands, w[0], 4, 2, 1, bias=False)])]
        for a, b in zip(w, w[1:], strict=False):
            down.append(nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b)]))
        del down[-1][1]
        up = [
            nn.ModuleList(
                [
                    nn.ConvTranspose2d(w[i] * (2 - (i == 7)), w[i - 1], 4, 2, 1, bias=False),
                    nn.BatchNorm2d(w[i - 1]),
                ]
            )
            for i in range(7, 0, -1)
        ]
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.last = nn.ConvTranspose2d(2 * w[0], out, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.down[0][0](x)]
        for conv, *norm in self.down[1:]:
            x = conv(F.leaky_relu(skips[-1], 0.2))
            skips.append(norm[0](x) if norm else x)
        x = skips.pop()
        for i, (conv, norm) in enumerate(self.up):
            x = norm(conv(F.relu(x)))
            x = torch.cat([F.dropout(x, 0.5) if i < 3 else x, skips.pop()], 1)
        return torch.tanh(self.last(F.relu(x)))


def plain_patchgan(bands: int, n: int) -> nn.Sequential:
    """The C64-C128-C256-C512 discriminator of 70 px."""
    layers: list[nn.Module] = [nn.Conv2d(bands, n, 4, 2, 1), nn.LeakyReLU(0.2)]
    for a, b, stride in ((n, 2 * n, 2), (2 * n, 4 * n, 2), (4 * n, 8 * n, 1)):
        layers += [nn.Conv2d(a, b, 4, stride, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * n, 1, 4, 1, 1))


def plain_step(G: nn.Module, D: nn.Module, x: Tensor, y: Tensor, bug: str = "") -> list[Tensor]:
    """Take D's step and G's backward pass; return the four losses and both networks' gradients."""

    def judged(image: Tensor, real: bool) -> Tensor:
        pair = (image, x) if bug == "operands swapped" else (x, image)
        scores = D(torch.cat(pair, 1))
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))

    fake = G(x)
    seen = y if bug == "D never fed a fake" else fake.detach()
    labels = (False, True) if bug == "labels swapped" else (True, False)
    real_loss, fake_loss = judged(y, labels[0]), judged(seen, labels[1])
    optimiser = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    ((real_loss + fake_loss) * (1.0 if bug == "D not halved" else 0.5)).backward()
    grads = [p.grad.clone() for p in D.parameters()]
    if bug != "G judged by yesterday's D":
        optimiser.step()
    gan, l1 = judged(fake, True), F.l1_loss(fake, y)
    (gan + (1 if bug == "L1 not weighted" else 100) * l1).backward()
    return [real_loss, fake_loss, gan, l1, *grads, *(p.grad for p in G.parameters())]


# ------------------------------------------------------------------ ours


class Taken(Callback):
    """Keeps what goes into the first step, and what comes of it."""

    order = 20

    def __init__(self, model: Pix2Pix) -> None:
        self.model = model
        self.found: list[Tensor] = []

    def before_batch(self) -> None:
        self.drawn, self.pair = torch.get_rng_state(), (self.xb[0], self.yb[0])

    def before_backward(self) -> None:
        parts = self.learn.adversary.parts
        self.found = [parts[name] for name in LOSSES]
        self.found += [p.grad.clone() for p in self.model.discriminator.parameters()]

    def after_backward(self) -> None:
        self.found += [p.grad.clone() for p in self.model.generator.parameters()]


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


Step = tuple[list[Tensor], Callable[[str], list[Tensor]]]


@pytest.fixture(scope="module")
def step() -> Step:
    """Return the first step of the recipe "paper", and the same step in plain PyTorch."""
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (3, SIDE, SIDE)).astype("uint8")
    data = bunch([chip(image, 255 - image[:2])])
    data.asked = None, None  # the recipe decides: one chip a batch, jitter and mirror
    model = Pix2Pix(data, recipe="paper", ngf=WIDTH, ndf=WIDTH, device="cpu")
    first = [weights(net) for net in (model.generator, model.discriminator)]
    taken = Taken(model)
    model.learn.add_cb(taken)
    model.fit(1, checkpoint=False, progress=False)

    def plain(bug: str) -> list[Tensor]:
        nets = PlainUNet(3, 2, WIDTH), plain_patchgan(5, WIDTH)
        for net, values in zip(nets, first, strict=True):
            for parameter, value in zip(net.parameters(), values, strict=True):
                parameter.data.copy_(value.view_as(parameter))
        with torch.random.fork_rng([]):
            torch.set_rng_state(taken.drawn)
            return plain_step(*nets, *taken.pair, bug)

    assert taken.pair[0].shape == (1, 3, SIDE, SIDE)
    return taken.found, plain


def apart(one: list[Tensor], two: list[Tensor]) -> float:
    """Largest difference, relative to the largest number of its tensor where that is above 1."""
    return max(
        float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1))
        for a, b in zip(one, two, strict=True)
    )


def test_the_first_step_of_the_paper_s_recipe_is_that_of_plain_pytorch(step: Step) -> None:
    found, plain = step
    expected = plain("")
    assert len(found) == 4 + len(weights(PlainUNet(3, 2, 1))) + len(weights(plain_patchgan(5, 1)))
    assert all(tensor.detach().abs().max() > 0 for tensor in expected)
    assert apart(found, expected) < 1e-6


@pytest.mark.parametrize(
    "bug",
    [
        "D never fed a fake",
        "operands swapped",
        "labels swapped",
        "D not halved",
        "G judged by yesterday's D",
        "L1 not weighted",
    ],
)
def test_the_comparison_sees_each_bug_of_others(step: Step, bug: str) -> None:
    found, plain = step
    assert apart(found, plain(bug)) > 1e-5


def test_the_reference_has_the_published_counts() -> None:
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in net.parameters())
            for net in (PlainUNet(3, 3, 64), plain_patchgan(6, 64))
        ]
    assert counts == [54_413_955, 2_768_705]


def test_the_networks_of_the_paper_s_recipe_have_the_published_counts() -> None:
    rgb = bunch(inverted(1, bands=(3, 3))).scalings
    with torch.device("meta"):
        nets = build_networks(TrainConfig.of("paper"), rgb)
    counts = [sum(p.numel() for p in net.parameters()) for net in nets]
    assert counts == [54_413_955, 2_768_705]


# ------------------------------------------------------------------ the schedule


@pytest.mark.parametrize(("flat", "falling"), [(100, 100), (3, 2), (0, 4), (5, 0)])
@pytest.mark.parametrize("steps", [1, 7])
def test_the_step_size_falls_by_the_epoch_as_published(flat: int, falling: int, steps: int) -> None:
    epochs = flat + falling
    factor = decay_of(TrainConfig.of("paper", epochs=epochs, flat=flat / epochs))
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    published = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda epoch: 1.0 - max(0, epoch + 1 - flat) / float(falling + 1)
    )
    for epoch in range(epochs):
        for step in range(steps):
            position = (epoch * steps + step) / (epochs * steps)
            assert factor(position) == pytest.approx(published.get_last_lr()[0], abs=1e-12)
        optimiser.step()
        published.step()


# ------------------------------------------------------------------ what must not change

TODAY = {
    "total_disc_loss": 0.6333205103874207,
    "real_d_loss": 1.2453029155731201,
    "fake_d_loss": 0.021338092163205147,
    "fake_d_real_class_loss": 1.2151671648025513,
    "l1_loss": 0.45176374912261963,
    "total_gen_loss": 46.391544342041016,
}
"""Of the first step, as the seamless recipe was before it had more settings."""


def test_new_settings_leave_the_default_recipe_as_it_was() -> None:
    model = Pix2Pix(bunch(inverted(4)), **TINY, augment="none")
    model.fit(1, checkpoint=False, progress=False)
    row: dict[str, Any] = model.history[0]
    assert {name: row[name] for name in TODAY} == pytest.approx(TODAY, rel=1e-5)
    nets = model.generator, model.discriminator
    sums = [float(weights(net)[0].double().abs().sum()) for net in nets]
    assert sums == pytest.approx([1.999565054080449, 3.1872044000629103], rel=1e-6)
