"""Where chips are cut, at which angles, into which files, and what is told of their values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS

from geo_p2p.chips import ChipFolder, ExportConfig, export_chips, foresee_chips
from geo_p2p.chips.chip import Scene
from geo_p2p.chips.plan import Job, hull_of
from geo_p2p.errors import ChipError, RasterError
from geo_p2p.raster import Bands, Frame, RasterSource

MakeRaster = Callable[..., Path]

UTM = CRS.from_epsg(32633)
HERE = Affine(2, 0, 500_000, 0, -2, 5_300_000)
COLORS = {0: (0, 0, 0, 255), 3: (200, 30, 30, 255), 9: (30, 200, 30, 255)}


@pytest.fixture
def place(make_raster: MakeRaster) -> MakeRaster:
    def make(values: np.ndarray, **options: Any) -> Path:
        return make_raster(values, **{"crs": UTM, "transform": HERE, **options})

    return make


def noise(bands: int = 1, shape: tuple[int, int] = (64, 96), dtype: str = "uint8") -> np.ndarray:
    top = 256 if dtype == "uint8" else 10_000
    return np.random.default_rng(bands).integers(0, top, (bands, *shape)).astype(dtype)


def windows(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return column, row, width and height of each chip, px of the input, by its place."""
    chips = ChipFolder.open(folder)
    found = {}
    for name in chips.names:
        frame = chips.read(name).frame
        col, row = (round(v) for v in ~HERE * (frame.transform.c, frame.transform.f))
        found[name] = (col, row, frame.width, frame.height)
    return found


class Nowhere:
    """A source that is all frame: plans read no pixel."""

    def __init__(self, height: int, width: int) -> None:
        self.frame = Frame(height, width, HERE, UTM)
        self.info = Bands(1, "uint8")
        self.name, self.paths, self.bands, self.method = "nowhere", (), None, "none"


# Where


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    stride=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    edges=st.sampled_from(["cover", "lattice"]),
)
def test_groups_hold_every_tile_once_and_read_only_the_raster(
    height: int, width: int, size: tuple[int, int], stride: tuple[int, int], edges: str
) -> None:
    stride = min(stride[0], size[0]), min(stride[1], size[1])
    config = ExportConfig(tile_size=size, stride=stride, edges=edges)
    source = Nowhere(height, width)
    job = Job((Scene("", source, source),), (None,), config, Path())
    tiles = [tile for group in job.groups for tile in job.tiles_of(group)]
    assert (
        sorted(tile.index for tile in tiles)
        == list(range(len(job.grids[0])))
        == list(range(job.tiles))
    )
    assert {tile.index: tile.window for tile in tiles} == {
        index: tile.window for index, tile in enumerate(job.grids[0])
    }
    covered = np.zeros((height, width), bool)
    for group in job.groups:
        own = list(job.tiles_of(group))
        assert len(own) == group.count
        (top, bottom), (left, right) = hull_of(own).toranges()
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        for tile in own:
            covered[tile.window.toslices()] = True
    if edges == "cover":
        assert covered.all()
    else:
        for tile in tiles:
            assert tile.window.col_off % stride[0] == tile.window.row_off % stride[1] == 0


def test_what_is_read_at_once_is_bounded_and_hardly_read_twice() -> None:
    source = Nowhere(20_000, 30_000)
    job = Job((Scene("", source, source),), (None,), ExportConfig(), Path())
    reads = [hull_of(list(job.tiles_of(group))) for group in job.groups]
    areas = [read.height * read.width for read in reads]
    assert max(areas) <= 2048**2
    assert sum(areas) < 1.2 * 20_000 * 30_000


def test_whole_strides_only_leave_the_rest(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    settings = {"tile_size": 40, "stride": 20, "split": "none"}
    folder = export_chips(path, path, tmp_path / "c", edges="lattice", **settings)
    assert set(windows(folder).values()) == {
        (col, row, 40, 40) for col in (0, 20, 40) for row in (0, 20)
    }
    folder = export_chips(path, path, tmp_path / "d", **settings)
    assert {w[:2] for w in windows(folder).values()} == {
        (col, row) for col in (0, 20, 40, 56) for row in (0, 20, 24)
    }


def test_a_raster_smaller_than_a_chip_is_filled_up_with_invalid_pixels(
    place: MakeRaster, tmp_path: Path
) -> None:
    x, y = noise(2, (20, 50)), noise(1, (20, 50))
    folder = export_chips(place(x), place(y), tmp_path / "c", tile_size=32, min_valid=0.5)
    chips = [ChipFolder.open(folder).read(name) for name in ChipFolder.open(folder).names]
    assert len(chips) == 3
    for chip, left in zip(chips, (0, 16, 18), strict=True):
        assert chip.frame.shape == (32, 32)
        assert chip.valid[:20].all()
        assert not chip.valid[20:].any()
        assert np.array_equal(chip.x[:, :20], x[:, :, left : left + 32])
        assert np.array_equal(chip.y[:, :20], y[:, :, left : left + 32])
    with pytest.raises(ChipError, match="lower the valid share"):
        export_chips(place(x), place(y), tmp_path / "d", tile_size=32)


def test_chips_may_be_wider_than_they_are_high(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    settings = {"tile_size": (48, 16), "stride": (24, 16), "split": "none"}
    folder = export_chips(path, path, tmp_path / "c", **settings)
    assert set(windows(folder).values()) == {
        (col, row, 48, 16) for col in (0, 24, 48) for row in (0, 16, 32, 48)
    }
    emd = json.loads((folder / "esri_model_definition.emd").read_text())
    assert (emd["ImageWidth"], emd["ImageHeight"]) == (48, 16)
    assert ExportConfig(tile_size=(50, 20)).steps == (10, 25)


def test_names_begin_where_they_are_told_to(place: MakeRaster, tmp_path: Path) -> None:
    path = place(noise())
    folder = export_chips(
        path, path, tmp_path / "c", tile_size=32, stride=32, split="none", start_index=700
    )
    assert ChipFolder.open(folder).names == tuple(f"{i:012d}" for i in range(700, 706))
    accumulated = json.loads((folder / "esri_accumulated_stats.json").read_text())
    assert (accumulated["NumTiles"], accumulated["NextTileIndex"]) == (6, 706)


def test_chips_at_random_lie_inside_and_depend_on_the_seed_alone(
    place: MakeRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(noise(2, (200, 300)))
    settings = {"tile_size": 32, "placement": "random", "count": 40, "split": "none"}
    one = windows(export_chips(path, path, tmp_path / "one", **settings))
    assert len(set(one.values())) == 40
    assert all(0 <= c <= 300 - 32 and 0 <= r <= 200 - 32 for c, r, *_ in one.values())
    monkeypatch.setattr("geo_p2p.chips.plan.SPAN", 64)  # other groups, numbered otherwise
    again = windows(export_chips(path, path, tmp_path / "again", **settings))
    assert set(again.values()) == set(one.values())
    other = windows(export_chips(path, path, tmp_path / "other", **settings, seed=7))
    assert set(other.values()) != set(one.values())
    chips = ChipFolder.open(tmp_path / "again")
    with rasterio.open(path) as raster:
        whole = raster.read()
    for name, (col, row, *_) in again.items():
        assert np.array_equal(chips.read(name).x, whole[:, row : row + 32, col : col + 32])


@given(
    shape=st.tuples(st.integers(64, 700), st.integers(64, 700)),
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    count=st.integers(1, 60),
    span=st.integers(1, 300),
)
def test_groups_at_random_hold_every_tile_once_and_read_a_bounded_window(
    shape: tuple[int, int], size: tuple[int, int], count: int, span: int
) -> None:
    config = ExportConfig(tile_size=size, stride=1, placement="random", count=count)
    source = Nowhere(*shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geo_p2p.chips.plan.SPAN", span)
        job = Job((Scene("", source, source),), (None,), config, Path())
        groups = [list(job.tiles_of(group)) for group in job.groups]
    assert [len(tiles) for tiles in groups] == [group.count for group in job.groups]
    tiles = sorted((tile for group in groups for tile in group), key=lambda tile: tile.index)
    assert [tile.index for tile in tiles] == list(range(job.tiles))
    assert tuple(tile.window for tile in tiles) == job.placements[0].windows
    for group in groups:
        whole = hull_of(group)
        assert whole.height <= max(span, size[1])
        assert whole.width <= max(span, size[0])


def test_chips_at_random_lie_inside_the_area_whoever_cuts_them(
    place: MakeRaster, tmp_path: Path
) -> None:
    path = place(noise(1, (64, 5000)))
    area = tmp_path / "area.geojson"
    (x0, y0), (x1, y1) = HERE * (500, 8), HERE * (4900, 60)
    ring = [[x0, y0], [x0, y1], [x1, y1], [x1, y0], [x0, y0]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    feature = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    area.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    settings = {"tile_size": 32, "placement": "random", "count": 25, "split": "none", "mask": area}
    one = export_chips(path, path, tmp_path / "one", **settings)
    two = export_chips(path, path, tmp_path / "two", **settings, workers=2)
    found = windows(one)
    assert len(found) == 25
    assert all(500 <= c <= 4868 and 8 <= r <= 28 for c, r, *_ in found.values())
    for name in (f"{side}/{name}.tif" for side in ("images", "images2") for name in found):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / "geo_p2p.json").read_bytes() == (two / "geo_p2p.json").read_bytes()
    outlook = foresee_chips(path, path, **settings)
    assert outlook.tiles == outlook.chips == 25
    assert "o" in outlook.picture


def test_chips_at_random_are_shared_out_over_the_scenes(
    place: MakeRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    for number, width in enumerate((60, 120)):
        shift = HERE * Affine.translation(200 * number, 0)
        place(noise(1, (64, width)), transform=shift).rename(sheets / f"{number}.tif")
    settings = {"tile_size": 32, "placement": "random", "split": "none", "processing_mode": "items"}
    target = place(noise(1, (64, 400)))
    folder = export_chips(sheets, target, tmp_path / "c", count=30, **settings)
    told = json.loads((folder / "chips.geojson").read_text())["features"]
    scenes = [feature["properties"]["scene"] for feature in told]
    assert (scenes.count("0"), scenes.count("1")) == (10, 20)
    small = place(noise(1, (33, 33)))
    settings["processing_mode"] = "mosaic"
    folder = export_chips(small, small, tmp_path / "d", count=9, **settings)
    assert len(ChipFolder.open(folder)) == 4
    assert "4 of 9 windows fitted" in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"placement": "random"}, {"count": 5}, {"placement": "random", "count": 0}]
)
def test_random_placement_and_a_count_go_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(ChipError, match="go together"):
        ExportConfig(**wrong)
    with pytest.raises(ChipError, match="random-overlapping"):
        ExportConfig(placement="random", count=5, split="random")


# At which angles


def test_a_quarter_turn_turns_both_images(place: MakeRaster, tmp_path: Path) -> None:
    x, y = noise(2), noise(1)
    settings = {"tile_size": 32, "stride": 32, "split": "none"}
    folder = export_chips(place(x), place(y), tmp_path / "c", rotation_angle=90, **settings)
    chips = ChipFolder.open(folder)
    assert len(chips) == 6 * 4
    for first in range(0, 24, 4):
        upright = chips.read(f"{first:012d}")
        middle = upright.frame.transform * (16, 16)
        for turn in range(4):
            chip = chips.read(f"{first + turn:012d}")
            # The frame turns left, so that what it shows turns right.
            assert np.array_equal(chip.x, np.rot90(upright.x, -turn, (1, 2)))
            assert np.array_equal(chip.y, np.rot90(upright.y, -turn, (1, 2)))
            assert chip.frame.transform * (16, 16) == pytest.approx(middle)
            assert chip.valid.all()


def test_a_turned_chip_lies_where_its_frame_says_and_leaves_no_raster(
    place: MakeRaster, tmp_path: Path
) -> None:
    rows, cols = np.indices((128, 160)) + 0.5
    ramps = np.stack([cols, rows]).astype("float32")
    settings = {"tile_size": 32, "stride": 32, "split": "none", "min_valid": 0}
    folder = export_chips(place(ramps), place(ramps), tmp_path / "c", rotation_angle=30, **settings)
    chips = ChipFolder.open(folder)
    assert len(chips) == 20 * 12
    turned = 0
    for name in chips.names:
        chip = chips.read(name)
        row, col = np.indices(chip.valid.shape) + 0.5
        x, y = chip.frame.transform * (col, row)
        seen = np.stack(~HERE * (x, y))
        inside = (seen > 1).all(0) & (seen[0] < 159) & (seen[1] < 127)
        assert chip.valid[inside].all()
        assert not chip.valid[(seen < -0.6).any(0) | (seen[0] > 160.6) | (seen[1] > 128.6)].any()
        assert np.abs(chip.x - seen)[:, inside].max() < 0.02
        assert np.abs(chip.y - seen)[:, inside].max() < 0.02
        turned += int(name) % 12 > 0
    assert turned == 20 * 11
    outlines = json.loads((folder / "chips.geojson").read_text())["features"]
    assert {feature["properties"]["angle"] for feature in outlines} == set(range(0, 360, 30))


@pytest.mark.parametrize(("angle", "count"), [(0, 1), (45, 8), (100, 4), (180, 2), (7.5, 48)])
def test_angles_go_on_up_to_a_full_turn(angle: float, count: int) -> None:
    angles = ExportConfig(rotation_angle=angle).angles
    assert angles == tuple(angle * turn for turn in range(count))
    assert angles[-1] < 360


# Into which files


@pytest.mark.parametrize(
    ("kind", "suffix", "world"),
    [("TIFF", "tif", "tfw"), ("PNG", "png", "pgw"), ("JPEG", "jpg", "jgw")],
)
def test_a_picture_says_what_and_where_it_is(
    place: MakeRaster, tmp_path: Path, kind: str, suffix: str, world: str
) -> None:
    values = np.stack([np.full((64, 96), v, "uint8") for v in (90, 120, 150)])
    valid = np.ones((64, 96), bool)
    valid[3:9, 5:11] = False
    path = place(values, mask=valid)
    settings = {"tile_size": 32, "stride": 32, "split": "none", "min_valid": 0.5}
    folder = export_chips(path, path, tmp_path / "c", image_format=kind, **settings)
    for side in ("images", "images2"):
        files = {file.name for file in (folder / side).iterdir()}
        masked = {f"{0:012d}.{suffix}.msk"} if kind != "TIFF" else set()
        beside = (world,) if kind == "TIFF" else (world, f"{suffix}.aux.xml")
        assert files == masked | {
            f"{i:012d}.{ending}" for i in range(6) for ending in (suffix, *beside)
        }
        source = RasterSource(folder / side / f"{0:012d}.{suffix}")
        assert source.frame == Frame(32, 32, HERE, UTM)
        got, seen = source.read()
        assert np.array_equal(seen, valid[:32, :32])
        assert np.abs(got.astype(int) - values[:, :32, :32])[:, seen].max() <= (kind == "JPEG")
        with Image.open(folder / side / f"{5:012d}.{suffix}") as picture:
            assert picture.mode == "RGB"
        lines = (folder / side / f"{1:012d}.{world}").read_text().split("\n")
        assert list(map(float, lines[:6])) == [2, 0, 0, -2, 500_065, 5_299_999]
    assert f"images\\{0:012d}.{suffix} " in (folder / "map.txt").read_text()


def test_a_chip_is_compressed_where_that_makes_it_smaller(
    place: MakeRaster, tmp_path: Path
) -> None:
    rows, _ = np.indices((256, 256))
    drawn = (rows // 16 * 16).astype("uint8")[None]
    pair = place(noise(3, (256, 256))), place(drawn)
    folder = export_chips(*pair, tmp_path / "c", tile_size=256, split="none")
    sizes = {}
    for side, kind in (("images", None), ("images2", "lzw")):
        file = folder / side / f"{0:012d}.tif"
        sizes[side] = file.stat().st_size
        with rasterio.open(file) as chip:
            assert (chip.compression.value.lower() if chip.compression else None) == kind
    assert sizes["images"] < 3 * 256 * 256 + 2_000
    assert sizes["images2"] < 256 * 256 / 10


@pytest.mark.parametrize(
    ("kind", "bands", "dtype", "words"),
    [
        ("JPEG", 1, "uint16", "uint16 does not fit into JPEG"),
        ("PNG", 1, "float32", "float32 does not fit into PNG"),
        ("JPEG", 2, "uint8", "2 bands do not fit into JPEG"),
        ("PNG", 5, "uint8", "5 bands do not fit into PNG"),
    ],
)
def test_a_format_that_would_lose_values_is_refused(
    place: MakeRaster, tmp_path: Path, kind: str, bands: int, dtype: str, words: str
) -> None:
    path, good = place(noise(bands, dtype=dtype)), place(noise(1))
    for pair in ((path, good), (good, path)):
        with pytest.raises(RasterError, match=words):
            export_chips(*pair, tmp_path / "c", image_format=kind, tile_size=32)
    assert not list(tmp_path.iterdir())


def test_classes_are_no_jpeg_but_a_png(place: MakeRaster, tmp_path: Path) -> None:
    classes = np.random.default_rng(0).choice(np.array([0, 3, 9], "uint8"), (1, 64, 96))
    pair = place(noise(3)), place(classes, colors=COLORS)
    with pytest.raises(RasterError, match="JPEG blurs class numbers"):
        export_chips(*pair, tmp_path / "c", image_format="JPEG", tile_size=32)
    folder = export_chips(
        *pair, tmp_path / "c", image_format="PNG", tile_size=32, stride=32, split="none"
    )
    with rasterio.open(folder / "images2" / f"{5:012d}.png") as chip:
        assert np.array_equal(chip.read(), classes[:, 32:64, 64:96])


# What is told of their values


def test_statistics_are_those_of_the_training_chips_valid_pixels(
    place: MakeRaster, tmp_path: Path
) -> None:
    x = noise(2, (256, 256), "uint16")
    classes = np.random.default_rng(0).choice(np.array([0, 3, 9], "uint8"), (1, 256, 256))
    valid = np.ones((256, 256), bool)
    valid[100:110] = False
    pair = place(x, mask=valid), place(classes, colors=COLORS)
    folder = export_chips(*pair, tmp_path / "c", tile_size=32, stride=32, min_valid=0.5)
    chips = ChipFolder.open(folder)
    assert chips.split["val"]
    train = [chips.read(name) for name in chips.split["train"]]
    told = chips.own["statistics"]
    assert told["chips"] == len(train)
    for band in range(2):
        pixels = np.concatenate([chip.x[band][chip.valid] for chip in train]).astype(float)
        stated = told["input"][band]
        assert (stated["min"], stated["max"]) == (pixels.min(), pixels.max())
        assert stated["mean"] == pytest.approx(pixels.mean(), rel=1e-12)
        assert stated["sd"] == pytest.approx(pixels.std(ddof=1), rel=1e-12)
        for percent, value in stated["percentiles"].items():
            assert value == pytest.approx(np.percentile(pixels, float(percent)), abs=60)
    assert told["input"][0]["count"] == sum(chip.valid.sum() for chip in train)
    census = {str(v): 0 for v in (0, 3, 9)}
    for chip in train:  # of the target's own valid pixels, which here are all
        for value in (0, 3, 9):
            census[str(value)] += int((chip.y == value).sum())
    assert told["census"] == census
