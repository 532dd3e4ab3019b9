"""Laws of masks and of test-time augmentation: neither changes what lies beside it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pairs import COLOURS, Shown
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom
from rasterio.windows import Window
from rasters import utm, write

from geo_p2p.card import Category, ModelCard, Scaling
from geo_p2p.errors import AlignmentError, ChipError
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.predict.dihedral import VIEWS, Dihedral, averaged, view
from geo_p2p.predict.model import Engine
from geo_p2p.predict.plan import Job
from geo_p2p.raster import RasterSource

UNIT = Scaling("float32", (-1.0,), (1.0,))
BYTES = Scaling("uint8", (0.0,), (255.0,))
FRAME = utm(70, 90)


def card(target: Scaling = UNIT, **changes: Any) -> ModelCard:
    fields = {"size": 16, "network": "plain", "arguments": {}, "stride": 4, "halo": 8}
    return ModelCard(UNIT, target, **{**fields, "tile_safe": True, **changes})


def lopsided(tiles: np.ndarray, seed: int) -> np.ndarray:
    """Stand in for a network: sees 8 px to the left and 5 up, and its phase in strides of 4."""
    rows, cols = np.indices(tiles.shape[-2:])
    phase = 0.5 + (rows % 4) * 0.11 + (cols % 4) * 0.03
    left, up = np.roll(tiles, 8, -1), np.roll(tiles, 5, -2)
    return (np.tanh(tiles + 0.7 * left - 0.4 * up) * phase * 0.5).astype("float32")


@pytest.fixture
def source(tmp_path: Path) -> RasterSource:
    values = np.random.default_rng(0).uniform(-1, 1, (1, *FRAME.shape)).astype("float32")
    return RasterSource(write(tmp_path / "src.tif", values, FRAME))


def made(model: Any, src: RasterSource, path: Path, **config: Any) -> tuple[np.ndarray, np.ndarray]:
    predict(model, src, path, PredictConfig(**config), overwrite=True)
    return RasterSource(path).read()


# ------------------------------------------------------------------ views


TILES = arrays("float32", st.tuples(*[st.integers(1, 6)] * 2), elements=st.floats(-9, 9, width=32))


@settings(deadline=None)
@given(TILES)
def test_the_views_are_those_of_the_square(tile: np.ndarray) -> None:
    turned = {np.rot90(side, k).tobytes() for side in (tile, tile.T) for k in range(4)}
    assert {view(tile, n).tobytes() for n in range(VIEWS)} == turned


@settings(deadline=None)
@given(TILES)
def test_a_model_that_turns_along_is_left_as_it_is(tile: np.ndarray) -> None:
    same = Shown(card(), lambda tiles, seed: np.tanh(tiles))
    expected = np.tanh(tile)
    assert np.allclose(Dihedral(same)(tile[None, None], 0)[0, 0], expected, atol=1e-6)
    assert len(same.calls) == VIEWS


def test_the_mean_turns_along_with_the_raster() -> None:
    tile = np.random.default_rng(1).uniform(-1, 1, (1, 1, 24, 40)).astype("float32")
    model = Dihedral(Shown(card(), lopsided))
    plain = model(tile, 0)
    for number in range(VIEWS):
        seen = model(np.ascontiguousarray(view(tile, number)), 0)
        assert np.allclose(seen, view(plain, number), atol=1e-6)
    assert np.abs(lopsided(view(tile, 1), 0) - view(lopsided(tile, 0), 1)).max() > 0.1


def test_tiles_of_the_mean_equal_the_whole(source: RasterSource, tmp_path: Path) -> None:
    """A flip about its own middle leaves each tile in step with the others."""
    whole, _ = made(Shown(card(), lopsided), source, tmp_path / "o.tif", tta=True, block_size=128)
    plain, _ = made(Shown(card(), lopsided), source, tmp_path / "o.tif", block_size=128)
    assert np.abs(whole - plain).max() > 0.1
    for size in (4, 12, 40):
        model = Shown(card(), lopsided)
        tiled, _ = made(model, source, tmp_path / "o.tif", tta=True, block_size=size, batch_size=3)
        assert np.abs(tiled - whole).max() < 1e-6
    short = Shown(card(halo=4), lopsided)  # the law would fail for too small a halo
    tiled, _ = made(short, source, tmp_path / "o.tif", tta=True, block_size=12)
    assert np.abs(tiled - whole).max() > 0.01


def test_scores_of_classes_are_averaged_before_the_best_is_chosen(
    source: RasterSource, tmp_path: Path
) -> None:
    classes = tuple(Category(v, str(v), c, 0.3) for v, c in COLOURS.items())
    target = Scaling("uint8", classes=classes)

    def scores(tiles: np.ndarray, seed: int) -> np.ndarray:
        # By place in the tile: one view is very sure of the last class, seven a little of others.
        rows, cols = np.indices(tiles.shape[-2:])
        corner = (rows < 2) & (cols < 2)
        some = np.zeros((len(tiles), 3, *corner.shape), "float32")
        some[:, 0], some[:, 2] = 1.0, np.where(corner, 10.0, 0.0)
        return some

    model = Shown(card(target, halo=0), scores)
    values, _ = made(model, source, tmp_path / "o.tif", tta=True, block_size=16)
    tile = values[0, :16, :16]
    # At every corner one or two of eight say 10, the others 1 for the first: 20 / 8 beats 1.
    assert (tile[:2, :2] == 5).all() and (tile[:2, -2:] == 5).all() and (tile[-2:, :2] == 5).all()
    assert (tile[4:12, 4:12] == 1).all()


def test_the_mean_goes_under_a_name_of_its_own(source: RasterSource) -> None:
    model = Shown(card(), lopsided)
    recipes = [Job.of(model, source, PredictConfig(tta=tta)).recipe for tta in (False, True)]
    assert recipes[0]["model"] == "shown" != recipes[1]["model"]
    assert Dihedral(model).fingerprint == Dihedral(Shown(card(), lopsided)).fingerprint


def test_a_model_that_knows_where_it_runs_still_does(source: RasterSource, tmp_path: Path) -> None:
    arguments = {"in_channels": 1, "out_channels": 1, "halvings": 2, "ngf": 2}
    net = build_generator("unet", **arguments)
    fields = {"arguments": arguments, "network": "unet", "stride": net.stride, "halo": net.halo}
    engine = Translator(net, card(**fields), "cpu", "bf16")
    mean = averaged(engine)
    assert isinstance(mean, Engine)
    assert averaged(mean) is mean
    assert not isinstance(averaged(Shown(card(), lopsided)), Engine)
    tile = np.random.default_rng(0).uniform(-1, 1, (1, 1, 24, 32)).astype("float32")
    assert np.array_equal(mean.start(tile, 0)(), Dihedral(engine)(tile, 0))
    exact = mean.exact(tile[0])
    assert exact is not None
    assert 0 < np.abs(exact - mean(tile, 0)[0]).max() < 0.1  # bf16 rounds, and no more
    first, _ = made(engine, source, tmp_path / "a.tif", tta=True, block_size=24)
    second, _ = made(mean, source, tmp_path / "b.tif", block_size=24)
    assert np.array_equal(first, second)


def test_a_run_of_views_goes_on_in_the_blocks_it_began_with(
    source: RasterSource, tmp_path: Path
) -> None:
    model = Shown(card(), lopsided)
    made(model, source, tmp_path / "o.tif", tta=True, block_size=20, keep_parts=True)
    model.calls.clear()
    made(model, source, tmp_path / "o.tif", tta=True)
    assert model.calls == []


def test_a_model_that_is_blended_is_averaged_too(source: RasterSource, tmp_path: Path) -> None:
    model = Shown(card(tile_safe=False), lopsided)
    first, _ = made(model, source, tmp_path / "a.tif", tta=True, block_size=24)
    second, _ = made(model, source, tmp_path / "b.tif", tta=True, block_size=64)
    assert np.allclose(first, second, atol=1e-6)


# ------------------------------------------------------------------ masks

AREA = shapely.Polygon([(8.2, 61.7), (55.3, 52.1), (40.4, 11.3), (33.1, 40.9)])
"""In px: x is the column, y the row."""


def area_file(path: Path, area: shapely.Geometry, crs: str = "EPSG:4326") -> Path:
    """Write a polygon, px of the raster, as GeoJSON of some CRS."""
    ground = shapely.transform(area, lambda p: np.column_stack(FRAME.transform * p.T))
    dense = shapely.segmentize(ground, 1.0)
    shape = transform_geom(FRAME.crs, CRS.from_user_input(crs), shapely.geometry.mapping(dense))
    features = [{"type": "Feature", "properties": {}, "geometry": shape}]
    named = {"type": "name", "properties": {"name": crs}}
    whole = {"type": "FeatureCollection", "crs": named, "features": features}
    path.write_text(json.dumps(whole))
    return path


@pytest.mark.parametrize("tile_safe", [True, False])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32633"])
def test_inside_the_mask_it_is_the_run_without_and_outside_is_nodata(
    source: RasterSource, tmp_path: Path, crs: str, tile_safe: bool
) -> None:
    mask = area_file(tmp_path / "area.geojson", AREA, crs)
    whole, _ = made(
        Shown(card(tile_safe=tile_safe), lopsided), source, tmp_path / "a.tif", block_size=16
    )
    model = Shown(card(tile_safe=tile_safe), lopsided)
    part, valid = made(model, source, tmp_path / "b.tif", block_size=16, mask=mask)
    inside = geometry_mask([AREA], FRAME.shape, Affine.identity(), invert=True)
    assert 0 < inside.sum() < inside.size
    assert np.array_equal(valid, inside)
    assert np.array_equal(part[:, inside], whole[:, inside])
    assert RasterSource(tmp_path / "b.tif").frame == source.frame


def test_blocks_outside_the_mask_are_not_run(source: RasterSource, tmp_path: Path) -> None:
    mask = area_file(tmp_path / "area.geojson", shapely.box(17, 17, 30, 30))
    model = Shown(card(), lopsided)
    done = predict(model, source, tmp_path / "o.tif", PredictConfig(block_size=16, mask=mask))
    assert (len(model.calls), done.blocks) == (1, 1)  # of 30
    thin = area_file(tmp_path / "thin.geojson", shapely.box(20.6, 3, 20.9, 60))  # no centre in it
    model.calls.clear()
    _, valid = made(model, source, tmp_path / "o.tif", block_size=16, mask=thin)
    assert (model.calls, valid.any()) == ([], False)


def test_mask_and_bounds_go_together(source: RasterSource, tmp_path: Path) -> None:
    mask = area_file(tmp_path / "area.geojson", AREA)
    config = {"block_size": 16, "mask": mask}
    whole, valid = made(Shown(card(), lopsided), source, tmp_path / "a.tif", **config)
    window = Window(20, 30, 31, 25)
    bounds = FRAME.crop(window).bounds
    part, kept = made(Shown(card(), lopsided), source, tmp_path / "b.tif", bounds=bounds, **config)
    at = window.toslices()
    assert np.array_equal(kept, valid[at])
    assert np.array_equal(part[:, kept], whole[:, *at][:, kept])


def test_another_mask_is_another_plan(source: RasterSource, tmp_path: Path) -> None:
    paths = [None, area_file(tmp_path / "a.geojson", AREA)]
    paths.append(area_file(tmp_path / "b.geojson", AREA.buffer(2)))
    jobs = [Job.of(Shown(card(), lopsided), source, PredictConfig(mask=path)) for path in paths]
    recipes = [json.dumps(job.recipe) for job in jobs]
    assert len(set(recipes)) == 3


def test_a_mask_that_cannot_be_used_is_refused_before_any_work(
    source: RasterSource, tmp_path: Path
) -> None:
    far = area_file(tmp_path / "far.geojson", shapely.box(500, 500, 600, 600))
    near = area_file(tmp_path / "near.geojson", shapely.box(1, 1, 5, 5))
    bounds = FRAME.crop(Window(40, 40, 9, 9)).bounds
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"mask": tmp_path / "gone.geojson"}, ChipError, "no such file"),
        ({"mask": far}, AlignmentError, "none of its shapes lies on the raster"),
        ({"mask": near, "bounds": bounds}, AlignmentError, "none of its polygons lies in the b"),
    ]
    before = sorted(tmp_path.iterdir())
    for config, error, words in cases:
        with pytest.raises(error, match=words):
            predict(Shown(card(), lopsided), source, tmp_path / "o.tif", PredictConfig(**config))
    assert sorted(tmp_path.iterdir()) == before
