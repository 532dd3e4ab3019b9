"""The split on a map: GeoJSON that lies where the chips lie, and QGIS's colours for it."""

from xml.etree import ElementTree

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from geo_p2p.chips import split_territory
from geo_p2p.chips.outline import COLORS, Area, area_collection, outline, outlines, qgis_style
from geo_p2p.chips.split import split_areas
from geo_p2p.grid import TileGrid
from geo_p2p.raster import Frame

UTM = CRS.from_epsg(32633)
FRAME = Frame(900, 1200, Affine(10, 0, 400_000, 0, -10, 5_300_000), UTM)
CHIPS = [tile.window for tile in TileGrid(*FRAME.shape, 64, 32)]


def geometries(areas: list[Area]) -> list[tuple[shapely.Geometry, dict]]:
    features = area_collection(areas)["features"]
    return [(shapely.geometry.shape(f["geometry"]), f["properties"]) for f in features]


def chips_of(parts: tuple[str, ...], part: str) -> list[Window]:
    return [window for window, p in zip(CHIPS, parts, strict=True) if p == part]


def test_every_chip_lies_in_the_ground_of_its_part_and_in_no_other() -> None:
    split = split_territory(CHIPS, 64, test_pct=10)
    drawn = geometries(split_areas(split, CHIPS, FRAME))
    ground = {about["split"]: shape for shape, about in drawn if about["kind"] == "chips"}
    assert set(ground) == {"train", "val", "test"}
    for window, part in zip(CHIPS, split.parts, strict=True):
        if not part:
            continue
        shape = outline(FRAME.crop(window))
        for name, area in ground.items():
            shared = area.intersection(shape).area / shape.area
            assert shared == pytest.approx(1, abs=1e-4) if name == part else shared < 1
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert ground[one].intersection(ground[other]).area == 0


def test_blocks_are_drawn_up_to_the_edge_of_the_raster() -> None:
    split = split_territory(CHIPS, 64, test_pct=10)
    drawn = geometries(split_areas(split, CHIPS, FRAME))
    blocks = [(shape, about) for shape, about in drawn if about["kind"] == "block"]
    assert [about["split"] for _, about in blocks] == [block.part for block in split.held]
    whole = outline(FRAME).buffer(1e-7)
    assert all(whole.covers(shape) for shape, _ in blocks)
    assert any(w.row_off + w.height > 900 or w.col_off + w.width > 1200 for w in split.blocks)
    for _, about in blocks:
        assert (about["side"], about["buffer"]) == (split.side, split.buffer)


@pytest.mark.parametrize("method", ["none", "kfold", "random-overlapping"])
def test_every_method_can_be_drawn(method: str) -> None:
    split = split_territory(CHIPS, 64, method=method)
    drawn = geometries(split_areas(split, CHIPS, FRAME))
    found = {about["split"]: about["chips"] for _, about in drawn if about["kind"] == "chips"}
    assert found == {part: split.count(part) for part in ("train", "val") if split.count(part)}
    assert all(shape.is_valid for shape, _ in drawn)


def test_each_scene_is_drawn_where_it_lies() -> None:
    other = Frame(320, 320, Affine(10, 0, 600_000, 0, -10, 5_300_000), UTM)
    frames = {"a": Frame(320, 320, FRAME.transform, UTM), "b": other}
    windows = [tile.window for tile in TileGrid(320, 320, 32)] * 2
    scenes = ["a"] * 100 + ["b"] * 100
    split = split_territory(windows, 32, method="scene", scenes=scenes, frames=frames)
    (first, about), (second, about2) = geometries(split_areas(split, windows, frames, scenes))
    assert {about["split"], about2["split"]} == {"train", "val"}
    for shape, name in ((first, "a"), (second, "b")):
        assert shape.symmetric_difference(outline(frames[name])).area < 1e-7


def test_a_hole_stays_a_hole_and_rings_turn_as_the_format_says() -> None:
    ring = shapely.box(0, 0, 1000, 1000).difference(shapely.box(300, 300, 600, 700))
    ((shape, about),) = geometries([Area(ring, FRAME, {"split": "train", "n": 3})])
    assert about == {"split": "train", "n": 3}
    assert len(shape.interiors) == 1
    assert shape.exterior.is_ccw and not shape.interiors[0].is_ccw
    expected = 1 - 300 * 400 / 1000**2
    assert shape.area / shapely.Polygon(shape.exterior).area == pytest.approx(expected, rel=1e-3)
    inside = outline(FRAME.crop(Window(400, 400, 100, 100)))
    assert shape.intersection(inside).area == 0


def test_ground_across_the_180th_meridian_is_cut_there_with_its_hole() -> None:
    fiji = Frame(400, 400, Affine(1000, 0, 3_139_500, 0, -1000, 200_000), CRS.from_epsg(3832))
    ring = shapely.box(0, 0, 400, 400).difference(shapely.box(100, 100, 300, 300))
    ((shape, _),) = geometries([Area(ring, fiji, {})])
    assert shape.bounds[0] == -180 and shape.bounds[2] == 180
    assert shape.is_valid
    assert shape.area / outline(fiji).area == pytest.approx(0.75, abs=0.01)


def test_ground_beyond_the_globe_is_left_out() -> None:
    robinson = Frame(9, 9, Affine(1000, 0, 3e7, 0, -1000, 0), CRS.from_string("ESRI:54030"))
    assert area_collection([Area(shapely.box(0, 0, 9, 9), robinson, {})])["features"] == []


def test_the_style_gives_each_part_a_colour_of_its_own() -> None:
    text = qgis_style()
    assert text.startswith("<!DOCTYPE qgis")
    root = ElementTree.fromstring(text)
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "split")
    symbols = {s.get("name"): s for s in renderer.findall("symbols/symbol")}
    colors = {}
    for category in renderer.findall("categories/category"):
        symbol = symbols[category.get("symbol")]
        assert symbol.get("type") == "fill"
        options = {o.get("name"): o.get("value") for o in symbol.findall("layer/Option/Option")}
        assert {"color", "outline_color", "style"} <= options.keys()
        colors[category.get("value")] = tuple(map(int, options["color"].split(",")[:3]))
    assert colors == COLORS
    assert len(set(colors.values())) == 3
    assert np.linalg.norm(np.diff([*COLORS.values()], axis=0), axis=1).min() > 100
    assert ElementTree.fromstring(qgis_style("part")).find("renderer-v2[@attr='part']") is not None


@pytest.mark.parametrize(
    ("code", "transform"),
    [
        (32633, Affine(10, 1, 500_000, 1, -10, 5_300_000)),
        (3857, Affine(500, 0, 19_900_000, 0, -500, 6_000_000)),  # over the 180th meridian
        (32760, Affine(500, 0, 700_000, 0, -500, 8_100_000)),  # the same, where degrees leap
        (3031, Affine(500, 0, -100_000, 0, -500, 100_000)),  # around the south pole
        (3031, Affine(500, 0, -50_123, 0, -500, 25_321)),  # the same, with no point at 180 degrees
        (4326, Affine(0.01, 0, -180, 0, -0.01, 90)),  # along the edges of the map
        (4326, Affine(0.3, 0, -175, 0, -0.3, 80)),  # more than half around
        (54030, Affine(10_000, 0, 14_000_000, 0, -10_000, 9_000_000)),  # partly beyond the globe
    ],
    ids=str,
)
def test_outlines_of_many_are_those_of_each(code: int, transform: Affine) -> None:
    authority = "ESRI" if code == 54030 else "EPSG"
    lattice = Frame(700, 700, transform, CRS.from_authority(authority, code))
    frames = [
        lattice.crop(Window(col, row, 200, 100))
        for row in range(0, 601, 100)
        for col in range(0, 501, 100)
    ]
    pixels = Frame.of_pixels(50, 50)
    together = outlines([pixels, *frames, FRAME, pixels])
    for frame, shape in zip([pixels, *frames, FRAME, pixels], together, strict=True):
        alone = outline(frame)
        assert shape.normalize().equals_exact(alone.normalize(), 1e-8)
        assert shape.wkb == shapely.orient_polygons(shape).wkb  # counter-clockwise
    assert together[0].is_empty
    assert outlines([]) == []
