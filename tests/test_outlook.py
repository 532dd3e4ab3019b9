"""A dry run tells what an export would make, and writes nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from geo_p2p.chips import ChipFolder, export_chips, foresee_chips
from geo_p2p.errors import AlignmentError, RasterError

MakeRaster = Callable[..., Path]

HERE = {"crs": CRS.from_epsg(32633), "transform": Affine(2, 0, 500_000, 0, -2, 5_300_000)}
SETTINGS = {"tile_size": 32, "stride": 16, "val_pct": 20}


@pytest.fixture
def raster(make_raster: MakeRaster) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (3, 160, 320), dtype="uint8")
    valid = np.ones((160, 320), bool)
    valid[:, 160:] = False
    return make_raster(values, mask=valid, **HERE)


@pytest.fixture
def whole(make_raster: MakeRaster) -> Path:
    values = np.random.default_rng(0).integers(0, 9_999, (1, 160, 320)).astype("uint16")
    return make_raster(values, **HERE)


def test_it_foresees_the_export_and_writes_nothing(whole: Path, tmp_path: Path) -> None:
    outlook = foresee_chips(whole, whole, **SETTINGS, rotation_angle=180, min_valid=0)
    assert not list(tmp_path.iterdir())
    folder = ChipFolder.open(
        export_chips(whole, whole, tmp_path / "c", **SETTINGS, rotation_angle=180, min_valid=0)
    )
    left_out = outlook.split.count("")
    assert outlook.chips == 2 * outlook.tiles == len(folder) + 2 * left_out
    assert 2 * outlook.split.count("val") == len(folder.split["val"])
    assert outlook.size == outlook.chips * 32 * 32 * 4
    assert {tuple(map(int, b)) for b in folder.split["blocks"]} == {
        tuple(map(int, block.flatten())) for block in outlook.split.blocks
    }


def test_chips_that_would_not_pass_are_foreseen(raster: Path) -> None:
    outlook = foresee_chips(raster, raster, **SETTINGS)
    assert outlook.chips == pytest.approx(outlook.tiles / 2, rel=0.15)


def test_the_picture_shows_the_ground_of_every_part(whole: Path) -> None:
    outlook = foresee_chips(whole, whole, **SETTINGS)
    rows = outlook.picture.splitlines()
    assert (len(rows), {len(row) for row in rows}) == (16, {64})
    held = np.zeros((160, 320), bool)
    for block in outlook.split.blocks:
        held[block.toslices()] = True
    for r, line in enumerate(rows):
        for c, mark in enumerate(line):
            if mark == "#":
                assert held[r * 10 + 5, c * 5 + 2]
    assert set("".join(rows)) == {"o", "#", "-"}
    assert set(foresee_chips(whole, whole, **SETTINGS, edges="lattice").picture) >= {"o", "#"}


def test_it_refuses_what_the_export_refuses(
    whole: Path, make_raster: MakeRaster, tmp_path: Path
) -> None:
    away = make_raster(
        np.ones((1, 50, 50), "uint8"), crs=HERE["crs"], transform=Affine(2, 0, 0, 0, -2, 0)
    )
    with pytest.raises(AlignmentError, match="shares no ground"):
        foresee_chips(whole, away, **SETTINGS)
    with pytest.raises(RasterError, match="does not fit into JPEG"):
        foresee_chips(whole, whole, **SETTINGS, image_format="JPEG")
