"""A network made ready for translating: the same function, faster, and it knows its memory."""

import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from geo_p2p import device
from geo_p2p.card import Category, ModelCard, Scaling
from geo_p2p.device import exact_arithmetic, inference_precision
from geo_p2p.errors import ModelError
from geo_p2p.model_file import Translator
from geo_p2p.model_file.inference import Doubling, most_alive, ready
from geo_p2p.networks import build_generator, initialise

BYTES = Scaling("uint8", (0.0,) * 2, (255.0,) * 2)
CLASSES = Scaling(
    "uint8", classes=(Category(1, "a", (1, 2, 3, 255), 0.5), Category(7, "b", (4, 5, 6, 255), 0.5))
)


def card_of(net: Any) -> ModelCard:
    fields: dict[str, Any] = {"size": 32, "network": "unet", "arguments": net.arguments}
    return ModelCard(
        BYTES, BYTES, stride=net.stride, halo=net.halo, tile_safe=net.tile_safe, **fields
    )


def generator() -> Any:
    return trained("unet", halvings=2)


def tiles(count: int = 3) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.uniform(-1, 1, (count, 2, 16, 24)).astype("float32")


NETWORKS = [
    {"name": "unet", "halvings": 3},
    {"name": "unet", "halvings": 3, "norm": "none"},
    {"name": "unet", "halvings": 3, "norm": "layer"},
    {"name": "unet", "halvings": 3, "norm": "instance"},
    {"name": "resnet", "blocks": 1},
]


def trained(name: str, **arguments: Any) -> Any:
    """Return a network whose batch norms have seen something."""
    net = initialise(
        build_generator(name, 2, 2, **{"ngf": 4, **arguments}), torch.Generator().manual_seed(0)
    )
    for _ in range(40):  # until its running statistics are those of the batch
        net.train()(torch.from_numpy(tiles(4)))
    net.eval()
    with torch.no_grad():  # an output that is far from constant
        output = net(torch.from_numpy(tiles(4))).std()
        net.last.layer.weight.mul_(0.5 / output)
    return net


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_made_ready_a_network_is_the_same_function(network: dict[str, Any]) -> None:
    net = trained(**network)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = torch.from_numpy(tiles(1))
    with torch.inference_mode():
        expected = net(image)
        got = ready(net, torch.device("cpu"), torch.float32)(image)
    assert expected.std() > 0.1
    assert (got - expected).abs().max() < 5e-6
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_weights_rounded_once_give_what_autocast_gives(
    network: dict[str, Any], dtype: torch.dtype
) -> None:
    cpu, image = torch.device("cpu"), torch.from_numpy(tiles(1))
    net = trained(**network)
    full, once = (ready(net, cpu, each) for each in (torch.float32, dtype))
    with torch.inference_mode(), exact_arithmetic(cpu, dtype):
        assert torch.equal(once(image), full(image))
    assert once.last.layer.weight.dtype == torch.float32


def test_fp16_rounds_to_three_bits_more_than_bf16() -> None:
    net, cpu, image = trained("unet", halvings=3), torch.device("cpu"), torch.from_numpy(tiles(1))
    off = {}
    with torch.inference_mode():
        expected = net(image)
        for dtype in (torch.bfloat16, torch.float16):
            with exact_arithmetic(cpu, dtype):
                off[dtype] = (ready(net, cpu, dtype)(image) - expected).abs().mean()
    assert 0 < 4 * off[torch.float16] < off[torch.bfloat16]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (2, 5, 3, 8), (1, 5, 17, 2)], ids=str)
def test_a_doubling_is_the_transposed_convolution(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=bias).requires_grad_(False)
    assert Doubling.serves(layer)
    image = torch.randn(shape)
    for order in (torch.contiguous_format, torch.channels_last):
        made = Doubling(layer)(image.to(memory_format=order))
        assert made.shape == layer(image).shape
        assert (made - layer(image)).abs().max() < 1e-6


@pytest.mark.parametrize(
    "arguments",
    [(5, 3, 3, 2, 1), (5, 3, 4, 2, 0), (5, 3, 4, 1, 1), (5, 3, 4, 2, 1, 1), (5, 200, 4, 2, 1)],
    ids=str,
)
def test_other_layers_are_left_alone(arguments: tuple[int, ...]) -> None:
    assert not Doubling.serves(nn.ConvTranspose2d(*arguments))
    assert not Doubling.serves(nn.ConvTranspose2d(6, 3, 4, 2, 1, groups=3))
    assert not Doubling.serves(nn.Conv2d(5, 3, 4, 2, 1))


def test_batch_norms_are_folded_away() -> None:
    folded = ready(trained("unet", halvings=3), torch.device("cpu"), torch.float32)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_auto_is_bf16_where_the_cores_have_it_and_the_target_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    many = replace(CLASSES, dtype="uint16")
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "cpu_has_bf16", lambda has=has: has)
        for target in (BYTES, CLASSES, many):
            assert inference_precision("auto", cpu, target) == expected
        assert inference_precision("auto", cpu, replace(BYTES, dtype="uint16")) == torch.float32
        assert inference_precision("fp32", cpu, BYTES) == torch.float32
        assert inference_precision("bf16", cpu, BYTES) == torch.bfloat16
        assert inference_precision("fp16", cpu, BYTES) == torch.float16
    cuda = torch.device("cuda")
    for has, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        for target in (BYTES, CLASSES, many):
            assert inference_precision("auto", cuda, target) == expected
        assert inference_precision("auto", cuda, replace(BYTES, dtype="uint16")) == torch.float32
    with pytest.raises(ModelError, match="precision 'fp8'"):
        inference_precision("fp8", cpu, BYTES)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("model name : x\nflags : fpu avx512f avx512_bf16 sse", True),
        ("flags\t\t: fpu amx_bf16", True),
        ("Features : fp asimd i8mm bf16", True),
        ("flags : fpu avx2 avx512f", False),
        ("model name : bf16", False),
    ],
)
def test_cores_say_whether_they_multiply_in_bf16(
    monkeypatch: pytest.MonkeyPatch, text: str, has: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    device.cpu_has_bf16.cache_clear()
    assert device.cpu_has_bf16() is has
    device.cpu_has_bf16.cache_clear()


def test_the_memory_of_a_tile_is_that_of_the_features_alive_at_once() -> None:
    net = torch.nn.Sequential(*(torch.nn.Conv2d(c, d, 1) for c, d in ((2, 8), (8, 4), (4, 1))))
    image = torch.zeros(1, 2, 10, 10)
    with torch.inference_mode():
        most = most_alive(net, lambda: net(image))
    assert most == 4 * 100 * (2 + 8 + 4)  # the caller keeps the image
    assert not any(module._forward_hooks for module in net.modules())
    wide = trained("unet", halvings=2, ngf=64)
    assert 100 < Translator(wide, card_of(wide)).bytes_per_pixel() < 400


def test_a_network_is_the_one_of_its_first_tile() -> None:
    net = generator()
    model = Translator(net, card_of(net))
    first = model(tiles(1), 0)
    with torch.no_grad():
        net.last.layer.weight.zero_()
    assert np.array_equal(model(tiles(1), 0), first)
    assert not np.array_equal(Translator(net, card_of(net))(tiles(1), 0), first)


def test_tiles_that_were_begun_can_be_waited_for_in_any_thread() -> None:
    net = generator()
    model = Translator(net, card_of(net))
    begun = [model.start(tile[None], 0) for tile in tiles(3)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda wait: wait(), begun))
    assert np.array_equal(np.concatenate(results), model(tiles(3), 0))


@pytest.mark.parametrize("own", [True, False])
def test_a_margin_that_is_not_wanted_does_not_come_back(own: bool) -> None:
    net = generator() if own else nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh())
    fields = {"network": "unet", "arguments": {}, "stride": 4, "halo": 8, "tile_safe": True}
    model = Translator(net, ModelCard(BYTES, BYTES, size=32, **fields), "cpu", "fp32")
    whole = model(tiles(2), 0)
    core = model.start(tiles(2), 0, 4)()
    assert core.shape == (2, 2, 8, 16)
    assert np.abs(core - whole[..., 4:-4, 4:-4]).max() < 1e-6
    assert model.margin_work == (0.35 if own else 1)


def test_only_what_is_rounded_has_an_exact_counterpart() -> None:
    net = generator()
    coarse, full = (Translator(net, card_of(net), "cpu", p) for p in ("bf16", "fp32"))
    assert full.exact(tiles(1)[0]) is None
    assert np.array_equal(coarse.exact(tiles(1)[0]), full(tiles(1), 0)[0])


RESIDENT = """
import json, os
from pathlib import Path
import numpy as np
from geo_p2p.device import kept_memory

def resident():
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") - before

before = 0
before = resident()
with kept_memory():
    np.ones(2**26, np.uint8)
    kept = resident()
    np.ones(2**26, np.uint8)
    again = resident()
print(json.dumps([kept, again, resident()]))
"""


def test_memory_is_kept_for_the_next_tile_and_given_back_in_the_end() -> None:
    """In a process of its own: a long-lived heap has free memory that hides what is kept."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no Linux")
    told = subprocess.run([sys.executable, "-c", RESIDENT], check=True, capture_output=True)
    size, (kept, again, after) = 2**26, json.loads(told.stdout)
    assert again < 1.5 * size
    assert after < size / 2
    if platform.libc_ver()[0] == "glibc":
        assert kept > size / 2
