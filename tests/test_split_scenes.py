"""Chips of several scenes: those that share ground go together, wherever their lattices lie."""

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from rasterio.crs import CRS
from rasterio.windows import Window

from geo_p2p.chips import Split, split_territory
from geo_p2p.chips.split import part_named, parts_in_polygons
from geo_p2p.errors import ChipError
from geo_p2p.grid import TileGrid
from geo_p2p.raster import Frame

SIZE, SCENE = 8, 64
UTM32, UTM33, LAEA = (CRS.from_epsg(code) for code in (32632, 32633, 3035))
WEST, NORTH = 500_000, 5_300_000

CHIPS = [tile.window for tile in TileGrid(SCENE, SCENE, SIZE, SIZE // 2)]


def scene(
    cols: float, rows: float, res: float = 10.0, turn: float = 0.0, size: int = SCENE
) -> Frame:
    """Return the frame of a scene so many px of 10 m east and south of where the tests are."""
    place = Affine(res, 0, WEST + 10 * cols, 0, -res, NORTH - 10 * rows)
    return Frame(size, size, place * Affine.rotation(turn), UTM33)


def everywhere(frames: dict[str, Frame]) -> tuple[list[Window], list[str]]:
    """Return the chips of all scenes, and the scene of each."""
    return CHIPS * len(frames), [name for name in frames for _ in CHIPS]


def ground(split: Split, frames: dict[str, Frame], part: str) -> shapely.Geometry:
    """Return the ground of a part, CRS units: the union of its chips."""
    windows, scenes = everywhere(frames)
    return shapely.union_all(
        [
            frames[scene].crop(window).polygon
            for window, scene, p in zip(windows, scenes, split.parts, strict=True)
            if p == part
        ]
    )


def assert_apart(split: Split, frames: dict[str, Frame], pixels: float = 0.0) -> None:
    """Check that no ground is in two parts, and that they keep their distance."""
    grounds = [g for p in ("train", "val", "test") if (g := ground(split, frames, p)).area]
    assert len(grounds) > 1
    for i, one in enumerate(grounds):
        for other in grounds[:i]:
            # A hundredth of a pixel is a touch.
            assert one.intersection(other).area < 0.03 * SCENE * 100
            assert one.distance(other) >= 10 * pixels - 0.2


def split(frames: dict[str, Frame], method: str = "blocks", **settings_: object) -> Split:
    windows, scenes = everywhere(frames)
    return split_territory(windows, SIZE, method=method, scenes=scenes, frames=frames, **settings_)


def parts_by_scene(outcome: Split, names: Sequence[str]) -> list[set[str]]:
    """Return the parts that each scene's chips are in."""
    n = len(CHIPS)
    return [set(outcome.parts[i * n : (i + 1) * n]) for i in range(len(names))]


offsets = st.tuples(st.floats(-90, 90), st.floats(-90, 90))


@settings(max_examples=20)
@given(
    st.lists(offsets, min_size=2, max_size=4),
    st.sampled_from([0.0, 4.0, 30.0]),
    st.sampled_from(["blocks", "kfold"]),
    st.integers(0, 9),
)
def test_blocks_keep_the_buffer_between_chips_of_any_two_scenes(
    places: list[tuple[float, float]], turn: float, method: str, seed: int
) -> None:
    frames = {str(i): scene(*place, turn=turn * i) for i, place in enumerate(places)}
    outcome = split(frames, method, seed=seed, folds=3, buffer=5)
    assert_apart(outcome, frames, 5)
    assert outcome.common == 0


@settings(max_examples=15)
@given(st.lists(offsets, min_size=3, max_size=6), st.integers(0, 9))
def test_scenes_go_to_one_part_and_those_that_overlap_together(
    places: list[tuple[float, float]], seed: int
) -> None:
    frames = {str(i): scene(4 * cols, 4 * rows) for i, (cols, rows) in enumerate(places)}
    try:
        outcome = split(frames, "scene", seed=seed, val_pct=30)
    except ChipError as error:
        whole = shapely.union_all([f.polygon.buffer(-0.1) for f in frames.values()])
        assert len(shapely.get_parts(whole)) == 1
        assert "make 1 pieces of ground" in str(error)
        return
    parts = parts_by_scene(outcome, list(frames))
    assert all(len(found) == 1 for found in parts)
    assert {"train", "val"} == set.union(*parts)
    assert_apart(outcome, frames)


def test_scenes_may_go_to_three_parts_and_keep_a_distance() -> None:
    frames = {str(i): scene(i * 70, 0) for i in range(10)}
    outcome = split(frames, "scene", val_pct=20, test_pct=20, buffer=6)
    assert {frozenset(parts) for parts in parts_by_scene(outcome, list(frames))} == {
        frozenset([part]) for part in ("train", "val", "test")
    }
    assert outcome.count("val") == outcome.count("test") == 2 * len(CHIPS)
    with pytest.raises(ChipError, match="10 scenes make 1 pieces of ground"):
        split(frames, "scene", buffer=7)


def test_sheets_that_only_touch_are_not_one() -> None:
    frames = {f"{r}{c}": scene(c * SCENE + 1e-4 * r, r * SCENE) for r in range(4) for c in range(4)}
    outcome = split(frames, "scene", val_pct=25)
    assert outcome.count("val") == 4 * len(CHIPS)


def test_but_blocks_keep_their_distance_across_the_border_of_two_sheets() -> None:
    frames = {f"{r}{c}": scene(c * SCENE, r * SCENE) for r in range(2) for c in range(2)}
    for seed in range(5):
        outcome = split(frames, seed=seed)
        assert_apart(outcome, frames, SIZE // 2)
        assert {block.scene for block in outcome.held} == {"00"}


def test_the_same_place_at_another_date_is_the_same_ground() -> None:
    frames = {"may": scene(0, 0), "june": scene(0, 0)}
    outcome = split(frames)
    may, june = outcome.parts[: len(CHIPS)], outcome.parts[len(CHIPS) :]
    assert may == june
    assert outcome.count("val")
    windows, scenes = everywhere(frames)
    assert outcome.common_pixels(windows, scenes, frames) == 0
    with pytest.raises(ChipError, match="'random': the chips overlap"):
        split(frames, "random")


def test_scenes_without_frames_have_blocks_of_their_own() -> None:
    windows, scenes = everywhere({"a": scene(0, 0), "b": scene(0, 0)})
    for seed in range(5):
        outcome = split_territory(windows, SIZE, scenes=scenes, seed=seed)
        assert 0.05 <= outcome.share <= 0.2
        for name in "ab":
            mine = [i for i, s in enumerate(scenes) if s == name]
            here = Split(
                "blocks", tuple(outcome.parts[i] for i in mine), 10, seed, held=outcome.held
            )
            assert here.common_pixels([windows[i] for i in mine]) == 0
    assert {block.scene for block in outcome.held} <= {"a", "b"}


def test_scenes_of_two_zones_share_their_ground() -> None:
    east = Frame(SCENE, SCENE, Affine(10, 0, 280_000, 0, -10, NORTH), UTM33)
    lattice = Frame(1, 1, Affine.identity(), UTM32)
    corners = np.array([0.0, 64, 64, 0]), np.array([0.0, 0, 64, 64])
    inside = shapely.Polygon(east.pixels_in(lattice, *corners).T)
    x, y = inside.centroid.x, inside.centroid.y
    west = Frame(SCENE, SCENE, Affine(10, 0, x, 0, -10, y), UTM32)
    far = Frame(SCENE, SCENE, Affine(10, 0, 4_900_000, 0, -10, 2_900_000), LAEA)
    frames = {"east": east, "west": west, "far": far}
    outcome = split(frames, "scene", val_pct=40)
    parts = parts_by_scene(outcome, list(frames))
    assert parts[0] == parts[1] != parts[2]
    outcome = split({"east": east, "west": west})
    assert outcome.common == 0 and outcome.count("val") and outcome.count("train")
    names = everywhere({"east": east, "west": west})[1]
    shapes: dict[str, list[shapely.Geometry]] = {"train": [], "val": [], "": []}
    for window, name, part in zip(CHIPS * 2, names, outcome.parts, strict=True):
        crop = {"east": east, "west": west}[name].crop(window)
        corners = np.array([0.0, 8, 8, 0]), np.array([0.0, 0, 8, 8])
        shapes[part].append(shapely.Polygon(crop.pixels_in(east, *corners).T))
    train, val = (shapely.union_all(shapes[part]) for part in ("train", "val"))
    assert train.distance(val) >= SIZE // 2 - 0.02


def test_the_finest_scene_lends_its_lattice() -> None:
    frames = {"coarse": scene(0, 0, res=30), "fine": scene(10, 10)}
    outcome = split(frames)
    assert {block.scene for block in outcome.held} == {"fine"}
    assert outcome.side % (3 * SIZE) == 0, "blocks hold the coarse chips too"
    assert_apart(outcome, frames, SIZE // 2)


def test_a_scene_without_frame_is_refused() -> None:
    windows, scenes = everywhere({"a": scene(0, 0), "b": scene(0, 0)})
    with pytest.raises(ChipError, match="scene 'b' has no frame"):
        split_territory(windows, SIZE, scenes=scenes, frames={"a": scene(0, 0)})


@settings(max_examples=25)
@given(st.sampled_from([10.0, 30.0, 45.0, 90.0, 120.0]), st.integers(0, 9))
def test_turned_chips_keep_their_corners_to_themselves(angle: float, seed: int) -> None:
    frame = scene(0, 0, size=160)
    windows = [tile.window for tile in TileGrid(160, 160, SIZE)]
    angles = [0.0] * len(windows) + [angle] * len(windows)
    outcome = split_territory(windows * 2, SIZE, angles=angles, buffer=0, seed=seed)
    ground_: dict[str, list[shapely.Geometry]] = {"train": [], "val": [], "": []}
    for window, turn, part in zip(windows * 2, angles, outcome.parts, strict=True):
        ground_[part].append(frame.crop(window).rotated(turn).polygon)
    train, val = (shapely.union_all(ground_[part]) for part in ("train", "val"))
    assert train.area and val.area
    assert train.intersection(val).area < 1
    assert outcome.common_pixels(windows * 2, angles=angles) == 0
    if angle == 90:
        half = len(windows)
        assert outcome.parts[:half] == outcome.parts[half:]


def test_angles_are_given_for_all_chips_or_none() -> None:
    with pytest.raises(ChipError, match="1 angles for 225 chips"):
        split_territory(CHIPS, SIZE, angles=[0.0])


@pytest.mark.parametrize(
    ("text", "part"),
    [("train", "train"), (" Training", "train"), ("VAL", "val"), ("validation", "val")]
    + [("dev", "val"), ("Test", "test"), ("holdout", "test"), (None, ""), ("", "")]
    + [(float("nan"), ""), ("none", "")],
)
def test_the_names_people_give_to_parts(text: object, part: str) -> None:
    assert part_named(text) == part


def test_a_name_that_is_no_part_is_refused() -> None:
    with pytest.raises(ChipError, match="'forest': write train, val or test"):
        part_named("forest")


rectangles = st.builds(
    lambda x, y, w, h: shapely.box(x, y, x + w, y + h),
    *[st.integers(0, 50), st.integers(0, 50), st.integers(5, 60), st.integers(5, 60)],
)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(rectangles, st.sampled_from(["train", "val", "test", ""])), min_size=1),
    st.integers(0, 6),
)
def test_a_chip_belongs_to_the_polygons_it_lies_wholly_in(
    drawn: list[tuple[shapely.Geometry, str]], buffer: int
) -> None:
    pixels = Frame(SCENE, SCENE, Affine.identity(), UTM33)
    outlines = [pixels.crop(window).polygon for window in CHIPS]
    labels = parts_in_polygons(outlines, [d[0] for d in drawn], [d[1] for d in drawn])
    areas = {
        part: shapely.union_all([shape for shape, name in drawn if name == part])
        for part in ("train", "val", "test")
    }
    for outline, label in zip(outlines, labels, strict=True):
        held = [part for part, area in areas.items() if area.covers(outline)]
        met = [part for part, area in areas.items() if area.intersection(outline).area > 0]
        assert label == (held[0] if len(held) == len(met) == 1 else "")
    if "train" not in labels:
        return
    try:
        outcome = split_territory(CHIPS, SIZE, method="polygons", labels=labels, buffer=buffer)
    except ChipError as error:
        assert "no chip lies wholly" in str(error)
        return
    assert outcome.common == 0
    assert outcome.nearest is None or outcome.nearest >= buffer
    kept = [p for p, label in zip(outcome.parts, labels, strict=True) if p == label != ""]
    if buffer == 0:
        assert outcome.parts == labels
    assert outcome.count("test") == labels.count("test"), "the test part gives way to none"
    assert len(kept) == sum(map(bool, outcome.parts))


def test_rounded_coordinates_lose_no_chip_at_the_border_of_two_polygons() -> None:
    pixels = Frame(SCENE, SCENE, Affine.identity(), UTM33)
    outlines = [pixels.crop(window).polygon for window in CHIPS]
    halves = [shapely.box(0, 0, 32.05, 64), shapely.box(31.95, 0.05, 63.95, 64)]
    labels = parts_in_polygons(outlines, halves, ["train", "val"], slack=0.1)
    across = [window.col_off for window, label in zip(CHIPS, labels, strict=True) if not label]
    assert set(across) == {28}
    outcome = split_territory(CHIPS, SIZE, method="polygons", labels=labels)
    assert str(outcome).startswith("105 train, 105 val (50%) by polygons, 15 chips left out; 0 px")
