"""Tiles give what the whole image gives, and the probes measure when they do."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geo_p2p.errors import ModelError
from geo_p2p.networks import (
    GENERATORS,
    Generator,
    PatchGAN,
    ResNet,
    UNet,
    build_generator,
    calibrate_batch_norm,
    initialise,
    receptive_field,
    required_halo,
    total_stride,
)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("unet", {"halvings": 1, "ngf": 4}),
    ("unet", {"halvings": 3, "ngf": 4}),
    ("unet", {"halvings": 5, "ngf": 4}),
    ("unet", {"halvings": 3, "ngf": 8, "norm": "layer", "head": "logits"}),
    ("unet", {"halvings": 3, "ngf": 8, "norm": "none"}),
    ("unet", {"halvings": 3, "ngf": 4, "norm": "batch", "detail": 4}),
    ("unet", {"halvings": 1, "ngf": 4, "norm": "none", "detail": 2}),
    ("unet", {"halvings": 3, "ngf": 8, "norm": "tracked-instance"}),
    ("resnet", {"blocks": 6, "ngf": 4}),
    ("resnet", {"blocks": 2, "ngf": 4, "norm": "layer", "head": "logits"}),
]
NAMES = [f"{name}-{'-'.join(map(str, arguments.values()))}" for name, arguments in CASES]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(rows: int, cols: int, seed: int = 0, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, rows, cols, generator=seeded(seed))


@torch.no_grad()
def alive(net: Generator) -> Generator:
    """Give a network weights and statistics such that its output is far from constant."""
    initialise(net, seeded(1))
    side = 4 * net.stride
    calibrate_batch_norm(net, [noise(side, side, seed, batch=4) for seed in range(3)])
    net.eval()
    last = net.last.layer
    sizes: list[float] = []
    hook = last.register_forward_hook(lambda _, __, out: sizes.append(float(out.std())))
    net(noise(side, side))
    hook.remove()
    last.weight.mul_(0.25 / sizes[0])
    return net


@torch.no_grad()
def tiled(net: Generator, image: Tensor, core: int, halo: int) -> Tensor:
    """Translate tile by tile: read each core with its halo, keep the core."""
    out = torch.empty_like(net(image))
    rows, cols = image.shape[2:]
    for top in range(0, rows, core):
        for left in range(0, cols, core):
            up, west = max(0, top - halo), max(0, left - halo)
            tile = net(image[..., up : top + core + halo, west : left + core + halo])
            tile = tile[..., top - up :, left - west :][..., :core, :core]
            out[..., top : top + core, left : left + core] = tile
    return out


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=NAMES)
def test_tiles_read_with_the_halo_give_the_whole_image(
    name: str, arguments: dict[str, Any]
) -> None:
    net = alive(build_generator(name, 3, 2, **arguments))
    assert net.tile_safe
    core = net.halo + net.stride
    rows = 2 * core + net.halo + net.stride  # the tile in the middle sees no border at all
    image = noise(rows, rows + core, seed=9)
    with torch.no_grad():
        whole = net(image)
    assert whole.std() > 0.1
    assert (tiled(net, image, core, net.halo) - whole).abs().max() < 5e-6
    assert (tiled(net, image, core, net.halo - net.stride) - whole).abs().max() > 5e-6
    assert (tiled(net, image, core, 0) - whole).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=NAMES)
def test_the_halo_is_the_least_that_the_probe_allows(name: str, arguments: dict[str, Any]) -> None:
    net = build_generator(name, 3, 2, **arguments)
    measured = required_halo(net, net.stride, 3, max_halo=128)
    assert measured is not None
    assert net.halo - net.stride < measured <= net.halo


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=NAMES)
def test_the_stride_is_the_one_the_probe_finds(name: str, arguments: dict[str, Any]) -> None:
    net = initialise(build_generator(name, 3, 2, **arguments), seeded())
    assert total_stride(net, 3, max_halo=128) == net.stride


@pytest.mark.parametrize(
    ("net", "stride", "halo"),
    [
        (UNet(1, 1, halvings=2, ngf=2), 4, 7),
        (UNet(1, 1, halvings=6, ngf=2), 64, 127),
        (ResNet(1, 1, blocks=0, ngf=2), 4, 11),
        (ResNet(1, 1, blocks=9, ngf=2), 4, 83),
    ],
    ids=["unet-2", "unet-6", "resnet-0", "resnet-9"],
)
def test_the_closed_forms_of_the_halo_hold(net: Generator, stride: int, halo: int) -> None:
    assert required_halo(net, stride, 1, max_halo=192) == halo
    assert (net.stride, net.halo) == (stride, -(-(halo + 1) // stride) * stride)


def test_every_generator_is_tested() -> None:
    assert {name for name, _ in CASES} == GENERATORS.keys() - {"encoder"}  # has tests of its own


# ------------------------------------------------------------------ what is not tile-safe


class Excite(nn.Module):
    """Weigh all pixels by their common mean, as squeeze-and-excitation does."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


@pytest.mark.parametrize("name", ["resnet", "unet"])
def test_instance_norm_is_found_to_be_global(name: str) -> None:
    safe = build_generator(name, 3, 1, norm="batch", ngf=2)
    net = build_generator(name, 3, 1, norm="instance", ngf=2)
    assert (safe.tile_safe, net.tile_safe) == (True, False)
    assert required_halo(safe, safe.stride, 3, max_halo=64) is not None
    assert required_halo(net, net.stride, 3, max_halo=64) is None
    assert total_stride(net, 3, max_halo=64, max_stride=32) is None


@pytest.mark.parametrize("layer", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), Excite()])
def test_an_operation_over_the_whole_image_is_found(layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer)
    assert required_halo(net, 1, 3, max_halo=64) is None
    assert total_stride(net, 3, max_stride=8, max_halo=64) is None


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.Dropout(0.5), nn.GELU()])
def test_what_is_local_in_eval_mode_is_found_local(layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer).train()
    assert required_halo(net, 1, 3, max_halo=64) == 1
    assert total_stride(net, 3, max_stride=8, max_halo=64) == 1


def test_none_says_that_the_halo_is_beyond_the_one_asked_for() -> None:
    net = nn.Conv2d(3, 1, 33, padding=16)
    assert required_halo(net, 1, 3, max_halo=16) is None
    assert required_halo(net, 1, 3, max_halo=17) == 16


# ------------------------------------------------------------------ the probes on any module


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(0, 2),
)
def test_the_halo_of_plain_convolutions_is_the_sum_of_their_reaches(
    sizes: list[tuple[int, int]], halvings: int
) -> None:
    # At a stride, convolutions reach as many pixels further; pooling and nearest add none.
    convs = [
        nn.Conv2d(2, 2, size, padding=size // 2 * dilation, dilation=dilation)
        for size, dilation in sizes
    ]
    stride = 2**halvings
    net = nn.Sequential(nn.AvgPool2d(stride), *convs, nn.Upsample(scale_factor=stride))
    reach = stride * sum(size // 2 * dilation for size, dilation in sizes)
    assert required_halo(net, stride, 2, max_halo=80) == reach
    assert total_stride(net, 2, max_stride=8, max_halo=80) == stride


@pytest.mark.parametrize("pads", [(8, 0, 0, 0), (0, 8, 0, 0), (0, 0, 8, 0), (0, 0, 0, 8)])
def test_the_halo_is_that_of_the_side_that_needs_most(pads: tuple[int, int, int, int]) -> None:
    kernel = (1, 9) if pads[0] or pads[1] else (9, 1)
    net = nn.Sequential(nn.ZeroPad2d(pads), nn.Conv2d(1, 1, kernel))
    assert required_halo(net, 1, 1, max_halo=32) == 8


@pytest.mark.parametrize("factor", [(4, 1), (1, 4)])
def test_the_stride_is_that_of_the_axis_that_needs_most(factor: tuple[int, int]) -> None:
    net = nn.Sequential(nn.AvgPool2d(factor), nn.Upsample(scale_factor=factor))
    assert total_stride(net, 1, max_stride=8, max_halo=16) == 4


class Stripes(nn.Module):
    """Make every fourth column brighter: which pixel sees which is the same for all."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + (torch.arange(x.shape[3]) % 4 == 0))


def test_the_stride_shows_in_the_values_too() -> None:
    assert total_stride(Stripes(), 1, max_halo=16) == 4


@pytest.mark.parametrize("strength", [1e-9, 0.0])
def test_weights_that_are_all_but_zero_hide_nothing(strength: float) -> None:
    # Attention starts with a gain of 0, and a fresh U-Net whispers at its innermost levels.
    net = initialise(UNet(1, 1, halvings=4, ngf=2), seeded())
    net.encoder[-1][1].weight.data *= strength
    assert required_halo(net, 16, 1, max_halo=64) == 31
    assert total_stride(AnySize(net), 1, max_halo=64) == 16


class AnySize(nn.Module):
    """A U-Net that takes any size, padding it by itself and not saying so."""

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[2:]
        fill = [-cols % self.net.stride, -rows % self.net.stride]
        padded = nn.functional.pad(x, (0, fill[0], 0, fill[1]))
        out: Tensor = self.net(padded)[..., :rows, :cols]
        return out


def test_a_probe_leaves_the_network_as_it_was() -> None:
    net = initialise(UNet(3, 1, halvings=2, ngf=4, dropout=0.5), seeded()).double().train()
    net.decoder[0].eval()
    modes = [m.training for m in net.modules()]
    state = deepcopy(net.state_dict())
    required_halo(net, 4, 3, max_halo=16)
    total_stride(net, 3, max_halo=16)
    receptive_field(nn.Sequential(net), 3, side=64)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(value.dtype == state[key].dtype for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_networks_that_cannot_be_probed_are_refused() -> None:
    halves = nn.Conv2d(3, 1, 4, 2, 1)
    with pytest.raises(ModelError, match="keep the size"):
        required_halo(halves, 2, 3, max_halo=16)
    with pytest.raises(ModelError, match="no image it was probed with.*keep the size"):
        total_stride(halves, 3, max_halo=16)
    with pytest.raises(ModelError, match="no image it was probed with.*5 bands"):
        total_stride(UNet(5, 1, halvings=2, ngf=2), 3, max_halo=16, max_stride=8)


# ------------------------------------------------------------------ receptive fields


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("layers", "patch"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)]
)
@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_a_verdict_sees_the_published_patch(
    layers: int, patch: int, train: bool, norm: str
) -> None:
    net = initialise(PatchGAN(5, layers=layers, ndf=4, norm=norm), seeded()).train(train)
    assert receptive_field(net, 3, 2) == patch


def test_a_patch_larger_than_the_image_is_refused() -> None:
    net = initialise(PatchGAN(5, ndf=4), seeded())
    assert receptive_field(net, 3, 2, side=128) == 70
    with pytest.raises(ModelError, match="beyond 64 px"):
        receptive_field(net, 3, 2, side=64)


class LooksWide(nn.Module):
    """See one pixel of the first image and a row of 9 of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, (1, 9), padding=(0, 4))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        out: Tensor = first + self.conv(second)
        return out


def test_the_receptive_field_is_the_longer_side_over_all_inputs() -> None:
    assert receptive_field(LooksWide(), 1, 1, side=32) == 9
