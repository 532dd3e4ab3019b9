"""What a finished mosaic tells of itself: statistics, the model that made it, how it was tiled."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import Shown
from rasters import opened, utm, write

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.raster import RasterSource
from geo_p2p.version import versions

cog_validate = pytest.importorskip("rio_cogeo").cog_validate

BYTES = Scaling("uint8", (0.0, 0.0), (255.0, 255.0))
HEIGHTS = Scaling("int16", (-500.0,), (900.0,), nodata=-32768, names=("dsm",), units=("m",))


def model(target: Scaling = HEIGHTS, **changes: Any) -> Shown:
    fields = {"size": 16, "network": "plain", "arguments": {}, "stride": 8, "halo": 8}
    made = ModelCard(BYTES, target, **{**fields, "tile_safe": True, **changes})
    return Shown(made, lambda tiles, seed: tiles[:, : target.channels])


@pytest.fixture
def source(tmp_path: Path) -> RasterSource:
    """A raster with holes, of several blocks and an overview."""
    values = np.random.default_rng(0).integers(0, 255, (2, 530, 610), "uint8")
    values[:, 100:200, 60:300] = 255
    return RasterSource(write(tmp_path / "src.tif", values, utm(530, 610), nodata=255))


def test_the_mosaic_tells_the_statistics_of_its_own_valid_pixels(
    source: RasterSource, tmp_path: Path
) -> None:
    predict(model(), source, tmp_path / "o.tif", PredictConfig(block_size=128))
    values, valid = RasterSource(tmp_path / "o.tif").read()
    assert not valid.all()
    with opened(tmp_path / "o.tif") as dataset:
        tags = {key.removeprefix("STATISTICS_"): v for key, v in dataset.tags(1).items()}
    known = values[0][valid].astype(float)
    expected = {"MINIMUM": known.min(), "MAXIMUM": known.max()}
    expected |= {"MEAN": known.mean(), "STDDEV": known.std(), "VALID_PERCENT": 100 * valid.mean()}
    assert {key: float(value) for key, value in tags.items()} == pytest.approx(expected, rel=1e-3)
    assert cog_validate(tmp_path / "o.tif", strict=True, quiet=True) == (True, [], [])


def test_the_mosaic_names_its_model_and_what_it_was_made_with(
    source: RasterSource, tmp_path: Path
) -> None:
    metrics = {"l1": 1.5, "ssim": float("nan")}
    maker = model(name="dsm", bands=(1, 2), metrics=metrics, pixel_size=(1.0, 1.0))
    predict(maker, source, tmp_path / "o.tif")
    with opened(tmp_path / "o.tif") as dataset:
        tags = dataset.tags()
    assert tags["GEO_P2P_MODEL_NAME"] == "dsm"
    assert json.loads(tags["GEO_P2P_VERSIONS"]) == versions()
    told = json.loads(tags["GEO_P2P_CARD"])
    assert told["metrics"] == {"l1": 1.5, "ssim": None}
    assert (told["bands"], told["pixel_size"]) == ([1, 2], [1.0, 1.0])
    assert told["target"]["units"] == ["m"]
    assert json.loads(tags["GEO_P2P_PLAN"])["stride"] == 8


def test_a_name_tells_no_two_cards_apart() -> None:
    one = model().card
    assert replace(one, name="a") == replace(one, name="b")
    again = ModelCard.from_emd(json.loads(json.dumps(one.to_emd("town", "town.safetensors"))))
    assert (again, again.name) == (one, "town")


def test_equal_runs_give_equal_bytes(source: RasterSource, tmp_path: Path) -> None:
    for name, batch in (("a", 1), ("b", 3)):
        config = PredictConfig(block_size=128, batch_size=batch)
        predict(model(), source, tmp_path / f"{name}.tif", config)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_the_mask_of_an_overview_is_that_of_the_pixels_below(tmp_path: Path) -> None:
    values = np.full((2, 600, 600), 9, "uint8")
    values[:, :, :300] = 255
    src = RasterSource(write(tmp_path / "src.tif", values, utm(600, 600), nodata=255))
    target = Scaling("uint8", (0.0,), (255.0,))  # without nodata: an internal mask
    predict(model(target), src, tmp_path / "o.tif")
    with opened(tmp_path / "o.tif", overview_level=0) as overview:
        masks, image = overview.read_masks(1) > 0, overview.read(1)
    assert masks[:, 150:].all() and not masks[:, :150].any()
    assert (image[:, 150:] == 9).all()
