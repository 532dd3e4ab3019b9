"""The networks are the published ones, and say what is wrong with what they are given."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geo_p2p.card.config import CHOICES
from geo_p2p.errors import ModelError
from geo_p2p.networks import (
    BACKBONES,
    DISCRIMINATORS,
    GENERATORS,
    PatchGAN,
    ResNet,
    UNet,
    build_discriminator,
    build_generator,
    calibrate_batch_norm,
    initialise,
    layers,
)
from geo_p2p.networks.patchgan import SPECTRAL

NORMS = CHOICES["norm"]
NORM_LAYERS = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.LayerNorm)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_names_of_the_settings_are_those_of_the_networks() -> None:
    assert set(CHOICES["norm"]) == layers.NORMS.keys()
    assert set(CHOICES["d_norm"]) == {*layers.NORMS, "same", SPECTRAL}
    assert set(CHOICES["generator"]) == GENERATORS.keys()
    assert set(CHOICES["backbone"]) == BACKBONES.keys()


def steps(net: nn.Module) -> Iterator[list[nn.Module]]:
    """Yield each run of layers that is called in one go."""
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            yield list(module)


# ------------------------------------------------------------------ the published U-Net


@pytest.mark.parametrize(("halvings", "parameters"), [(7, 41_828_995), (8, 54_413_955)])
def test_the_unet_has_as_many_parameters_as_published(halvings: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(UNet(3, 3, halvings=halvings)) == parameters


def test_the_unet_has_the_channels_and_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        net = UNet(3, 3, halvings=8)
    shapes = []
    for step in [*net.encoder, *net.decoder, net.last]:
        step.register_forward_hook(lambda _, __, out: shapes.append((out.shape[1], out.shape[2])))
    net(torch.zeros(1, 3, 256, 256, device="meta"))
    down = [(64, 128), (128, 64), (256, 32), (512, 16), (512, 8), (512, 4), (512, 2), (512, 1)]
    up = [(512, 2), (512, 4), (512, 8), (512, 16), (256, 32), (128, 64), (64, 128), (3, 256)]
    assert shapes == down + up


def test_the_first_the_innermost_and_the_last_layer_have_no_norm_and_all_others_have() -> None:
    with torch.device("meta"):
        net = UNet(3, 3, halvings=8)
    normed = [
        any(isinstance(m, nn.BatchNorm2d) for m in step.modules())
        for step in [*net.encoder, *net.decoder, net.last]
    ]
    assert normed == [False, *[True] * 6, False, *[True] * 7, False]


@pytest.mark.parametrize(
    ("halvings", "sites"), [(8, [0.5, 0.5, 0.5, 0, 0, 0, 0]), (3, [0.5, 0.5]), (1, [])]
)
def test_dropout_is_in_the_three_innermost_doublings(halvings: int, sites: list[float]) -> None:
    with torch.device("meta"):
        net = UNet(3, 3, halvings=halvings, dropout=0.5)
    found = [[m.p for m in step.modules() if isinstance(m, nn.Dropout)] for step in net.decoder]
    assert found == [[p] for p in sites]
    outside = [m for part in (net.encoder, net.last) for m in part.modules()]
    assert not any(isinstance(m, nn.Dropout) for m in outside)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("make", [UNet, ResNet, PatchGAN])
def test_a_convolution_before_a_norm_has_no_bias_and_a_net_without_norms_has_all(
    make: Any, norm: str
) -> None:
    net = make(3, norm=norm) if make is PatchGAN else make(3, 3, norm=norm)
    before_norm = [
        one
        for layers in steps(net)
        for one, two in zip(layers, layers[1:], strict=False)
        if isinstance(one, nn.Conv2d | nn.ConvTranspose2d) and isinstance(two, NORM_LAYERS)
    ]
    assert all(conv.bias is None for conv in before_norm)
    assert bool(before_norm) == (norm != "none")
    if norm == "none":
        convs = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert all(conv.bias is not None for conv in convs)


def published_unet(net: UNet, x: Tensor, level: int = 0) -> Tensor:
    """Compute the U-Net level within level, as the paper's code nests it: skip, then ReLU."""
    depth = net.arguments["halvings"]
    step = net.encoder[level]
    if level == 0:
        inner = step(x)
    else:
        conv, norm = step[1], step[2]
        inner = norm(conv(F.leaky_relu(x, 0.2)))
    if level < depth - 1:
        inner = published_unet(net, inner, level + 1)
    if level == 0:
        return torch.tanh(net.last.layer(F.relu(inner)))
    conv, norm = net.decoder[depth - 1 - level][1:3]
    return torch.cat([norm(conv(F.relu(inner))), x], dim=1)


def test_the_unet_computes_the_published_function() -> None:
    net = initialise(UNet(3, 2, halvings=4, ngf=4), seeded()).train()
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            conv.weight.data *= 5  # far enough from linear
    x = torch.randn(2, 3, 32, 48, generator=seeded(1))

    expected = published_unet(net, x)
    assert expected.std() > 0.1
    torch.testing.assert_close(net(x), expected)


def test_detail_puts_features_of_each_pixel_beside_those_of_the_last_doubling() -> None:
    net = initialise(UNet(3, 2, halvings=2, ngf=4, detail=5), seeded()).eval()
    image = torch.randn(1, 3, 12, 8, generator=seeded(1))
    published = UNet(3, 5, halvings=2, ngf=4).eval()
    inner = net.state_dict().items()
    encoder_and_decoder = {n: value for n, value in inner if n.startswith(("encoder", "decoder"))}
    rise = {f"last.layer.{name}": value for name, value in net.rise.state_dict().items()}
    published.load_state_dict({**published.state_dict(), **encoder_and_decoder, **rise})
    below: list[Tensor] = []
    published.last.layer.register_forward_hook(lambda *seen: below.append(seen[2]))
    with torch.inference_mode():
        published(image)
        beside = torch.cat((below[0], net.stem(image)), 1)
        expected = torch.tanh(net.last.layer(F.relu(beside)))
        assert torch.equal(net(image), expected)


@pytest.mark.parametrize("halvings", [1, 3])
def test_a_chip_of_one_stride_can_be_trained_on_one_at_a_time(halvings: int) -> None:
    side = 2**halvings
    net = UNet(3, 1, halvings=halvings, ngf=4).train()
    out = net(torch.randn(1, 3, side, side, generator=seeded()))
    out.sum().backward()
    assert out.shape == (1, 1, side, side)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_instance_norm_is_the_paper_s_batch_norm_at_test_one_image_at_a_time() -> None:
    batch = initialise(UNet(3, 2, halvings=3, ngf=4), seeded()).train()
    instance = UNet(3, 2, halvings=3, ngf=4, norm="instance").eval()
    missing, unused = instance.load_state_dict(batch.state_dict(), strict=False)
    assert not missing
    assert all(name.split(".")[-1].startswith(("running", "num_")) for name in unused)
    x = torch.randn(1, 3, 32, 32, generator=seeded(1))
    torch.testing.assert_close(instance(x), batch(x))


# ------------------------------------------------------------------ the other networks


@pytest.mark.parametrize(("blocks", "published"), [(6, 7.838e6), (9, 11.378e6)])
def test_the_resnet_has_as_many_weights_as_published(blocks: int, published: float) -> None:
    with torch.device("meta"):
        net = ResNet(3, 3, blocks=blocks)
    # Published with instance norm, which has no parameters there, and a bias on every layer.
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert round(sum(c.weight.numel() + c.out_channels for c in convs), -3) == published


def test_a_block_of_the_resnet_adds_to_what_comes_in() -> None:
    net = initialise(ResNet(3, 1, blocks=2, ngf=2), seeded()).eval()
    x = torch.randn(1, 8, 6, 6, generator=seeded(1))
    for block in net.blocks:
        assert not torch.equal(block(x), x)
        block.body[-1].weight.data.zero_()  # a last norm that says nothing
        assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("layers", "parameters", "side"),
    [
        (0, 9_025, 256),
        (1, 139_585, 126),
        (2, 666_433, 62),
        (3, 2_768_705, 30),
        (4, 6_964_033, 14),
        (5, 11_159_361, 6),
    ],
)
def test_the_discriminator_is_the_published_one(layers: int, parameters: int, side: int) -> None:
    with torch.device("meta"):
        net = PatchGAN(6, layers=layers)
        scores = net(torch.zeros(2, 3, 256, 256), torch.zeros(2, 3, 256, 256))
    assert count(net) == parameters
    assert scores.shape == (2, 1, side, side)


def test_the_discriminator_normalises_all_but_its_first_and_last_layer() -> None:
    middle = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    leaves = [m for m in PatchGAN(6, ndf=4).modules() if not list(m.children())]
    layers = [kind for layer in leaves for kind in middle if isinstance(layer, kind)]
    assert layers == [nn.Conv2d, nn.LeakyReLU, *middle, *middle, *middle, nn.Conv2d]


def test_the_discriminator_puts_the_condition_first() -> None:
    net = initialise(PatchGAN(4, layers=1, ndf=4), seeded()).eval()
    net.body[0].weight.data[:, 3:] = 0  # blind to the fourth band
    condition = torch.randn(1, 3, 16, 16, generator=seeded(1))
    image = torch.randn(1, 1, 16, 16, generator=seeded(2))
    assert torch.equal(net(condition, image), net(condition, image + 1))
    assert not torch.equal(net(condition, image), net(condition + 1, image))


@pytest.mark.parametrize("layers", range(6))
def test_the_discriminator_gives_one_verdict_at_its_smallest_and_refuses_less(layers: int) -> None:
    net = PatchGAN(2, layers=layers, ndf=2).eval()
    image = torch.zeros(1, 1, net.smallest, net.smallest)
    assert net(image, image).shape == (1, 1, 1, 1)
    if layers:
        with pytest.raises(ModelError, match="larger chips, or fewer layers"):
            net(image[..., 1:], image[..., 1:])


def test_the_discriminator_refuses_what_is_no_pair() -> None:
    net = PatchGAN(4, ndf=2)
    with pytest.raises(ModelError, match="4 bands of one size"):
        net(torch.zeros(1, 3, 64, 64), torch.zeros(1, 2, 64, 64))
    with pytest.raises(ModelError, match="4 bands of one size"):
        net(torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 32))


# ------------------------------------------------------------------ what every generator does

SMALL: dict[str, dict[str, Any]] = {
    "encoder": {"backbone": "resnet18", "ngf": 4},
    "unet": {"halvings": 3, "ngf": 4},
    "resnet": {"blocks": 2, "ngf": 4},
}

needs_torchvision = pytest.mark.skipif(not find_spec("torchvision"), reason="no torchvision")
NAMES = [pytest.param(n, marks=needs_torchvision if n == "encoder" else ()) for n in SMALL]


def test_every_generator_is_tested() -> None:
    assert SMALL.keys() == GENERATORS.keys()


@pytest.mark.parametrize("head", ["tanh", "logits"])
@pytest.mark.parametrize("name", NAMES)
def test_the_head_bounds_values_and_leaves_logits_alone(name: str, head: str) -> None:
    net = initialise(build_generator(name, 3, 5, head=head, **SMALL[name]), seeded()).eval()
    net.last.layer.bias.data.fill_(3.0)
    out = net(torch.randn(2, 3, 32, 64, generator=seeded(1)))
    assert out.shape == (2, 5, 32, 64)
    assert (out.abs().max() <= 1) == (head == "tanh")


CORES = [
    *((p.values[0], {}, p.marks) for p in NAMES),
    *(("unet", {"halvings": n, "norm": "none"}, ()) for n in (1, 2, 5)),
    ("unet", {"detail": 3}, ()),
    ("unet", {"confidence": True}, ()),
    ("unet", {"detail": 3, "confidence": True}, ()),
    *(("resnet", {"blocks": n, "norm": "none"}, ()) for n in (0, 1, 2, 4)),
]


@pytest.mark.parametrize(
    ("name", "more"), [pytest.param(name, more, marks=marks) for name, more, marks in CORES]
)
@pytest.mark.parametrize("strides", [0, 1, 2, 3, 7, 11])
def test_without_its_margin_a_translation_is_the_same(
    name: str, more: dict[str, Any], strides: int
) -> None:
    net = build_generator(name, 3, 2, **{**SMALL[name], **more}).eval()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):  # every tap shows in the output
            nn.init.kaiming_normal_(layer.weight, generator=seeded())
    # A head of scales computes in fp32 always.
    dtype, off = (torch.float32, 1e-5) if "confidence" in more else (torch.float64, 1e-9)
    net, margin = net.to(dtype), strides * net.stride
    sides = 2 * margin + 32, 2 * margin + 64
    image = torch.rand(2, 3, *sides, generator=seeded(1), dtype=dtype) * 2 - 1
    with torch.no_grad():
        whole, core = net(image), net.core(image, margin)
    assert whole.std() > 0.1
    assert core.shape == (2, whole.shape[1], 32, 64)
    assert (core - layers.cut(whole, margin)).abs().max() < off


def test_a_margin_of_no_whole_strides_is_cut_all_the_same() -> None:
    net = initialise(build_generator("unet", 1, 1, halvings=3, ngf=4), seeded()).eval()
    image = torch.rand(1, 1, 64, 64, generator=seeded(1))
    assert torch.equal(net.core(image, 12), net(image)[..., 12:52, 12:52])


def test_the_decoder_is_spared_the_margin() -> None:
    """All its layers see is the core, and a pixel at each side; the encoder sees all of it."""
    net = build_generator("unet", 1, 1, halvings=3, ngf=4).eval()
    seen: list[tuple[int, int]] = []
    for layer in [*net.encoder, *net.decoder, net.last]:
        layer.register_forward_hook(lambda layer, taken, given: seen.append(taken[0].shape[2:]))
    net.core(torch.zeros(1, 1, 96, 64), 16)
    assert seen == [(96, 64), (48, 32), (24, 16), (10, 6), (18, 10), (34, 18)]


def test_residual_blocks_are_spared_what_only_those_before_them_needed() -> None:
    net, seen = build_generator("resnet", 1, 1, blocks=3, ngf=2).eval(), []
    for layer in [*net.down[:1], *net.blocks, net.up, net.last]:
        layer.register_forward_hook(lambda layer, taken, given: seen.append(taken[0].shape[2:]))
    margin = net.halo  # 36 px: 9 at quarter size
    net.core(torch.zeros(1, 1, 40 + 2 * margin, 20 + 2 * margin), margin)
    assert seen == [(112, 92), (28, 23), (22, 17), (18, 13), (14, 9), (46, 26)]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_does_not_fit_is_refused_with_the_size_that_would(name: str) -> None:
    net = build_generator(name, 3, 1, **SMALL[name]).eval()
    stride = net.stride
    with pytest.raises(ModelError, match=rf"multiples of {stride} .* pad to 32 x {32 + stride}"):
        net(torch.zeros(1, 3, 32, 33))
    with pytest.raises(ModelError, match=rf"pad to {32 + stride} x 32"):
        net(torch.zeros(1, 3, 33, 32))
    least = max(8, stride)
    with pytest.raises(ModelError, match=f"pad to {least} x {least}"):
        net(torch.zeros(1, 3, 4, least))
    with pytest.raises(ModelError, match="3 bands"):
        net(torch.zeros(1, 4, 32, 32))
    assert net(torch.zeros(1, 3, least, least)).shape == (1, 1, least, least)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NAMES)
def test_arguments_rebuild_a_generator_through_json(name: str, norm: str) -> None:
    net = build_generator(name, 4, 7, norm=norm, dropout=0.25, head="logits", **SMALL[name])
    again = build_generator(name, **json.loads(json.dumps(net.arguments)))
    again.load_state_dict(net.state_dict())
    promises = ("stride", "halo", "tile_safe", "arguments")
    assert [getattr(again, p) for p in promises] == [getattr(net, p) for p in promises]
    assert repr(again) == repr(net)  # every layer and every setting
    assert net.tile_safe == (norm != "instance")
    assert net.halo % net.stride == 0


@pytest.mark.parametrize("norm", ["layer", "spectral"])
@pytest.mark.parametrize(("name", "more"), [("patchgan", {}), ("multiscale", {"scales": 3})])
def test_arguments_rebuild_a_discriminator_through_json(
    name: str, more: dict[str, int], norm: str
) -> None:
    net = build_discriminator(name, 5, layers=2, ndf=8, norm=norm, **more)
    assert sorted(DISCRIMINATORS) == ["multiscale", "patchgan"]
    arguments = json.loads(json.dumps(net.arguments))
    again = build_discriminator(name, **arguments)
    again.load_state_dict(net.state_dict())
    assert repr(again) == repr(net)
    assert again.smallest == net.smallest


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_what_cannot_be_built_is_refused_by_name(part: str) -> None:
    if part == "generator":

        def build(name: str = "unet", **arguments: Any) -> nn.Module:
            return build_generator(name, 3, 3, **arguments)

    else:

        def build(name: str = "patchgan", **arguments: Any) -> nn.Module:
            return build_discriminator(name, 6, **arguments)

    choices = GENERATORS if part == "generator" else DISCRIMINATORS
    with pytest.raises(ModelError, match=rf"unknown {part} 'vit'.*{', '.join(sorted(choices))}"):
        build("vit")
    with pytest.raises(ModelError, match="no argument 'depth'.*norm"):
        build(depth=3)
    with pytest.raises(
        ModelError, match="unknown norm 'group': .*batch, instance, layer, none.*tracked-instance"
    ):
        build(norm="group")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("unet", {"halvings": 0}, "halvings is 1 or more, got halvings=0"),
        ("unet", {"ngf": 0}, "ngf is 1 or more"),
        ("unet", {"head": "softmax"}, "unknown head 'softmax': .*logits, tanh"),
        ("resnet", {"blocks": -1}, "blocks is 0 or more, got blocks=-1"),
        ("resnet", {"ngf": 0}, "ngf is 1 or more"),
    ],
)
def test_arguments_out_of_range_are_refused(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        build_generator(name, 3, 3, **arguments)


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_the_output_is_not_rounded_to_bfloat16(name: str) -> None:
    net = initialise(build_generator(name, 3, 1, **SMALL[name]), seeded()).eval()
    image = torch.randn(1, 3, 64, 64, generator=seeded(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = net(image)
    assert out.dtype == torch.float32
    assert (out != out.bfloat16()).float().mean() > 0.9


def test_a_layer_norm_is_taken_over_the_channels_of_each_pixel() -> None:
    net = UNet(3, 1, halvings=2, ngf=8, norm="layer")
    (norm,) = [m for m in net.decoder.modules() if isinstance(m, nn.LayerNorm)]
    x = torch.randn(2, 8, 3, 5, generator=seeded())
    y = norm(x)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
    torch.testing.assert_close(y, (x - mean) / (var + norm.eps).sqrt())


# ------------------------------------------------------------------ weights


def test_first_weights_are_drawn_as_published() -> None:
    net = initialise(UNet(3, 3, halvings=4, ngf=32), seeded())
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.numel() > 1e4:
            assert abs(layer.weight.mean()) < 1e-3
            assert abs(layer.weight.std() - 0.02) < 1e-3
    gammas = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert abs(gammas.mean() - 1) < 5e-3
    assert abs(gammas.std() - 0.02) < 5e-3
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("norm", sorted(set(NORMS) - {"none"}))
def test_first_weights_follow_their_seed_and_nothing_else(norm: str) -> None:
    def draw(seed: int, before: int) -> Tensor:
        torch.manual_seed(before)
        net = initialise(UNet(3, 3, halvings=2, ngf=4, norm=norm), seeded(seed))
        return nn.utils.parameters_to_vector(net.parameters())

    assert torch.equal(draw(1, before=1), draw(1, before=2))
    assert not torch.equal(draw(1, before=1), draw(2, before=1))


def some_batches(number: int) -> list[Tensor]:
    """Return batches of differing means, so that an average differs from the last one."""
    return [torch.randn(4, 3, 16, 16, generator=seeded(i)) + i for i in range(number)]


def test_calibrated_statistics_of_an_instance_norm_are_averages_of_those_of_its_images() -> None:
    net = nn.Sequential(layers.NORMS["tracked-instance"](3), nn.InstanceNorm2d(3, affine=True))
    batches = some_batches(5)
    calibrate_batch_norm(net, batches)
    torch.testing.assert_close(net[0].running_mean, torch.cat(batches).mean((0, 2, 3)))
    torch.testing.assert_close(net[0].running_var, torch.cat(batches).var((2, 3)).mean(0))
    assert net[0].momentum == 0.1


def test_calibrated_statistics_are_the_plain_average_over_all_batches() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3))
    batches = some_batches(5)
    calibrate_batch_norm(net, some_batches(9))  # forgotten by the next
    calibrate_batch_norm(net, iter(batches))
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    var = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, mean)
    torch.testing.assert_close(net[0].running_var, var)


def test_calibration_keeps_dropout_off_and_restores_every_mode() -> None:
    dropout = nn.Dropout(0.5).train()
    frozen = nn.BatchNorm2d(3, momentum=0.3).eval()
    net = nn.Sequential(dropout, frozen, nn.BatchNorm2d(3))
    modes = [m.training for m in net.modules()]
    weights = [p.clone() for p in net.parameters()]
    batch = torch.ones(2, 3, 4, 4)  # any unit dropped would move the variance off 0
    calibrate_batch_norm(net, [batch])
    assert (frozen.running_var == 0).all()
    assert [m.training for m in net.modules()] == modes
    assert frozen.momentum == 0.3
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), weights, strict=True))


def test_calibration_restores_modes_when_a_batch_fails() -> None:
    net = UNet(3, 1, halvings=2, ngf=4).train()
    with pytest.raises(ModelError):
        calibrate_batch_norm(net, [torch.zeros(1, 3, 5, 5)])
    assert all(m.training for m in net.modules())


def test_no_batches_are_refused_before_anything_is_reset() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3))
    calibrate_batch_norm(net, some_batches(2))
    before = net[0].running_mean.clone()
    with pytest.raises(ModelError, match="at least one batch"):
        calibrate_batch_norm(net, [])
    assert torch.equal(net[0].running_mean, before)
    calibrate_batch_norm(UNet(3, 1, halvings=1, ngf=2), [])  # no batch norms: nothing to do
