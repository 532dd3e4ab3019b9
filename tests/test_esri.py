"""Esri's Export Tiles, on bytes: what ArcGIS Pro writes and arcgis.learn asks for.

The lists stand here as they were read from an export of ArcGIS Pro 3.3, so that a change of the
code has to be made twice.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from affine import Affine
from PIL import Image

from geo_p2p.chips import export_chips

MakeRaster = Callable[..., Path]

HERE = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)
SIZE = 256
NODATA, COMPRESSION, PREDICTOR, PLANAR, EXTRA = 42113, 259, 317, 284, 338
SCALE, TIEPOINT, TILE_WIDTH, TILE_LENGTH = 33550, 33922, 322, 323

EMD_TYPES = {
    "Framework": str,
    "ModelConfiguration": str,
    "ModelType": str,
    "ModelFile": str,
    "Description": str,
    "ImageHeight": int,
    "ImageWidth": int,
    "ExtractBands": str,
    "DataRange": str,
    "ModelPadding": str,
    "BatchSize": str,
    "PerProcessGPUMemoryFraction": str,
    "MetaDataMode": str,
    "BlackenAroundFeature": bool,
    "IsMultidimensional": bool,
    "CropTileMode": str,
    "ImageSpaceUsed": str,
    "MinCellSize": dict,
    "MaxCellSize": dict,
    "InputRastersProps": dict,
    "InputRastersProps2": dict,
    "AllTilesStats": list,
    "AllTilesStats2": list,
    "WellKnownBandNames (FYI, these band names can be used in ExtractBands)": list,
}

ACCUMULATED_TYPES = {
    "Version": int,
    "NumBands": int,
    "TileSizeX": int,
    "TileSizeY": int,
    "NumClasses": int,
    "NumTiles": int,
    "NumTilesAsDouble": float,
    "NextTileIndex": int,
    "OutputFeatures": bool,
    "MetaDataMode": str,
    "MinCellSize": dict,
    "MaxCellSize": dict,
    "FeatureStats": dict,
    "InputRastersProps": dict,
    "InputRastersProps2": dict,
    "BandStatsState": list,
    "BandStatsState2": list,
}


@pytest.fixture(scope="module")
def folder(make_raster: MakeRaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export of 8-bit colour and a 16-bit band that declares nodata, with gaps."""
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (3, 512, 640), "uint8")
    values = rng.integers(1, 5000, (1, 512, 640)).astype("uint16")
    values[0, :60, :300] = 0
    x = make_raster(colour, transform=HERE, photometric="rgb")
    y = make_raster(values, transform=HERE, nodata=0)
    out = tmp_path_factory.mktemp("esri") / "chips"
    # Of 3 x 4 tiles, the first one has a hole of 23 % and is passed over.
    return export_chips(x, y, out, tile_size=SIZE, stride=128, split="none", min_valid=0.8)


def chips(folder: Path, side: str) -> list[Path]:
    return sorted((folder / side).glob("*.tif"))


def both(folder: Path) -> list[Path]:
    return chips(folder, "images") + chips(folder, "images2")


def document(folder: Path, name: str) -> dict[str, Any]:
    """Return a JSON file, which may hold none of the numbers JSON does not know."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{name} holds {constant}")

    text = (folder / name).read_bytes().decode("utf-8")
    assert "\r" not in text
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_the_folder_holds_what_pro_writes_and_files_of_ours(folder: Path) -> None:
    assert sorted(item.name for item in folder.iterdir()) == [
        "chips.geojson",
        "chips.qml",
        "esri_accumulated_stats.json",
        "esri_model_definition.emd",
        "geo_p2p.json",
        "images",
        "images2",
        "map.txt",
        "split.geojson",
        "split.qml",
        "stats.txt",
    ]
    for name in ("geo_p2p.json", "chips.geojson"):
        document(folder, name)


def test_chips_are_named_by_twelve_digits_alike_on_both_sides(folder: Path) -> None:
    stems = [[file.stem for file in chips(folder, side)] for side in ("images", "images2")]
    assert stems[0] == stems[1] == [f"{index:012d}" for index in range(1, 12)]
    others = {file.suffix for side in ("images", "images2") for file in (folder / side).iterdir()}
    assert others == {".tif", ".tfw"}


def test_chips_are_tiled_without_predictor_or_nodata(folder: Path) -> None:
    for file in both(folder):
        with tifffile.TiffFile(file) as tif:
            assert not tif.is_bigtiff
            assert tif.byteorder == "<"
            tags = tif.pages[0].tags
            assert (tags[TILE_WIDTH].value, tags[TILE_LENGTH].value) == (128, 128)
            assert tags[COMPRESSION].value in (1, 5)  # none, or LZW: see test_cut.py
            assert PREDICTOR not in tags or tags[PREDICTOR].value == 1
            assert tags[PLANAR].value == 1
            assert NODATA not in tags
            assert EXTRA not in tags
            assert all(not page.is_reduced or page.is_mask for page in tif.pages), "overviews"


def test_only_a_chip_with_a_hole_carries_a_mask(folder: Path) -> None:
    pages = {}
    for file in both(folder):
        with tifffile.TiffFile(file) as tif:
            pages[file] = len(tif.pages)
    assert {pages[file] for file in chips(folder, "images")} == {1}
    holed = [file.stem for file in chips(folder, "images2") if pages[file] == 2]
    assert [int(stem) for stem in holed] == [1, 2]


def test_chips_are_placed_at_the_outer_corner_of_an_area_pixel(folder: Path) -> None:
    for file in both(folder):
        row, col = divmod(int(file.stem), 4)
        with tifffile.TiffFile(file) as tif:
            tags = tif.pages[0].tags
            assert tags[SCALE].value[:2] == (0.5, 0.5)
            assert tags[TIEPOINT].value[:2] == (0, 0)
            assert tags[TIEPOINT].value[3:5] == (500_000 + 64 * col, 5_300_000 - 64 * row)
            assert tif.geotiff_metadata["GTRasterTypeGeoKey"] == 1


def test_world_files_name_the_centre_of_the_first_pixel_in_ten_decimals(folder: Path) -> None:
    for file in both(folder):
        row, col = divmod(int(file.stem), 4)
        expected = (0.5, 0, 0, -0.5, 500_000.25 + 64 * col, 5_299_999.75 - 64 * row)
        text = "".join(f"{value:.10f}\n" for value in expected)
        assert file.with_suffix(".tfw").read_bytes() == text.encode("ascii")


def test_a_world_file_lists_the_columns_of_the_affine(
    make_raster: MakeRaster, tmp_path: Path
) -> None:
    turned = Affine(1, 2, 500_000, 4, -8, 5_300_000)
    path = make_raster(np.ones((16, 16), "uint8"), transform=turned)
    out = export_chips(path, path, tmp_path / "chips", tile_size=16, split="none")
    lines = (out / "images" / "000000000000.tfw").read_text().split()
    assert [float(line) for line in lines] == [1, 4, 2, -8, 500_001.5, 5_299_998]


def test_pil_opens_colour_chips_as_arcgis_learn_does(folder: Path) -> None:
    with Image.open(chips(folder, "images")[0]) as image:
        assert image.mode == "RGB"
        assert np.asarray(image).shape == (SIZE, SIZE, 3)
    with Image.open(chips(folder, "images2")[0]) as image:
        assert image.mode == "I;16"


def test_map_txt_pairs_them_with_backslashes_a_trailing_space_and_crlf(folder: Path) -> None:
    lines = [
        f"images\\{i:012d}.tif images2\\{i:012d}.tif \r\n".encode("ascii") for i in range(1, 12)
    ]
    assert (folder / "map.txt").read_bytes() == b"".join(lines)


def test_stats_txt_is_pro_s_to_the_byte(folder: Path) -> None:
    assert (folder / "stats.txt").read_bytes() == (
        b"images = 11 *3*256*256\r\n"
        b"\r\n"
        b"Class feature statistics:\r\n"
        b"features = 0\r\n"
        b"features per image = [min = 0, mean = 0.00, max = 0]\r\n"
        b"classes = 0\r\n"
    )


def types(plain: dict[str, Any]) -> dict[str, type]:
    return {key: type(value) for key, value in plain.items()}


def test_the_emd_has_pro_s_keys_and_types_and_no_other(folder: Path) -> None:
    emd = document(folder, "esri_model_definition.emd")
    assert types(emd) == EMD_TYPES
    assert (emd["MetaDataMode"], emd["ImageSpaceUsed"]) == ("Export_Tiles", "MAP_SPACE")
    assert (emd["CropTileMode"], emd["BlackenAroundFeature"]) == ("Fixed_Size", False)
    assert (emd["ImageHeight"], emd["ImageWidth"]) == (SIZE, SIZE)
    placeholders = (k for k, kind in EMD_TYPES.items() if kind is str)
    fixed = {"MetaDataMode", "CropTileMode", "ImageSpaceUsed"}
    assert all(emd[key].startswith("e.g. ") for key in placeholders if key not in fixed)
    cell = {"x": 0.5, "y": 0.5, "spatialReference": {"wkid": 32633, "latestWkid": 32633}}
    assert emd["MinCellSize"] == emd["MaxCellSize"] == cell
    known = emd["WellKnownBandNames (FYI, these band names can be used in ExtractBands)"]
    assert (len(known), known[0], *known[-2:]) == (22, "Red", "PseudoBlue", "QA")


def test_the_emd_describes_both_rasters_band_by_band(folder: Path) -> None:
    emd = document(folder, "esri_model_definition.emd")
    for props, stats, names in (
        ("InputRastersProps", "AllTilesStats", ["", "", ""]),
        ("InputRastersProps2", "AllTilesStats2", ["Band_1"]),
    ):
        assert emd[props] == {"RasterCount": 1, "SensorName": "Undefined", "BandNames": names}
        assert [row["BandName"] for row in emd[stats]] == names
        assert all(set(row) == {"BandName", "Min", "Max", "Mean", "StdDev"} for row in emd[stats])


def test_the_accumulated_statistics_have_pro_s_keys_and_types_and_no_other(folder: Path) -> None:
    found = document(folder, "esri_accumulated_stats.json")
    assert types(found) == ACCUMULATED_TYPES
    numbers = {
        "Version": 1,
        "NumBands": 3,
        "TileSizeX": SIZE,
        "TileSizeY": SIZE,
        "NumClasses": 0,
        "NumTiles": 11,
        "NumTilesAsDouble": 11.0,
        "NextTileIndex": 12,
        "OutputFeatures": True,
        "MetaDataMode": "Export_Tiles",
    }
    assert numbers.items() <= {k: v for k, v in found.items() if k in numbers}.items()
    assert found["FeatureStats"] == {
        "NumClasses": 0,
        "NumImagesTotal": 0,
        "NumFeaturesTotal": 0,
        "NumImagesPerClass": [],
        "NumFeaturesPerClass": [],
        "NumFeaturesPerImage": {"Min": 0, "Max": 0, "Mean": 0, "Sum": 0, "Count": 0},
        "FeatureAreaPerClass": [],
    }
    assert (len(found["BandStatsState"]), len(found["BandStatsState2"])) == (3, 1)
    for state in found["BandStatsState"] + found["BandStatsState2"]:
        assert set(state) == {"Min", "Max", "Mean", "StdDev", "M1", "M2", "Num"}
        assert (state["Mean"], state["StdDev"], type(state["Num"])) == (0, 0, int)


def test_both_files_tell_the_same_statistics(folder: Path) -> None:
    emd = document(folder, "esri_model_definition.emd")
    states = document(folder, "esri_accumulated_stats.json")
    for number in ("", "2"):
        for row, state in zip(
            emd[f"AllTilesStats{number}"], states[f"BandStatsState{number}"], strict=True
        ):
            sd = (state["M2"] / (state["Num"] - 1)) ** 0.5
            assert [row[k] for k in ("Min", "Max", "Mean")] == [
                state[k] for k in ("Min", "Max", "M1")
            ]
            assert row["StdDev"] == pytest.approx(sd, rel=1e-14)


def test_bands_are_named_as_the_raster_names_them_but_for_8_bit_colour(
    make_raster: MakeRaster, tmp_path: Path
) -> None:
    # Names such as "Red" would make arcgis.learn take colour for a multispectral image.
    for dtype, expected in {
        "uint8": ["", "", ""],
        "uint16": ["Red", "Band_2", "nir"],
    }.items():
        values = np.ones((3, 16, 16), dtype)
        path = make_raster(values, names=["Red", "", "nir"])
        out = export_chips(path, path, tmp_path / dtype, tile_size=16, split="none")
        emd = document(out, "esri_model_definition.emd")
        assert emd["InputRastersProps"]["BandNames"] == expected


def test_a_crs_without_a_number_has_well_known_id_0(
    make_raster: MakeRaster, tmp_path: Path
) -> None:
    own = "+proj=laea +lat_0=47.3 +lon_0=11.1 +ellps=bessel +units=m"
    path = make_raster(np.ones((16, 16), "uint8"), crs=own)
    out = export_chips(path, path, tmp_path / "chips", tile_size=16, split="none")
    cell = document(out, "esri_model_definition.emd")["MinCellSize"]
    assert cell["spatialReference"] == {"wkid": 0, "latestWkid": 0}


@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), None])
def test_no_json_file_holds_nan_or_infinity(
    make_raster: MakeRaster, tmp_path: Path, nodata: float | None
) -> None:
    values = np.random.default_rng(0).normal(size=(1, 32, 32)).astype("float32")
    values[0, 0, 0] = np.nan
    path = make_raster(values, nodata=nodata)
    out = export_chips(path, path, tmp_path / "chips", tile_size=16, split="none")
    files = [*out.glob("*.json"), *out.glob("*.emd"), *out.glob("*.geojson")]
    assert len(files) == 5
    for file in files:
        document(out, file.name)
        assert not re.search(r"\b(NaN|Infinity)\b", file.read_text())
