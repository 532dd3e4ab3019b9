"""Encoders of torchvision: found by name, fed by file, frozen for good, and honest about tiles."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import TINY, bunch, chip, inverted
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from geo_p2p.errors import ModelError
from geo_p2p.networks import (
    BACKBONES,
    EncoderUNet,
    UNet,
    build_generator,
    calibrate_batch_norm,
    freeze,
    initialise,
    load_backbone,
    required_halo,
    total_stride,
)
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting

needs_torchvision = pytest.mark.skipif(not find_spec("torchvision"), reason="no torchvision")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder_unet(bands: int = 3, **arguments: Any) -> EncoderUNet:
    net = build_generator("encoder", bands, 1, **{"backbone": "resnet18", "ngf": 2, **arguments})
    assert isinstance(net, EncoderUNet)
    return initialise(net, seeded())


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights as torchvision's network has them, its last layer included."""
    from torchvision.models import resnet18

    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        net = resnet18(weights=None)
    for layer in net.modules():  # statistics that some training has left
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1, generator=seeded(1))
            layer.running_var.uniform_(0.5, 1.5, generator=seeded(2))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net.state_dict(), path)
    return path


# ------------------------------------------------------------------ tiles


SLOW = {"resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"}


@needs_torchvision
@pytest.mark.parametrize(
    "backbone", [pytest.param(b, marks=pytest.mark.slow if b in SLOW else ()) for b in BACKBONES]
)
def test_the_halo_of_a_backbone_is_what_the_probe_measures(backbone: str) -> None:
    net = encoder_unet(1, backbone=backbone, ngf=1)
    assert net.tile_safe
    assert net.halo == BACKBONES[backbone]
    measured = required_halo(net, net.stride, 1, max_halo=BACKBONES[backbone] + 64)
    assert measured is not None
    assert net.halo - net.stride < measured <= net.halo


@needs_torchvision
def test_the_stride_is_the_one_the_probe_finds() -> None:
    assert total_stride(encoder_unet(1, ngf=1), 1, max_halo=256, max_stride=64) == 32


@needs_torchvision
@torch.no_grad()
def test_a_tile_read_with_the_halo_gives_the_whole_image() -> None:
    net = encoder_unet()
    calibrate_batch_norm(net, [torch.randn(2, 3, 128, 128, generator=seeded(n)) for n in range(2)])
    net.eval()
    length, halo, core = 1152, net.halo, slice(512, 640)
    image = torch.randn(1, 3, 64, length, generator=seeded(9))
    net.last.layer.weight *= 20
    whole = net(image)[..., core]
    assert whole.std() > 0.02
    with_halo, without = (
        net(image[..., core.start - h : core.stop + h])[..., h : h + 128] for h in (halo, 0)
    )
    assert (with_halo - whole).abs().max() < 5e-6
    assert (without - whole).abs().max() > 1e-2


@needs_torchvision
def test_statistics_of_each_image_in_the_decoder_are_not_tile_safe() -> None:
    net = encoder_unet(1, norm="instance")
    assert not net.tile_safe
    assert required_halo(net, 32, 1, max_halo=320) is None


# ------------------------------------------------------------------ weights


@needs_torchvision
@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
def test_an_encoder_with_weights_sees_a_picture_as_torchvision_does(
    learned: Path, kind: str, tmp_path: Path
) -> None:
    from torchvision.models import resnet18

    path = learned
    if kind == ".safetensors":
        path = tmp_path / "resnet18.safetensors"
        save_file(torch.load(learned, weights_only=True), path)
    net = encoder_unet().eval()
    load_backbone(net.encoder, path)
    theirs = resnet18(weights=None).eval()
    theirs.load_state_dict(torch.load(learned, weights_only=True))

    picture = torch.rand(1, 3, 64, 64, generator=seeded(5))  # 0 to 1, as torchvision's are
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1((picture - mean) / deviation))))
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        x = layer(x)
    torch.testing.assert_close(net.encoder(2 * picture - 1)[-1], x, rtol=1e-4, atol=1e-4)


@needs_torchvision
@pytest.mark.parametrize("bands", [1, 2, 4, 6])
def test_kernels_for_other_bands_are_repeated_and_keep_their_sum(learned: Path, bands: int) -> None:
    net = encoder_unet(bands)
    load_backbone(net.encoder, learned)
    first = torch.load(learned, weights_only=True)["conv1.weight"]
    found = net.encoder.conv1.weight
    if bands == 1:
        torch.testing.assert_close(found, first.sum(1, keepdim=True))
    else:
        for band in range(bands):
            torch.testing.assert_close(found[:, band], first[:, band % 3] * 3 / bands)
    if bands % 3 == 0:
        torch.testing.assert_close(found.sum(1), first.sum(1))
    assert net.encoder.scale.shape == (bands, 1, 1)
    assert 2 < float(net.encoder.scale.min()) < float(net.encoder.scale.max() + 1e-6) < 2.3


@needs_torchvision
def test_weights_that_do_not_fit_are_refused_in_one_line(learned: Path, tmp_path: Path) -> None:
    state = torch.load(learned, weights_only=True)
    cases: dict[str, Any] = {
        "no.pth": None,
        "list.pth": [torch.zeros(1)],
        "less.pth": {k: v for k, v in state.items() if k != "layer3.0.conv1.weight"},
        "more.pth": {**state, "layer5.weight": torch.zeros(3)},
        "other.pth": {**state, "layer4.1.bn2.bias": torch.zeros(3)},
        "code.pth": nn.Conv2d(1, 1, 1),  # a pickle that would run code
    }
    said = {
        "no.pth": "cannot be read",
        "list.pth": "no state dict",
        "less.pth": r"layer3.0.conv1.weight is None, \(256, 128, 3, 3\) expected",
        "more.pth": r"layer5.weight is \(3,\), None expected",
        "other.pth": r"layer4.1.bn2.bias is \(3,\), \(512,\) expected",
        "code.pth": "cannot be read",
    }
    net = encoder_unet()
    before = [p.clone() for p in net.parameters()]
    for name, content in cases.items():
        if content is not None:
            torch.save(content, tmp_path / name)
        with pytest.raises(ModelError, match=f"{name}: .*{said[name]}") as refused:
            load_backbone(net.encoder, tmp_path / name)
        assert "\n" not in str(refused.value)
    assert all(map(torch.equal, before, net.parameters()))


# ------------------------------------------------------------------ torchvision itself


def test_without_torchvision_an_encoder_is_refused_and_all_else_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    with pytest.raises(ModelError, match="needs torchvision, which cannot be loaded") as refused:
        build_generator("encoder", 3, 1)
    assert "\n" not in str(refused.value)
    assert isinstance(build_generator("unet", 3, 1, ngf=1), UNet)


def test_a_broken_torchvision_is_refused_as_a_missing_one_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator nms does not exist\\nat 7')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"loaded here \(operator nms does not exist\)") as refused:
        build_generator("encoder", 3, 1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("backbone", ["resnet5", "vgg16"])
def test_a_backbone_that_is_none_is_refused_with_those_there_are(backbone: str) -> None:
    with pytest.raises(ModelError, match=f"unknown backbone '{backbone}'.*resnet101, .*resnet34"):
        build_generator("encoder", 3, 1, backbone=backbone)


# ------------------------------------------------------------------ what is frozen


def half_frozen(frozen: bool = True) -> tuple[nn.Sequential, dict[str, Tensor]]:
    net = UNet(3, 1, halvings=3, ngf=4)
    initialise(net, seeded())
    freeze(net.encoder, frozen)
    return net, {name: value.clone() for name, value in net.state_dict().items()}


def moved(net: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Return the parts of a network of which something is not what it was."""
    now = net.state_dict()
    return {n.split(".")[0] for n, value in before.items() if not torch.equal(value, now[n])}


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int = 3) -> None:
    net.train()
    for seed in range(steps):
        optimiser.zero_grad()
        net(torch.randn(2, 3, 16, 16, generator=seeded(seed)) + seed).square().mean().backward()
        optimiser.step()


def test_what_is_frozen_does_not_drift_with_train_mode_momentum_or_calibration() -> None:
    net, before = half_frozen(frozen=False)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.999))
    train(net, optimiser)  # momentum is gathered, and statistics
    assert moved(net, before) == {"encoder", "decoder", "last"}
    freeze(net.encoder)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train(net, optimiser)
    calibrate_batch_norm(net, [torch.randn(2, 3, 16, 16, generator=seeded(8)) + 5])
    assert moved(net, before) == {"decoder", "last"}
    freeze(net.encoder, False)
    train(net, optimiser, 1)
    assert moved(net, before) == {"encoder", "decoder", "last"}


def test_a_frozen_batch_norm_uses_its_own_statistics_in_train_mode() -> None:
    net, _ = half_frozen()
    net.train()
    norm = net.encoder[1][2]
    x = torch.randn(2, 8, 4, 4, generator=seeded()) + 3
    expected = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x), expected)
    assert net.decoder[0][2].training


SETTINGS = {**TINY, "backbone": "resnet18", "ngf": 2}


def chips(count: int = 2) -> Any:
    """Return pairs that are large enough for a stride of 32."""
    small = inverted(4 * count, bands=(3, 1))
    return bunch([_four(small[4 * i : 4 * i + 4], i) for i in range(count)])


def _four(small: list[Any], place: int) -> Any:
    x, y = (
        np.block([[[a], [b]], [[c], [d]]])
        for a, b, c, d in ([getattr(one, side) for one in small] for side in ("x", "y"))
    )
    return chip(x.reshape(3, 64, 64), y.reshape(1, 64, 64), place=place)


@needs_torchvision
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_fit_trains_the_decoder_alone_until_it_is_told_to_unfreeze(
    learned: Path, ema: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fitting, "CALIBRATION", 2)
    model = Pix2Pix(chips(), **{**SETTINGS, "backbone_weights": str(learned), "ema": ema})
    before = {n: v.clone() for n, v in model.generator.state_dict().items()}
    model.fit(1, checkpoint=False, progress=False)
    assert moved(model.generator, before) == {"decoder", "last"}
    model.unfreeze()
    model.fit(1, checkpoint=False, progress=False)

    def let_go(now: dict[str, Tensor]) -> bool:
        names = ("encoder.conv1.weight", "encoder.bn1.running_mean")
        return not any(torch.equal(now[name], before[name]) for name in names)

    assert let_go(model.generator.state_dict())
    again = Pix2Pix.from_model(model.save(tmp_path / "model"), chips())
    before = {n: v.clone() for n, v in again.generator.state_dict().items()}
    again.fit(1, checkpoint=False, progress=False)
    assert let_go(again.generator.state_dict())  # and it stays so


@needs_torchvision
@pytest.mark.parametrize("settings", [{"freeze": False}, {"backbone_weights": None}])
def test_it_is_all_trained_without_weights_or_on_demand(
    learned: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CALIBRATION", 2)
    model = Pix2Pix(chips(), **{"backbone_weights": str(learned), **SETTINGS, **settings})
    before = {n: v.clone() for n, v in model.generator.state_dict().items()}
    model.fit(1, checkpoint=False, progress=False)
    assert moved(model.generator, before) == {"encoder", "decoder", "last"}


@needs_torchvision
def test_a_saved_model_needs_its_file_of_weights_no_more(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CALIBRATION", 2)
    weights = tmp_path / "w.pth"
    weights.write_bytes(learned.read_bytes())
    model = Pix2Pix(chips(), backbone_weights=str(weights), **SETTINGS)
    model.fit(1, checkpoint=False, progress=False)
    folder = model.save(tmp_path / "model")
    weights.unlink()
    again = Pix2Pix.from_model(folder, chips())
    assert (again.card.halo, again.card.stride, again.card.tile_safe) == (256, 32, True)
    state = again.generator.state_dict()
    assert moved(model.generator, state) == set()
    before = {n: v.clone() for n, v in state.items()}
    again.fit(1, checkpoint=False, progress=False)
    assert moved(again.generator, before) == {"decoder", "last"}  # still frozen
