"""The model card: there and back through an .emd, and what is refused."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from geo_p2p.card import Category, ModelCard, Scaling
from geo_p2p.errors import ModelError

CARD = ModelCard(
    input=Scaling("uint16", (1.0, 2.5), (900.0, 800.0), math.nan, names=("red", "nir")),
    target=Scaling("uint8", classes=(Category(3, "road", (9, 8, 7, 255), 1.0),)),
    size=256,
    network="unet",
    arguments={"halvings": 5, "ngf": 64, "norm": "batch"},
    stride=32,
    halo=64,
    tile_safe=True,
    bands=(4, 1),
    test_dropout=True,
    pixel_size=(0.3, 0.3),
    crs="EPSG:32612",
    metrics={"l1": 0.125, "per_class": [0.5]},
    provenance={"seed": 42, "versions": {"torch": "2.15"}},
)


def emd(card: ModelCard = CARD, **changes: Any) -> dict[str, Any]:
    """Return the .emd as another program would read it from the disk."""
    written = card.to_emd("aerial-to-map", "aerial-to-map.safetensors")
    plain: dict[str, Any] = json.loads(json.dumps(written, allow_nan=False))
    return {**plain, **changes}


def own(**changes: Any) -> dict[str, Any]:
    """Return an .emd with changes of our own part; None removes a key."""
    part = {**emd()["geo_p2p"], **changes}
    return emd(geo_p2p={key: value for key, value in part.items() if value is not None})


@pytest.mark.parametrize("card", [CARD, replace(CARD, bands=(), pixel_size=None, metrics={})])
def test_a_card_comes_back_equal_from_its_emd(card: ModelCard) -> None:
    assert ModelCard.from_emd(emd(card)) == card


@pytest.mark.parametrize(
    "change",
    [
        {"size": 512},
        {"network": "resnet"},
        {"arguments": {"ngf": 32}},
        {"stride": 4},
        {"halo": 100},
        {"tile_safe": False},
        {"bands": (1, 4)},
        {"test_dropout": False},
        {"pixel_size": (0.3, 0.6)},
        {"crs": "EPSG:26912"},
        {"metrics": {"l1": 0.5}},
        {"provenance": {}},
        {"input": CARD.target},
        {"target": CARD.input},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_travels(change: dict[str, Any]) -> None:
    changed = replace(CARD, **change)
    assert ModelCard.from_emd(emd(changed)) == changed != CARD


def test_esri_s_keys_mean_what_esri_means() -> None:
    expected = {
        "ModelName": "aerial-to-map",
        "Framework": "geo_p2p",
        "ModelFile": "aerial-to-map.safetensors",
        "ImageHeight": 256,
        "ImageWidth": 256,
        "ExtractBands": [3, 0],
        "n_channel": 1,
    }
    assert expected.items() <= {k: v for k, v in emd().items() if k != "geo_p2p"}.items()


def test_all_bands_are_extracted_where_none_were_chosen() -> None:
    assert emd(replace(CARD, bands=()))["ExtractBands"] == [0, 1]


def test_a_score_that_is_no_number_becomes_null() -> None:
    scores = {"psnr": math.inf, "bands": [math.nan, 1.0], "seams": {"r": -math.inf}}
    card = ModelCard.from_emd(emd(replace(CARD, metrics=scores)))
    assert card.metrics == {"psnr": None, "bands": [None, 1.0], "seams": {"r": None}}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (emd(MetaDataMode="Export_Tiles"), "exported chips"),
        (emd(Framework="arcgis.learn.models._inferencing"), "arcgis.learn.models._inferencing"),
        ({}, "framework None"),
        ([], "damaged"),
        (None, "damaged"),
        (own(format=2), "another version"),
        (own(format=None), "'format' is missing"),
        (own(stride=None), "damaged"),
        (own(halo=-1), "halo of -1"),
        (own(stride="wide"), "damaged"),
        (own(pixel_size=[1.0]), "damaged"),
        (own(bands=7), "damaged"),
        (own(target={}), "not a scaling"),
        (own(colour="blue"), "damaged"),
        (emd(geo_p2p=[1, 2]), "damaged"),
        (emd(geo_p2p=None), "damaged"),
        (emd(ImageHeight=0), "chips of 0 px"),
        ({k: v for k, v in emd().items() if k != "ImageHeight"}, "'ImageHeight' is missing"),
        ({k: v for k, v in emd().items() if k != "geo_p2p"}, "'geo_p2p' is missing"),
    ],
)
def test_what_is_no_card_of_ours_is_refused_in_one_line(document: Any, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        ModelCard.from_emd(document)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
