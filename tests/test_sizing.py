"""How large blocks are, and where the first one begins: by cost, by memory, by the CRS."""

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pairs import Shown
from rasterio.windows import Window
from rasters import utm, write

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import AlignmentError, ModelError
from geo_p2p.networks.layers import cut
from geo_p2p.predict import PredictConfig, predict, sizing
from geo_p2p.predict.anchor import first_block
from geo_p2p.predict.plan import Job
from geo_p2p.predict.sizing import LARGEST, ROOM, Sizing
from geo_p2p.raster import RasterSource

UNIT = Scaling("float32", (-1.0,), (1.0,))


def card(stride: int = 8, halo: int = 16, **changes: Any) -> ModelCard:
    fields = {"size": 64, "network": "plain", "arguments": {}, "tile_safe": True, **changes}
    return ModelCard(UNIT, UNIT, stride=stride, halo=halo, **fields)


class Timed(Shown):
    """A model of a given speed: an engine, as far as the sizes of blocks are concerned."""

    threads = 1
    margin_work = 1.0

    def __init__(self, model: ModelCard, seconds: Any = lambda side: 0.0) -> None:
        super().__init__(model, self.work)
        self.seconds = seconds
        self.clock = 0.0
        self.each, self.free = 1.0, math.inf

    def work(self, tiles: np.ndarray, seed: int) -> np.ndarray:
        self.clock += self.seconds(tiles.shape[-1])
        return tiles

    def bytes_per_pixel(self) -> float:
        return self.each

    def room(self) -> float:
        return self.free

    def session(self) -> Any:
        return nullcontext()

    def start(self, tiles: np.ndarray, seed: int, margin: int = 0) -> Any:
        result = cut(self(tiles, seed), margin)
        return lambda: result

    def exact(self, tile: np.ndarray) -> None:
        return None


def whole(height: int, width: int) -> tuple[tuple[int, int], Window]:
    return (height, width), Window(0, 0, width, height)


def work(model: Any, shape: tuple[int, int], size: int) -> float:
    """Pixels that a network sees, all told."""
    margin = model.card.halo
    tile = math.prod(min(size, -(-n // 8) * 8) + 2 * margin for n in shape)
    return math.prod(-(-n // size) for n in shape) * tile


# ------------------------------------------------------------------ by formula


@given(
    st.sampled_from([(1, 0), (4, 60), (8, 16), (32, 64), (256, 512)]),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.sampled_from([4.0, 400.0, 4000.0]),
)
def test_a_size_is_whole_strides_no_larger_than_the_raster_and_fits_memory(
    network: tuple[int, int], height: int, width: int, each: float
) -> None:
    model = Timed(card(*network))
    model.each = each
    stride, halo = network
    size = Sizing(model, *whole(height, width)).by_formula()
    assert size % stride == 0
    assert stride <= size < min(LARGEST, max(height, width)) + max(stride, 32)
    tile = math.prod(min(size, -(-n // stride) * stride) + 2 * halo for n in (height, width))
    assert tile * (each + 80) <= ROOM or size <= max(stride, 32, 4 * halo)
    assert model.calls == []  # a formula asks nobody


def test_a_larger_halo_asks_for_larger_blocks() -> None:
    sizes = [Sizing(Timed(card(8, halo))).by_formula() for halo in (8, 32, 64)]
    assert sizes == sorted(set(sizes))


def test_a_halo_that_costs_less_asks_for_smaller_blocks() -> None:
    model, sizes = Timed(card(halo=64)), []
    for share in (1.0, 0.35):
        model.margin_work = share
        sizes.append(Sizing(model).by_formula())
    assert sizes[1] < sizes[0]


def test_without_a_halo_blocks_are_large_all_the_same() -> None:
    assert Sizing(Shown(card(1, 0), None), *whole(4096, 4096)).by_formula() >= 512


@pytest.mark.parametrize("side", [500, 700, 1000, 1100, 1500, 2100])
def test_no_round_size_makes_the_network_see_much_less(side: int) -> None:
    model = Timed(card())
    size = Sizing(model, *whole(side, side)).by_formula()
    others = [work(model, (side, side), other) for other in range(64, side + 8, 8)]
    assert work(model, (side, side), size) <= 1.25 * min(others)


def test_a_part_of_a_raster_gets_blocks_of_its_own_size() -> None:
    model = Timed(card())
    part = Sizing(model, (50_000, 50_000), Window(12_800, 25_600, 512, 512)).by_formula()
    assert part <= 512


# ------------------------------------------------------------------ by time


def test_what_is_faster_on_this_machine_wins_and_what_hardly_differs_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "geo_p2p")

    def chosen(model: Timed) -> int:
        monkeypatch.setattr(sizing, "time", SimpleNamespace(perf_counter=lambda: model.clock))
        return Sizing(model, *raster).by_time()

    raster = whole(100_000, 100_000)
    plain = Timed(card(), lambda side: side**2 * 1e-9)
    formula = Sizing(plain, *raster).by_formula()
    model = Timed(card(), lambda side: side**2 * (2e-8 if side > formula else 1e-9))
    assert chosen(plain) == formula
    assert f"{formula} px" in caplog.text
    assert chosen(model) < formula
    assert formula + 32 in {call[-1] for call in model.calls}


def test_a_raster_that_would_not_earn_it_back_is_not_measured() -> None:
    model = Timed(card(), lambda side: 1 / 0)
    assert Sizing(model, *whole(2048, 2048)).by_time() > 0
    assert model.calls == []


def test_sizes_without_room_are_not_tried() -> None:
    model = Timed(card())
    model.each = 400.0
    formula = Sizing(model, *whole(50_000, 50_000)).by_formula()
    model.free = 2.1 * 480 * (formula + 32) ** 2
    Sizing(model, *whole(50_000, 50_000)).by_time()
    assert max(call[-1] for call in model.calls) == formula + 32


# ------------------------------------------------------------------ of a whole run


@pytest.fixture
def source(tmp_path: Path) -> RasterSource:
    values = np.random.default_rng(0).uniform(-1, 1, (1, 40, 60)).astype("float32")
    return RasterSource(write(tmp_path / "src.tif", values, utm(40, 60)))


def test_a_run_goes_on_in_the_blocks_of_the_run_before(
    source: RasterSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PredictConfig(keep_parts=True)
    sizes = iter((16, 24, 24))
    monkeypatch.setattr(Sizing, "by_time", lambda self: next(sizes))
    model = Timed(card(8, 8))
    for expected in (12, 0):  # the second time another size would be found
        model.calls.clear()
        done = predict(model, source, tmp_path / "o.tif", config, overwrite=True)
        assert (len(model.calls), done.blocks) == (expected, 12)
    model.fingerprint = "trained again"  # another plan in any case, so the choice is free
    assert predict(model, source, tmp_path / "o.tif", config, overwrite=True).blocks == 6


def test_runs_that_must_agree_do_not_measure(
    source: RasterSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sizing, "by_time", lambda self: 1 / 0)
    model = Timed(card())
    assert Job.of(model, source, PredictConfig(shard="1/2")).plan.size == 64
    assert Job.of(model, source, PredictConfig(anchor="crs")).plan.size > 64


# ------------------------------------------------------------------ anchored to the CRS


@given(st.integers(-3000, 3000), st.integers(-3000, 3000), st.integers(0, 500), st.integers(0, 500))
def test_blocks_of_two_rasters_lie_on_one_lattice(row: int, col: int, down: int, over: int) -> None:
    place = Affine(0.3, 0, 0.3 * col, 0, -0.3, -0.3 * row)
    one = replace(utm(10, 10), transform=place)
    two = replace(one, transform=place * Affine.translation(over, down))
    for size in (8, 96):
        (top, left), (lower, righter) = first_block(one, size), first_block(two, size)
        assert -size < min(top, left) <= max(top, left) <= 0
        assert (down + lower - top) % size == 0
        assert (over + righter - left) % size == 0
        assert (row + top) % size == 0
        assert (col + left) % size == 0


def test_what_has_no_place_on_the_lattice_is_refused(source: RasterSource) -> None:
    frame = source.frame
    turned = replace(frame, transform=frame.transform * Affine.rotation(10))
    off = replace(frame, transform=frame.transform * Affine.translation(0.5, 0))
    with pytest.raises(AlignmentError, match="turned .* use anchor 'raster'"):
        first_block(turned, 8)
    with pytest.raises(AlignmentError, match=r"0.5 px off .* \(gdalwarp -tap\)"):
        first_block(off, 8)
    with pytest.raises(ModelError, match="anchor 'tile': choose one of raster, crs"):
        PredictConfig(anchor="tile")
    blended = Shown(card(tile_safe=False), None)
    with pytest.raises(
        ModelError, match="blended from the raster's corner on; use anchor 'raster'"
    ):
        Job.of(blended, source, PredictConfig(anchor="crs"))
