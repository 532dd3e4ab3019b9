"""Another lattice for a raster: what is translated is what a warp by hand would give."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import Shown
from rasterio.crs import CRS
from rasterio.warp import calculate_default_transform
from rasters import utm, write

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import AlignmentError, GeoP2PError, ModelError, RasterError
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.predict.lattice import on_lattice, ratio_of
from geo_p2p.raster import Frame, RasterSource, lattice_for, metres_of

UNIT = Scaling("float32", (-1.0,), (1.0,))


def card(**changes: Any) -> ModelCard:
    fields = {"size": 16, "network": "plain", "arguments": {}, "stride": 8, "halo": 8}
    return ModelCard(UNIT, UNIT, **{**fields, "tile_safe": True, **changes})


@pytest.fixture
def source(tmp_path: Path) -> RasterSource:
    rows, cols = np.indices((60, 80)) / 40
    values = np.sin(3 * rows + 2 * cols)[None].astype("float32")
    return RasterSource(write(tmp_path / "src.tif", values, utm(60, 80)))


@settings(deadline=None)
@given(st.floats(0.1, 20), st.floats(0.1, 20), st.floats(-80, 80))
def test_other_pixels_cover_the_ground_from_the_same_corner(x: float, y: float, t: float) -> None:
    frame = utm(40, 70, res=2, turn=t)
    other = lattice_for(frame, res=(x, y))
    assert other.res == pytest.approx((x, y))
    assert other.transform * (0, 0) == pytest.approx(frame.transform * (0, 0))
    assert other.polygon.buffer(1e-3).contains(frame.polygon)
    for side, size in zip((other.width, other.height), ((70 * 2) / x, (40 * 2) / y), strict=True):
        assert side - size < 1 + 1e-5


def test_what_divides_evenly_gets_no_pixel_more() -> None:
    assert lattice_for(utm(30, 90, res=0.1), res=(0.3, 0.3)).shape == (10, 30)
    assert lattice_for(utm(30, 90), res=(1.0, 1.0)).same_lattice(utm(30, 90))


def test_another_crs_gives_the_lattice_of_rio_warp() -> None:
    frame, crs = utm(60, 80), CRS.from_epsg(3857)
    for res in (None, (2.5, 2.5)):
        transform, width, height = calculate_default_transform(
            frame.crs, crs, 80, 60, *frame.bounds, resolution=res
        )
        assert lattice_for(frame, crs, res) == Frame(height, width, transform, crs)


LATTICES = [
    {"res": 2.0},
    {"res": (0.5, 0.7)},
    {"dst_crs": "EPSG:3857"},
    {"dst_crs": "EPSG:3035", "res": 1.5, "resampling": "nearest"},
    {"res": "model"},
]


@pytest.mark.parametrize("asked", LATTICES, ids=str)
def test_a_raster_is_translated_on_the_lattice_asked_for(
    source: RasterSource, tmp_path: Path, asked: dict[str, Any]
) -> None:
    model = Shown(card(pixel_size=(2.0, 2.0), crs="EPSG:32633"), lambda tiles, seed: -tiles)
    predict(model, source, tmp_path / "o.tif", PredictConfig(block_size=16, **asked))
    out = RasterSource(tmp_path / "o.tif")
    res = {"model": 2.0}.get(asked.get("res"), asked.get("res")) if "res" in asked else None
    pair = (res, res) if isinstance(res, float) else res
    crs = CRS.from_user_input(asked["dst_crs"]) if "dst_crs" in asked else None
    expected = lattice_for(source.frame, crs, pair)
    assert out.frame.same_lattice(expected)
    by_hand = RasterSource(source.paths, None, expected, asked.get("resampling", "auto"))
    values, valid = out.read()
    truth, known = by_hand.read()
    assert np.array_equal(valid, known)
    assert np.abs(values + truth)[:, valid].max() < 1e-6
    assert valid.any()


def test_a_run_is_planned_on_that_lattice_once(source: RasterSource) -> None:
    """What has been warped is not warped again, as on the worker of a cluster."""
    config = PredictConfig(dst_crs="EPSG:3035", res="model")
    made = card(pixel_size=(2.0, 2.0), crs="EPSG:32633")
    once = on_lattice(source, made, config)
    assert once.frame != source.frame
    assert on_lattice(once, made, config) is once
    assert on_lattice(source, made, PredictConfig(res=1.0)) is source


def test_metres_of_a_pixel_in_any_crs() -> None:
    place = utm(1000, 1000)  # 47.85 degrees north
    latitude = math.radians(47.85)
    expected = {
        "EPSG:32633": 3.0,
        "EPSG:3035": 3.0,
        "EPSG:3857": 3.0 * math.cos(latitude),
        "EPSG:4326": 3.0 * 111_195 * math.cos(latitude),
        "EPSG:2263": 3.0 * 1200 / 3937,  # New York, in feet of its own
    }
    for name, metres in expected.items():
        found = metres_of((3.0, 3.0), CRS.from_user_input(name), place)
        assert found == pytest.approx(metres, rel=1e-3), name
    assert metres_of((1.0, 1.0), Frame.of_pixels(5, 5).crs, place) is None


def test_pixels_are_compared_across_systems() -> None:
    frame = utm(100, 100, res=0.5)
    same = ratio_of(card(pixel_size=(0.25, 0.25), crs="EPSG:32633"), frame)
    assert same == (0.5, 0.25, "")
    other = ratio_of(card(pixel_size=(0.25, 0.25), crs="EPSG:3035"), frame)
    assert other == (pytest.approx(0.5), 0.25, " m")
    assert ratio_of(card(pixel_size=(1.0, 1.0), crs="tmerc"), frame) is None
    assert ratio_of(card(), frame) is None


def test_the_pixel_size_of_the_training_is_found_across_systems(source: RasterSource) -> None:
    made = card(pixel_size=(2.0, 2.0), crs="EPSG:3035")
    found = on_lattice(source, made, PredictConfig(res="model"))
    assert found.frame.res == pytest.approx((2.0, 2.0))
    mercator = on_lattice(source, made, PredictConfig(res="model", dst_crs="EPSG:3857"))
    assert mercator.frame.res[0] == pytest.approx(2 / math.cos(math.radians(47.85)), rel=0.01)


BAD: list[tuple[dict[str, Any], type[GeoP2PError], str]] = [
    ({"dst_crs": "EPSG:0"}, RasterError, "'EPSG:0': not a coordinate reference system"),
    ({"dst_crs": "nonsense"}, RasterError, "not a coordinate reference system"),
    ({"res": 0.0}, RasterError, "pixel size 0 x 0: give lengths above 0"),
    ({"res": math.nan}, RasterError, "give lengths above 0"),
    ({"res": 1e-9}, RasterError, "more than a raster can have"),
    ({"res": "training"}, ModelError, "'training': give a number, two, or 'model'"),
    ({"res": "model"}, ModelError, "the pixel size of the training is not known in EPSG:32633"),
    ({"res": 2.0, "resampling": "best"}, RasterError, "resampling 'best'"),
]


@pytest.mark.parametrize(("asked", "error", "words"), BAD, ids=str)
def test_a_lattice_that_cannot_be_is_refused(
    source: RasterSource, tmp_path: Path, asked: Any, error: Any, words: str
) -> None:
    model = Shown(card(), lambda tiles, seed: tiles)
    with pytest.raises(error, match=words) as caught:
        predict(model, source, tmp_path / "o.tif", PredictConfig(**asked))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["src.tif"]


def test_a_place_that_no_transformation_leads_to_is_refused() -> None:
    pole = Frame(10, 10, Affine(1, 0, 0, 0, -1, 90), CRS.from_epsg(4326))
    local = replace(Frame.of_pixels(10, 10))
    with pytest.raises(AlignmentError, match="no lattice of EPSG:32633"):
        lattice_for(local, CRS.from_epsg(32633))
    assert lattice_for(pole, CRS.from_epsg(3035)).crs == CRS.from_epsg(3035)
