"""Prediction: tiles are the whole, blocks are independent, nothing is lost or invented.

Most models here are plain functions with a card: prediction needs no network, and no torch.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from pairs import COLOURS, Shown
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from rasters import opened, utm, write

from geo_p2p.card import Category, ModelCard, Scaling
from geo_p2p.errors import AlignmentError, GeoP2PError, GridError, ModelError, RasterError
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator, calibrate_batch_norm, initialise
from geo_p2p.predict import PredictConfig, Prediction, predict, run
from geo_p2p.raster import RasterSink, RasterSource

cog_validate = pytest.importorskip("rio_cogeo").cog_validate

UNIT = Scaling("float32", (-1.0,), (1.0,))
"""Values that are their own scaling."""


def scaling(dtype: str, bands: int = 1, **fields: Any) -> Scaling:
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    low, high = (info.min, info.max) if info else (-1500.0, 4000.0)
    return Scaling(dtype, (float(low),) * bands, (float(high),) * bands, **fields)


def card(x: Scaling = UNIT, y: Scaling | None = None, **changes: Any) -> ModelCard:
    fields = {"size": 16, "network": "plain", "arguments": {}, "stride": 8, "halo": 8}
    return ModelCard(x, x if y is None else y, **{**fields, "tile_safe": True, **changes})


def identity(x: Scaling = UNIT, y: Scaling | None = None, **changes: Any) -> Shown:
    return Shown(card(x, y, **changes), lambda tiles, seed: tiles)


def constant(value: float, y: Scaling, x: Scaling = UNIT, **changes: Any) -> Shown:
    def paint(tiles: np.ndarray, seed: int) -> np.ndarray:
        return np.full((len(tiles), y.channels, *tiles.shape[2:]), value, "float32")

    return Shown(card(x, y, **changes), paint)


def noise(dtype: str, bands: int, rows: int, cols: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return draw.uniform(-1500, 4000, (bands, rows, cols)).astype(dtype)
    info = np.iinfo(dtype)
    return draw.integers(info.min, info.max, (bands, rows, cols), dtype, endpoint=True)


def smooth(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (1, rows, cols)).astype("float32")


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., RasterSource]:
    """Return a function that writes an array and opens it."""

    def make(values: np.ndarray, name: str = "src.tif", **options: Any) -> RasterSource:
        return RasterSource(write(tmp_path / name, values, utm(*values.shape[1:]), **options))

    return make


def read(path: Path, *window: int) -> tuple[np.ndarray, np.ndarray]:
    return RasterSource(path).read(Window(*window) if window else None)


def translated(
    model: Any, src: RasterSource, dst: Path, overwrite: bool = True, **settings: Any
) -> np.ndarray:
    """Return the values of a prediction; they are valid where the raster is."""
    done = predict(model, src, dst, PredictConfig(**settings), overwrite=overwrite)
    assert done.output == dst
    return read(dst)[0]


# ------------------------------------------------------------------ tiles are the whole

SIZES = [(1, 1), (1, 40), (23, 1), (7, 9), (15, 16), (16, 16), (17, 33), (31, 47)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_model_that_changes_nothing_gives_the_raster_back(
    source: Any, tmp_path: Path, dtype: str, size: tuple[int, int]
) -> None:
    values = noise(dtype, 2, *size)
    src = source(values)
    out = translated(identity(scaling(dtype, 2)), src, tmp_path / "o.tif", block_size=16)
    assert out.dtype == dtype
    if (
        dtype == "float32"
    ):  # through float32 in [-1, 1]: half its last bit of the range, and its own
        assert np.abs(out - values).max() <= 5500 * 2**-26 + 4000 * 2**-24
    else:
        assert np.array_equal(out, values)


def stencil(tiles: np.ndarray, stride: int, halo: int) -> np.ndarray:
    """Stand in for a network: local within ``halo``, equivariant only to ``stride``."""
    rows, cols = np.indices(tiles.shape[-2:])
    phase = (1 + (rows % stride) * 3 + (cols % stride) * 7) / (10 * stride)
    total = np.zeros_like(tiles)
    for row in (-halo, 0, halo):
        for col in (-halo, 0, halo):
            total += np.roll(tiles, (row, col), (-2, -1)) * (1 + (row > 0) + 2 * (col > 0))
    return (total * phase / 16).astype("float32")


def whole(model: Any, values: np.ndarray) -> np.ndarray:
    """Translate an image at once: reflected by the halo, and to whole strides, then cut."""
    stride, halo = model.card.stride, model.card.halo
    margin = -(-halo // stride) * stride
    pads = [(margin, margin + -n % stride) for n in values.shape[1:]]
    scaled = model.card.input.forward(values, np.ones(values.shape[1:], bool))
    out = model(np.pad(scaled, ((0, 0), *pads), mode="reflect")[None], 0)[0]
    return out[:, margin : margin + values.shape[1], margin : margin + values.shape[2]]


@pytest.mark.parametrize(("stride", "halo"), [(1, 3), (4, 4), (8, 5), (4, 11)])
def test_tiles_of_a_local_model_equal_the_whole(
    source: Any, tmp_path: Path, stride: int, halo: int
) -> None:
    values = smooth(29, 45)
    src = source(values)
    near = Shown(card(stride=stride, halo=halo), lambda tiles, seed: stencil(tiles, stride, halo))
    expected = UNIT.inverse(whole(near, values))
    assert expected.std() > 0.02
    for block in (8, 16, 24, 64):
        out = translated(near, src, tmp_path / "o.tif", block_size=block, batch_size=block % 3 + 1)
        assert np.array_equal(out, expected)


def test_with_too_small_a_halo_tiles_would_differ(source: Any, tmp_path: Path) -> None:
    values = smooth(37, 53)
    far = Shown(card(stride=4, halo=4), lambda tiles, seed: stencil(tiles, 4, 9))
    out = translated(far, source(values), tmp_path / "o.tif", block_size=8)
    assert np.abs(out - whole(far, values)).max() > 0.01


@pytest.fixture(scope="module")
def unet() -> Any:
    """Return a U-Net that is far from constant, with calibrated batch norms."""
    draw = torch.Generator().manual_seed(0)
    net = initialise(build_generator("unet", 2, 1, halvings=3, ngf=4), draw)
    images = [torch.rand(4, 2, 64, 64, generator=draw) * 2 - 1 for _ in range(3)]
    calibrate_batch_norm(net, images)
    net.eval()
    with torch.no_grad():
        sizes: list[float] = []
        hook = net.last.layer.register_forward_hook(lambda _, __, out: sizes.append(out.std()))
        net(images[0])
        hook.remove()
        net.last.layer.weight.mul_(0.4 / sizes[0])
    return net


def test_tiles_of_a_network_equal_the_whole(source: Any, tmp_path: Path, unet: Any) -> None:
    values = noise("uint8", 2, 75, 90)
    src = source(values)
    fields = {"size": 64, "stride": unet.stride, "halo": unet.halo, "network": "unet"}
    exact = Translator(unet, card(scaling("uint8", 2), UNIT, **fields), "cpu", "fp32")
    eight = Translator(unet, card(scaling("uint8", 2), scaling("uint8"), **fields), "cpu", "fp32")
    expected = whole(exact, values)
    assert expected.std() > 0.1
    quanta = eight.card.target.inverse(expected).astype(int)
    for block in (16, 40, 128):
        settings = {"block_size": block, "batch_size": 2}
        out = translated(exact, src, tmp_path / "o.tif", **settings)
        assert np.abs(out - expected).max() < 5e-6
        coarse = translated(eight, src, tmp_path / "o.tif", **settings)
        assert np.abs(coarse.astype(int) - quanta).max() <= 1


def test_bounds_give_the_crop_of_the_whole(source: Any, tmp_path: Path, unet: Any) -> None:
    src = source(noise("uint8", 2, 75, 90))
    fields = {"size": 64, "stride": unet.stride, "halo": unet.halo, "network": "unet"}
    model = Translator(unet, card(scaling("uint8", 2), scaling("uint8"), **fields), "cpu", "fp32")
    everything = translated(model, src, tmp_path / "whole.tif", block_size=24)
    window = Window(29, 13, 41, 50)
    frame = src.frame.crop(window)
    part = translated(model, src, tmp_path / "part.tif", block_size=24, bounds=frame.bounds)
    assert RasterSource(tmp_path / "part.tif").frame == frame
    assert np.array_equal(part, everything[:, *window.toslices()])
    done = predict(
        model, src, tmp_path / "few.tif", PredictConfig(block_size=24, bounds=frame.bounds)
    )
    assert (done.width, done.height, done.blocks) == (41, 50, 6)  # of 16


# ------------------------------------------------------------------ blocks are independent


def stopping(model: Shown, after: int, error: BaseException) -> Shown:
    """Return a model that does the same as another, until it fails."""

    def work(tiles: np.ndarray, seed: int) -> np.ndarray:
        if len(again.calls) > after:
            raise error
        return model.function(tiles, seed)

    again = Shown(model.card, work)
    return again


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


ERRORS = [ModelError("a bug"), KeyboardInterrupt(), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    source: Any, tmp_path: Path, error: BaseException, batch: int
) -> None:
    src = source(smooth(40, 56))
    model = Shown(card(), lambda tiles, seed: stencil(tiles, 8, 8))
    undisturbed = PredictConfig(block_size=16, keep_parts=True)
    predict(model, src, tmp_path / "a.tif", undisturbed)
    threads = set(threading.enumerate())

    config = replace(undisturbed, batch_size=batch)
    with pytest.raises(type(error)):
        predict(stopping(model, 2, error), src, tmp_path / "b.tif", config)
    assert set(threading.enumerate()) == threads
    assert not (tmp_path / "b.tif").exists()
    finished = parts(tmp_path / "b.tif.parts")
    assert len(finished) == 2 * batch
    done = sum(math.prod(read(tmp_path / "b.tif.parts" / name)[1].shape) for name in finished)
    assert sorted(p.name for p in (tmp_path / "b.tif.parts").iterdir()) == [*finished, "plan.json"]

    again, told = Shown(model.card, model.function), []
    predict(again, src, tmp_path / "b.tif", config, progress=lambda *n: told.append(n))
    assert len(told) == 13 - len(finished)
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == ((done, 40 * 56), (40 * 56, 40 * 56))
    assert sum(call[0] for call in again.calls) == 12 - len(finished)
    assert parts(tmp_path / "a.tif.parts") == parts(tmp_path / "b.tif.parts")
    assert np.array_equal(read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0])


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_the_bytes_do_not_depend_on_the_batch(source: Any, tmp_path: Path, batch: int) -> None:
    src = source(smooth(40, 56), nodata=9)
    model = Shown(card(), lambda tiles, seed: stencil(tiles, 8, 8))
    for name, size in (("a", 1), ("b", batch)):
        config = PredictConfig(block_size=16, batch_size=size, keep_parts=True)
        predict(model, src, tmp_path / f"{name}.tif", config)
    assert parts(tmp_path / "a.tif.parts") == parts(tmp_path / "b.tif.parts")
    assert max(call[0] for call in model.calls) == min(batch, 12)


def another_block(case: dict[str, Any]) -> None:
    case["config"] = replace(case["config"], block_size=24)


def another_window(case: dict[str, Any]) -> None:
    bounds = case["source"].frame.crop(Window(0, 0, 56, 39)).bounds
    case["config"] = replace(case["config"], bounds=bounds)


def another_model(case: dict[str, Any]) -> None:
    case["model"].fingerprint = "trained again"


def another_type(case: dict[str, Any]) -> None:
    case["config"] = replace(case["config"], dtype="float64")


def another_raster(case: dict[str, Any]) -> None:
    path = Path(case["source"].paths[0])
    write(path, smooth(40, 56, seed=5), case["source"].frame)
    case["source"] = RasterSource(path)


def another_lattice(case: dict[str, Any]) -> None:
    frame = case["source"].frame
    moved = replace(frame, transform=frame.transform * Affine.translation(0.5, 0.5))
    case["source"] = RasterSource(case["source"].paths, like=moved)


def half_a_plan(case: dict[str, Any]) -> None:
    (case["parts"] / "plan.json").write_text('{"plan": ')


CHANGES = [
    another_block,
    another_window,
    another_model,
    another_type,
    another_raster,
    another_lattice,
    half_a_plan,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_an_earlier_run_left_serves_only_the_same_plan(
    source: Any, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    case = {
        "model": identity(),
        "source": source(smooth(40, 56)),
        "config": PredictConfig(block_size=16),
        "parts": tmp_path / "o.tif.parts",
    }

    def go(model: Any) -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []
        arguments = case["source"], tmp_path / "o.tif", case["config"]
        predict(model, *arguments, progress=lambda *n: told.append(n), overwrite=True)
        return told

    for expected in (3 * 16**2, 0):  # once as a check that the same plan is gone on with
        with pytest.raises(ModelError):
            go(stopping(case["model"], 3, ModelError("a bug")))
        if expected:
            assert go(case["model"])[0][0] == expected
        else:
            change(case)
            assert go(case["model"])[0][0] == 0
    assert not case["parts"].exists()


def test_a_run_whose_blocks_are_all_there_only_makes_the_mosaic(
    source: Any, tmp_path: Path
) -> None:
    src, model = source(smooth(20, 20)), identity()
    config = PredictConfig(block_size=8, keep_parts=True)
    first = predict(model, src, tmp_path / "o.tif", config)
    values = read(tmp_path / "o.tif")[0]
    (tmp_path / "o.tif").unlink()
    model.calls.clear()
    done = predict(model, src, tmp_path / "o.tif", config)
    assert model.calls == []
    assert np.array_equal(read(tmp_path / "o.tif")[0], values)
    assert first.mpx_per_s > 0
    assert done == Prediction(tmp_path / "o.tif", 20, 20, 9, 0.0, True)


@pytest.mark.parametrize("keep", [True, False])
def test_the_parts_are_removed_unless_they_are_to_be_kept(
    source: Any, tmp_path: Path, keep: bool
) -> None:
    config = PredictConfig(block_size=8, keep_parts=keep)
    predict(identity(), source(smooth(9, 9)), tmp_path / "o.tif", config)
    left = ["o.tif", *["o.tif.parts"] * keep, "src.tif"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


# ------------------------------------------------------------------ nothing is lost or invented


def holes(rows: int, cols: int) -> np.ndarray:
    valid = np.random.default_rng(1).random((rows, cols)) > 0.1
    valid[16:32, 8:40] = False  # whole blocks, and parts of blocks
    valid[:, -1] = False
    return valid


@pytest.mark.parametrize("nodata", [0, 255, 7, None])
@pytest.mark.parametrize("hidden", ["nodata", "mask", "alpha"])
def test_invalid_in_is_invalid_out_and_valid_stays_valid(
    source: Any, tmp_path: Path, hidden: str, nodata: float | None
) -> None:
    values, valid = noise("uint8", 1, 45, 51), holes(45, 51)
    values[values == 99] = 98
    options = {
        "nodata": {"nodata": 99},
        "mask": {"mask": valid},
        "alpha": {"alpha": valid},
    }[hidden]
    src = source(np.where(valid, values, 99).astype("uint8"), **options)
    model = identity(scaling("uint8"), scaling("uint8", nodata=nodata))
    predict(model, src, tmp_path / "o.tif", PredictConfig(block_size=16))
    out, kept = read(tmp_path / "o.tif")
    assert np.array_equal(kept, valid)
    with opened(tmp_path / "o.tif") as dataset:
        assert dataset.nodata == nodata
        raw = dataset.read()
    if nodata is None:
        assert np.array_equal(out[:, valid], values[:, valid])
    else:
        assert (raw[:, ~valid] == nodata).all()
        moved = out[:, valid].astype(int) - values[:, valid]
        assert ((moved != 0) == (values[:, valid] == nodata)).all()
        assert np.abs(moved).max() == 1
        assert (out[:, valid] != nodata).all()


def test_nan_in_is_nodata_out(source: Any, tmp_path: Path) -> None:
    values = noise("float32", 1, 33, 20)
    values[0, 5:20, 3:18] = np.nan
    target = scaling("float32", nodata=-9999.0)
    predict(identity(target), source(values), tmp_path / "o.tif", PredictConfig(block_size=16))
    out, kept = read(tmp_path / "o.tif")
    assert np.array_equal(kept, np.isfinite(values[0]))
    with opened(tmp_path / "o.tif") as dataset:
        assert (dataset.read()[:, ~kept] == -9999).all()


@pytest.mark.parametrize("batch", [1, 4])
def test_blocks_without_a_valid_pixel_are_not_translated(
    source: Any, tmp_path: Path, batch: int
) -> None:
    valid = np.zeros((40, 40), bool)
    valid[9, 9] = valid[30, 22] = True
    model = identity(scaling("uint8"))
    src = source(noise("uint8", 1, 40, 40), mask=valid)
    predict(model, src, tmp_path / "o.tif", PredictConfig(block_size=8, batch_size=batch))
    assert sum(call[0] for call in model.calls) == 2
    assert np.array_equal(read(tmp_path / "o.tif")[1], valid)


def test_a_raster_without_a_valid_pixel_is_invalid_everywhere(source: Any, tmp_path: Path) -> None:
    for tile_safe in (True, False):
        model = identity(scaling("uint8"), scaling("uint8", nodata=3), tile_safe=tile_safe)
        src = source(np.full((1, 20, 20), 5, "uint8"), nodata=5)
        predict(model, src, tmp_path / f"{tile_safe}.tif", PredictConfig(block_size=8))
        assert model.calls == []
        assert not read(tmp_path / f"{tile_safe}.tif")[1].any()


@pytest.mark.parametrize("tile_safe", [True, False])
def test_values_that_are_not_finite_are_refused_and_nothing_is_published(
    source: Any, tmp_path: Path, tile_safe: bool
) -> None:
    bad = constant(np.nan, UNIT, tile_safe=tile_safe)
    with pytest.raises(ModelError, match="not finite"):
        predict(bad, source(smooth(20, 20)), tmp_path / "o.tif", PredictConfig(block_size=8))
    assert not (tmp_path / "o.tif").exists()
    assert parts(tmp_path / "o.tif.parts") == {}


def test_what_a_model_gives_at_invalid_pixels_does_not_matter(source: Any, tmp_path: Path) -> None:
    def blind(tiles: np.ndarray, seed: int) -> np.ndarray:
        return np.where(tiles == 0, np.nan, tiles).astype("float32")  # 0 is what fills holes

    values, valid = smooth(20, 20), holes(20, 20)
    src = source(np.where(valid, values, -5).astype("float32"), nodata=-5)
    predict(Shown(card(), blind), src, tmp_path / "o.tif", PredictConfig(block_size=8))
    out, kept = read(tmp_path / "o.tif")
    assert np.array_equal(kept, valid)
    assert np.abs(out - values)[:, valid].max() < 1e-6


# ------------------------------------------------------------------ what the output says

HEIGHTS = Scaling(
    "int16", (-100.0, 0.0), (900.0, 50.0), nodata=-32768, names=("dsm", "höhe"), units=("m", "ft"),
    interp=("gray", "undefined"), scales=(0.5, 1.0), offsets=(10.0, 0.0),
)  # fmt: skip
COLOUR = Scaling("uint8", (0.0,) * 3, (255.0,) * 3, interp=("red", "green", "blue"))
CLASSES = Scaling(
    "uint8", classes=tuple(Category(v, f"class {v}", c, 0.3) for v, c in COLOURS.items())
)


def test_the_output_carries_what_the_target_had(source: Any, tmp_path: Path) -> None:
    src = source(smooth(600, 530))
    predict(constant(0.5, HEIGHTS), src, tmp_path / "o.tif")
    out = RasterSource(tmp_path / "o.tif")
    assert out.frame == src.frame
    info = out.info
    assert (info.names, info.units) == (HEIGHTS.names, HEIGHTS.units)
    assert (info.scales, info.offsets) == (HEIGHTS.scales, HEIGHTS.offsets)
    assert (info.dtype, info.nodata, info.interp) == ("int16", -32768, HEIGHTS.interp)
    assert out.read()[0].reshape(2, -1)[:, 0].tolist() == [650, 38]
    assert cog_validate(tmp_path / "o.tif", strict=True, quiet=True)[0]
    with opened(tmp_path / "o.tif") as dataset:
        tags = dataset.tags()
        assert dataset.overviews(1)
    assert tags["GEO_P2P_MODEL"] == "shown"
    assert tags["GEO_P2P_SOURCE"] == src.name
    assert tags["GEO_P2P_TILES"] == "exact"


def test_colour_comes_out_as_colour(source: Any, tmp_path: Path) -> None:
    predict(constant(-1.0, COLOUR), source(smooth(20, 20)), tmp_path / "o.tif")
    with opened(tmp_path / "o.tif") as dataset:
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_classes_come_out_as_their_numbers_with_their_palette(source: Any, tmp_path: Path) -> None:
    values = smooth(40, 40)

    def scores(tiles: np.ndarray, seed: int) -> np.ndarray:  # the first class below -0.3, ...
        return np.concatenate([-tiles, 0.3 + 0 * tiles, tiles], 1)

    for tile_safe in (True, False):
        model = Shown(card(UNIT, CLASSES, tile_safe=tile_safe), scores)
        predict(model, source(values), tmp_path / "o.tif", overwrite=True)
        out = RasterSource(tmp_path / "o.tif")
        expected = np.array([1, 2, 5])[np.digitize(values, (-0.3, 0.3))]
        assert np.array_equal(out.read()[0], expected)
        assert out.info.categorical
        assert {value: out.info.colors[value] for value in COLOURS} == COLOURS


# ------------------------------------------------------------------ another type


@pytest.mark.parametrize(("dtype", "value"), [("float32", 127.5), ("int16", 128), ("uint8", 128)])
def test_the_output_may_be_of_another_type(
    source: Any, tmp_path: Path, dtype: str, value: float
) -> None:
    model = constant(0.0, scaling("uint8", nodata=255))
    out = translated(model, source(smooth(9, 9)), tmp_path / "o.tif", dtype=dtype)
    assert out.dtype == dtype
    assert (out == value).all()
    assert RasterSource(tmp_path / "o.tif").info.nodata == 255


def test_a_nodata_value_that_the_type_does_not_hold_becomes_a_mask(
    source: Any, tmp_path: Path
) -> None:
    target = Scaling("float32", (0.0,), (200.0,), nodata=np.nan)
    valid = holes(20, 20)
    src = source(smooth(20, 20), mask=valid)
    predict(constant(0.0, target), src, tmp_path / "o.tif", PredictConfig(dtype="uint8"))
    out, kept = read(tmp_path / "o.tif")
    assert RasterSource(tmp_path / "o.tif").info.nodata is None
    assert np.array_equal(kept, valid)
    assert (out[:, valid] == 100).all()


@pytest.mark.parametrize(
    ("target", "dtype", "said"),
    [
        (scaling("int16"), "uint8", r"does not hold the target's values, -32768 to 32767"),
        (
            replace(CLASSES, dtype="int16", classes=(Category(300, "", (0,) * 4, 1),)),
            "uint8",
            "300",
        ),
        (UNIT, "float16", "choose one of uint8"),
        (UNIT, "complex64", "choose one of uint8"),
        (UNIT, "Byte", "not a type of numbers"),
        (UNIT, "nonsense", "not a type of numbers"),
    ],
)
def test_a_type_that_does_not_hold_the_values_is_refused_before_any_work(
    source: Any, tmp_path: Path, target: Scaling, dtype: str, said: str
) -> None:
    model = constant(0.0, target)
    with pytest.raises(RasterError, match=said):
        predict(model, source(smooth(9, 9)), tmp_path / "o.tif", PredictConfig(dtype=dtype))
    assert model.calls == []
    assert [path.name for path in tmp_path.iterdir()] == ["src.tif"]


# ------------------------------------------------------------------ refusals


def taken(folder: Path, src: RasterSource) -> dict[str, Any]:
    (folder / "o.tif").write_bytes(b"mine")
    return {}


def folder_taken(folder: Path, src: RasterSource) -> dict[str, Any]:
    (folder / "o.tif.parts").mkdir()
    (folder / "o.tif.parts" / "thesis.txt").write_bytes(b"mine")
    return {"overwrite": True}


def the_source(folder: Path, src: RasterSource) -> dict[str, Any]:
    (folder / "o.tif").symlink_to(src.paths[0])
    return {"overwrite": True}


REFUSED: dict[str, tuple[Callable[[Path, RasterSource], dict[str, Any]], type, str]] = {
    "exists": (taken, RasterError, r"o.tif: exists already; choose another name or say overwrite"),
    "parts are taken": (folder_taken, RasterError, r"o.tif.parts: holds thesis.txt"),
    "the raster itself": (the_source, RasterError, r"o.tif: is the raster to translate"),
    "no folder": (lambda *_: {"dst": "no/o.tif"}, RasterError, "folder does not exist"),
    "bands": (
        lambda *_: {"model": identity(scaling("float32", 3))},
        ModelError,
        r"src.tif: 1 bands, but the model takes 3; choose them by number \(--bidx\)",
    ),
    "block size": (lambda *_: {"block_size": 20}, GridError, "multiple of .* 8 px: give 24"),
    "batch size": (lambda *_: {"batch_size": 0}, ModelError, "at least 1"),
    "bounds": (lambda *_: {"bounds": (0, 0, 1, 1)}, AlignmentError, "no pixel of the raster"),
    "options": (lambda *_: {"options": {"COMPRES": "LZW"}}, RasterError, "GDAL says: .*COMPRES"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_done_is_refused_before_any_work(
    source: Any, tmp_path: Path, why: str
) -> None:
    prepare, error, said = REFUSED[why]
    src = source(smooth(20, 20))
    case = {"model": identity(), "dst": "o.tif", "overwrite": False, **prepare(tmp_path, src)}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    model, dst, overwrite = (case.pop(key) for key in ("model", "dst", "overwrite"))
    with pytest.raises(error, match=said) as refused:
        predict(model, src, tmp_path / dst, PredictConfig(**case), overwrite=overwrite)
    assert isinstance(refused.value, GeoP2PError)
    assert "\n" not in str(refused.value)
    assert model.calls == []
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()} == before


def test_a_file_is_replaced_only_when_asked_and_only_by_a_whole_one(
    source: Any, tmp_path: Path
) -> None:
    src = source(smooth(20, 20))
    predict(identity(), src, tmp_path / "o.tif")
    before = (tmp_path / "o.tif").read_bytes()
    with pytest.raises(ModelError):
        bad = constant(np.nan, UNIT)
        predict(bad, src, tmp_path / "o.tif", overwrite=True)
    assert (tmp_path / "o.tif").read_bytes() == before
    predict(constant(0.5, UNIT), src, tmp_path / "o.tif", overwrite=True)
    assert (read(tmp_path / "o.tif")[0] == 0.5).all()


# ------------------------------------------------------------------ threads


def test_a_block_that_cannot_be_written_leaves_nothing_half_done(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write_block = RasterSink.write

    def write_some(self: RasterSink, *arguments: Any, **options: Any) -> None:
        written.append(self.path)
        write_block(self, *arguments, **options)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    threads = set(threading.enumerate())
    monkeypatch.setattr(RasterSink, "write", write_some)
    with pytest.raises(OSError, match="No space left"):
        predict(identity(), source(smooth(40, 40)), tmp_path / "o.tif", PredictConfig(block_size=8))
    assert set(threading.enumerate()) == threads
    left = sorted(path.name for path in (tmp_path / "o.tif.parts").iterdir())
    assert written[2].name not in left
    assert all(name == "plan.json" or name in {p.name for p in written} for name in left)
    assert not (tmp_path / "o.tif").exists()


class Counting(RasterSource):
    """A source that counts what was read from it."""

    reads = 0

    def read(self, window: Window | None = None) -> Any:
        type(self).reads += 1
        return super().read(window)


@pytest.mark.parametrize("batch", [1, 4])
def test_only_a_few_blocks_are_in_memory(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    src = source(smooth(80, 80))
    counted = Counting(src.paths)
    Counting.reads, translated, waiting = 0, 0, []
    write_block = run.Runner._write
    written: list[Any] = []

    def slowly(self: Any, *block: Any) -> Any:
        time.sleep(0.002)
        written.append(block[0])
        return write_block(self, *block)

    def work(tiles: np.ndarray, seed: int) -> np.ndarray:
        nonlocal translated
        translated += len(tiles)
        waiting.append((Counting.reads - translated, translated - len(written)))
        return tiles

    monkeypatch.setattr(run.Runner, "_write", slowly)
    config = PredictConfig(block_size=16, batch_size=batch)
    predict(Shown(card(), work), counted, tmp_path / "o.tif", config)
    assert translated == 25
    assert max(read for read, _ in waiting) <= run.AHEAD * batch
    assert max(done for _, done in waiting) <= run.AHEAD + 2 * batch + 1


def test_a_caller_that_fails_stops_the_threads(source: Any, tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        if done >= 3 * 8**2:
            raise ZeroDivisionError

    threads = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError) as caught:
        config = PredictConfig(block_size=8)
        predict(identity(), source(smooth(40, 40)), tmp_path / "o.tif", config, progress=fail)
    assert caught.value is not None  # its frames are alive, and with them all that they hold
    assert set(threading.enumerate()) == threads


# ------------------------------------------------------------------ models that are not tile-safe


def tile_mean(tiles: np.ndarray, seed: int) -> np.ndarray:
    """Return tiles less half their mean: a statistic over the tile, as instance norm takes."""
    return (tiles - 0.5 * tiles.mean((-2, -1), keepdims=True)).astype("float32")


def by_place(tiles: np.ndarray, seed: int) -> np.ndarray:
    """Return tiles with noise that the seed draws, as dropout does."""
    dropped = np.random.default_rng(seed).random(tiles.shape) < 0.3
    return np.where(dropped, 0, tiles).astype("float32")


def unsafe(function: Any, **changes: Any) -> Shown:
    return Shown(card(tile_safe=False, **changes), function)


@pytest.mark.parametrize("function", [tile_mean, by_place])
def test_blended_tiles_do_not_depend_on_the_blocks(
    source: Any, tmp_path: Path, function: Any
) -> None:
    src = source(smooth(70, 85), nodata=5)
    first, *others = (
        translated(unsafe(function), src, tmp_path / "o.tif", block_size=block, batch_size=batch)
        for block, batch in ((1024, 1), (16, 1), (24, 3), (40, 2))
    )
    assert first.std() > 0.1
    for other in others:
        assert np.abs(other - first).max() < 1e-6
    with opened(tmp_path / "o.tif") as dataset:
        assert dataset.tags()["GEO_P2P_TILES"] == "blended"


def test_a_blended_constant_stays_constant(source: Any, tmp_path: Path) -> None:
    model = constant(0.25, UNIT, tile_safe=False)
    out = translated(model, source(smooth(70, 85)), tmp_path / "o.tif", block_size=24)
    assert (out == 0.25).all()


def test_blended_tiles_fade_into_one_another(source: Any, tmp_path: Path) -> None:
    def by_number(tiles: np.ndarray, seed: int) -> np.ndarray:
        return np.full(tiles.shape, (-1) ** seed, "float32")

    out = translated(unsafe(by_number), source(smooth(16, 72)), tmp_path / "o.tif", block_size=24)
    assert out.max() - out.min() > 1.5
    assert np.abs(np.diff(out)).max() < 0.5  # side by side, tiles would differ by 2


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (16, 9), (17, 16)], ids=str)
def test_a_raster_smaller_than_a_chip_is_mirrored_to_whole_strides(
    source: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    values = smooth(*size)
    model = unsafe(lambda tiles, seed: tiles)
    out = translated(model, source(values), tmp_path / "o.tif")
    assert np.abs(out - values).max() < 1e-6
    assert all(n % 8 == 0 for call in model.calls for n in call[2:])


def test_a_blended_part_is_the_crop_of_the_whole(source: Any, tmp_path: Path) -> None:
    src = source(smooth(70, 85))
    everything = translated(unsafe(by_place), src, tmp_path / "o.tif", block_size=24)
    window = Window(13, 22, 31, 27)
    bounds = src.frame.crop(window).bounds
    part = translated(unsafe(by_place), src, tmp_path / "o.tif", block_size=24, bounds=bounds)
    assert np.array_equal(part, everything[:, *window.toslices()])
