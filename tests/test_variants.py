"""Whatever a model is made of, it is saved with it, found in its card, and trained on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import COLOURS, TINY, bunch, classed, inverted
from torch import Tensor, nn

from geo_p2p.errors import ModelError
from geo_p2p.model_file import load_card, load_model
from geo_p2p.networks import MultiScale, PatchGAN
from geo_p2p.networks.spectral import SpectralConv2d
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting

VARIANTS: dict[str, dict[str, Any]] = {
    "no norm": {"norm": "none"},
    "layer norm": {"norm": "layer"},
    "tracked": {"norm": "tracked-instance"},
    "hinge": {"gan": "hinge", "d_norm": "spectral", "lr_d": 4e-4, "lr": 1e-4},
    "scales": {"scales": 2, "feature_weight": 10.0, "gan": "lsgan"},
    "one scale with features": {"feature_weight": 10.0, "d_norm": "instance"},
    "detail": {"detail": 3, "ema": 0.9, "ssim_weight": 1.0, "gan_weight": 0.3},
    "structure": {"gradient_weight": 10.0, "ssim_weight": 5.0},
    "shown": {"d_augment": "both", "scales": 3, "layers": 0},
    "pixels": {"layers": 0, "pixel_loss": "l2"},
    "resnet": {"generator": "resnet", "blocks": 2, "norm": "layer"},
    "paper": {"recipe": "paper", "batch_size": 1, "halvings": 3, "dropout": 0.5},
    "paper, eval": {"recipe": "paper", "batch_size": 1, "halvings": 3, "test_dropout": False},
    "bf16": {"precision": "bf16", "scales": 2, "d_norm": "spectral", "feature_weight": 1.0},
}


@pytest.fixture(autouse=True)
def few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CALIBRATION", 4)


def data(classes: bool = False) -> Any:
    return bunch(classed(4), colors=COLOURS) if classes else bunch(inverted(4))


def state(model: Pix2Pix) -> list[Tensor]:
    nets = model.generator, model.discriminator
    return [value.clone() for net in nets for value in net.state_dict().values()]


def round_trip(folder: Path, settings: dict[str, Any], classes: bool = False) -> Pix2Pix:
    """Train, save, load and train on; the laws hold on the way. Return the model loaded."""
    model = Pix2Pix(data(classes), **{**TINY, **settings})
    model.fit(1, checkpoint=False, progress=False)
    assert all(torch.isfinite(value.float()).all() for value in state(model))
    saved = model.save(folder / "model")
    card = load_card(saved)
    assert card.arguments == model.generator.arguments
    assert card.provenance["config"] == model.config.to_json()
    tiles = torch.zeros(1, model.generator.arguments["in_channels"], 32, 32).numpy()
    loaded = load_model(saved, "cpu", model.config.precision)
    ours, theirs = (each(tiles, 0) for each in (model.translator, loaded))
    assert (ours == theirs).all()

    again = Pix2Pix.from_model(saved, data(classes))
    assert again.config.to_json() == {**model.config.to_json(), "device": "auto"}
    assert repr(again.discriminator) == repr(model.discriminator)
    before = state(again)
    assert all(map(torch.equal, before, state(model)))
    again.fit(1, checkpoint=False, progress=False)
    assert not all(map(torch.equal, before, state(again)))
    return again


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_survives_its_card_and_is_trained_on(name: str, tmp_path: Path) -> None:
    settings = VARIANTS[name]
    model = round_trip(tmp_path, settings)
    judge = model.discriminator
    several = settings.get("scales", 1) > 1 or "feature_weight" in settings
    assert isinstance(judge, MultiScale if several else PatchGAN)
    assert isinstance(judge, MultiScale) is False or len(judge.scales) == settings.get("scales", 1)
    spectral = [isinstance(m, SpectralConv2d) for m in judge.modules() if isinstance(m, nn.Conv2d)]
    assert all(spectral) if settings.get("d_norm") == "spectral" else not any(spectral)
    per_image = "instance" if settings.get("recipe") == "paper" else settings.get("norm")
    assert model.card.tile_safe == (per_image != "instance")
    assert model.card.test_dropout == (name == "paper")


def test_classes_go_with_several_scales_and_weights_for_values_do_nothing(tmp_path: Path) -> None:
    settings = {"scales": 2, "feature_weight": 5.0, "gradient_weight": 5.0, "ssim_weight": 5.0}
    model = round_trip(tmp_path, {**settings, "d_augment": "shift"}, classes=True)
    assert "feature_loss" in model.history[0]
    assert not {"gradient_loss", "ssim_loss"} & model.history[0].keys()


@pytest.mark.parametrize("kind", ["shift", "cutout", "both"])
def test_spectral_norm_and_what_varies_what_it_is_shown_follow_the_seed(kind: str) -> None:
    runs = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)  # the user's own chance, which has no part in it
        model = Pix2Pix(data(), **{**TINY, "d_augment": kind, "d_norm": "spectral", "seed": seed})
        model.fit(2, checkpoint=False, progress=False)
        runs.append(state(model))
    assert all(map(torch.equal, runs[0], runs[1]))
    assert not all(map(torch.equal, runs[0], runs[2]))


# ------------------------------------------------------------------ spectral norm


def test_weights_have_the_spectral_norm_one_from_the_first_step() -> None:
    judge = Pix2Pix(data(), **TINY, d_norm="spectral").discriminator
    for layer in judge.modules():
        if isinstance(layer, SpectralConv2d):
            largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
            layer.eval()
            x = torch.zeros(1, layer.in_channels, 4, 4)
            x[0, 0, 1, 1] = 1
            used = layer(x) - layer(torch.zeros_like(x))
            plain = torch.conv2d(x, layer.weight, None, layer.stride, layer.padding)
            torch.testing.assert_close(used * largest, plain, rtol=0.1, atol=1e-5)


def test_two_passes_may_come_before_the_step_back_and_each_one_follows_the_weights() -> None:
    layer = SpectralConv2d(3, 4, 3)
    layer.warm_up(torch.Generator().manual_seed(0))
    x = torch.randn(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    (layer(x[0]).sum() + layer(x[1]).sum()).backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        layer.weight[0] += 1  # the first singular vector is another now
    for _ in range(30):
        layer(x[0])
    largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    used = layer.eval()(x[0]) - layer.bias[:, None, None]
    torch.testing.assert_close(used, torch.conv2d(x[0], layer.weight / largest))


# ------------------------------------------------------------------ the size of chips


@pytest.mark.parametrize("norm", ["batch", "layer", "tracked-instance"])
def test_chips_of_one_stride_leave_taps_untrained_that_larger_tiles_use(norm: str) -> None:
    with pytest.raises(ModelError, match="chips of 32 px are as small .* chips of 64 px or more"):
        Pix2Pix(data(), **{**TINY, "halvings": 5, "norm": norm})


def test_as_published_they_are_taken_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = Pix2Pix(data(), **{**TINY, "halvings": 5, "norm": "instance"})
    assert "trained for images of this size alone" in caplog.text
    first = [p.detach().clone() for p in model.generator.parameters()]
    model.fit(1, checkpoint=False, progress=False)
    # That is so: of the innermost 4x4 taps only the middle ones have moved.
    innermost = model.generator.encoder[-1][1].weight.detach()
    before = next(p for p in first if p.shape == innermost.shape)
    still = (innermost == before).all((0, 1))
    assert still.sum() == 12
    assert not still[1:3, 1:3].any()


def test_chips_of_two_strides_train_every_tap(caplog: pytest.LogCaptureFixture) -> None:
    model = Pix2Pix(data(), **{**TINY, "halvings": 4})
    assert not caplog.text
    first = model.generator.encoder[-1][1].weight.detach().clone()
    model.fit(1, checkpoint=False, progress=False)
    assert not (model.generator.encoder[-1][1].weight.detach() == first).all((0, 1)).any()


def test_a_chip_too_small_for_the_coarsest_scale_is_refused_with_the_size_that_would() -> None:
    with pytest.raises(ModelError, match="discriminator of 45 px.*multiple of 4, at least 48"):
        Pix2Pix(data(), **{**TINY, "layers": 2, "scales": 3, "feature_weight": 1.0})
