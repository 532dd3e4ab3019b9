"""Laws of the statistics: those of the whole, however it was cut; valid pixels alone count."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import opened, tiles, utm, write

from geo_p2p.raster import Bands, RasterSink, Statistics, write_mosaic

DTYPES = ["uint8", "int16", "uint16", "float32", "float64"]


def drawn(dtype: str, seed: int, rows: int = 37, cols: int = 53) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(100, 25, (2, rows, cols)) * [[[1]], [[0.5]]]
    return np.clip(values, 0, 250).astype(dtype)


def measured(values: np.ndarray, valid: np.ndarray) -> list[tuple[float, ...]]:
    """Return what numpy says, band by band."""
    known = [band[valid].astype(float) for band in values]
    return [(b.min(), b.max(), b.mean(), b.std(), 100 * valid.mean()) for b in known]


def told(tags: dict[str, str]) -> tuple[float, ...]:
    names = ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")
    return tuple(float(tags[f"STATISTICS_{name}"]) for name in names)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(DTYPES), st.integers(0, 99), st.lists(st.integers(1, 52)), st.floats(0, 1))
def test_parts_come_to_the_whole_wherever_it_is_cut(
    dtype: str, seed: int, cuts: list[int], share: float
) -> None:
    values = drawn(dtype, seed)
    valid = np.random.default_rng(seed + 1).random(values.shape[1:]) <= share
    bounds = [0, *sorted(set(cuts)), values.shape[2]]
    parts = [
        Statistics.of(values[:, :, a:b], valid[:, a:b])
        for a, b in zip(bounds, bounds[1:], strict=False)
    ]
    total = Statistics.total(parts)
    assert (total.pixels, total.valid) == (valid.size, valid.sum())
    if not valid.any():
        assert total.of_band(0, valid.size) == {}
        return
    for index, expected in enumerate(measured(values, valid)):
        got = told(total.of_band(index, valid.size))
        assert got[:2] == expected[:2]
        assert np.allclose(got[2:4], expected[2:4], rtol=1e-9, atol=1e-9)
        assert got[4] == pytest.approx(expected[4], rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_they_come_back_from_the_tags_of_a_file(dtype: str) -> None:
    values, valid = drawn(dtype, 0), np.ones((37, 53), bool)
    for mask in (valid, ~valid):
        found = Statistics.of(values, mask)
        assert Statistics.from_tags(json.loads(json.dumps(found.tags))) == found
    assert Statistics.from_tags({"AREA_OR_POINT": "Area"}) is None


def test_a_large_mean_does_not_swallow_the_deviation() -> None:
    """The textbook's sum of squares loses it: heights of a plain, on a datum far below."""
    values = (1e9 + np.arange(4000.0) % 2).reshape(1, 40, 100)
    parts = [Statistics.of(v, np.ones((10, 100), bool)) for v in np.split(values, 4, axis=1)]
    tags = Statistics.total(parts).of_band(0, 4000)
    assert float(tags["STATISTICS_STDDEV"]) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("nodata", [None, -9999.0])
def test_a_mosaic_tells_the_statistics_of_its_valid_pixels(
    tmp_path: Path, nodata: float | None, carried: bool
) -> None:
    frame = utm(150, 130)
    values = drawn("float32", 3, 150, 130)
    valid = np.random.default_rng(0).random(frame.shape) > 0.2
    bands, parts = Bands(2, "float32", nodata), []
    for number, window in enumerate(tiles(frame, 64)):
        at = window.toslices()
        part = values[:, *at], valid[at]
        tags = Statistics.of(*part).tags if carried else {}
        with RasterSink(tmp_path / f"{number}.tif", frame.crop(window), bands, tags=tags) as sink:
            sink.write(part[0], valid=part[1])
        parts.append((sink.path, window))
    path = write_mosaic(parts[1:], tmp_path / "o.tif", frame, bands)
    valid[parts[0][1].toslices()] = False  # where there is no part, nothing is valid
    with opened(path) as dataset:
        assert (dataset.read_masks(1) > 0).sum() == valid.sum()
        for index, expected in enumerate(measured(values, valid)):
            got = told(dataset.tags(index + 1))
            assert np.allclose(got, expected, rtol=1e-4)
            assert got[:2] == expected[:2]


def test_classes_and_mosaics_without_a_valid_pixel_tell_none(tmp_path: Path) -> None:
    frame, colors = utm(8, 9), {1: (9, 9, 9, 255)}
    cases: dict[str, Any] = {
        "classes": (Bands(1, "uint8", colors=colors), np.ones((8, 9), bool)),
        "empty": (Bands(1, "uint8", 0), np.zeros((8, 9), bool)),
    }
    for name, (bands, valid) in cases.items():
        part = tmp_path / f"{name}.part.tif"
        with RasterSink(part, frame, bands) as sink:
            sink.write(np.ones((1, 8, 9), "uint8"), valid=valid)
        path = write_mosaic([(part, frame.window)], tmp_path / f"{name}.tif", frame, bands)
        with opened(path) as dataset:
            assert not any(key.startswith("STATISTICS") for key in dataset.tags(1))


def test_one_can_be_said_no(tmp_path: Path) -> None:
    frame, bands = utm(8, 9), Bands(1, "uint8")
    part = write(tmp_path / "part.tif", np.ones((1, 8, 9), "uint8"), frame)
    options = {"STATISTICS": "NO"}
    path = write_mosaic([(part, frame.window)], tmp_path / "o.tif", frame, bands, options=options)
    with opened(path) as dataset:
        assert "STATISTICS_MEAN" not in dataset.tags(1)
