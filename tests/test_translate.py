"""Translating and scoring with a model on disk: the right bands, fair warnings, right numbers."""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from pairs import COLOURS, SIDE, blobs, classed, inverted, scalings
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasters import utm, write, write_unplaced

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.chips import Chip, ChipFolder, export_chips
from geo_p2p.errors import ChipError, ModelError, RasterError
from geo_p2p.metrics import ClassScores, ImageScores
from geo_p2p.model_file import Translator, save_model
from geo_p2p.networks import build_generator, initialise
from geo_p2p.predict import PredictConfig
from geo_p2p.raster import RasterSource
from geo_p2p.translate import predict_raster, translate
from geo_p2p.translate.scoring import evaluate_model, translate_chips

TWO = Scaling("uint8", (0.0,) * 2, (255.0,) * 2)
ONE = Scaling("uint8", (0.0,), (255.0,))


def translator(x: Scaling = TWO, y: Scaling = ONE, **changes: Any) -> Translator:
    head = "logits" if y.classes else "tanh"
    net = build_generator("unet", x.channels, y.channels, halvings=2, ngf=4, head=head)
    initialise(net, torch.Generator().manual_seed(0))
    for parameter in net.parameters():
        parameter.data *= 5
    fields = {"stride": 4, "halo": 8, "tile_safe": True, "crs": "EPSG:32633", **changes}
    card = ModelCard(x, y, SIDE, "unet", net.arguments, **fields)
    return Translator(net, card, "cpu")


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """Return a raster of four bands."""
    four = blobs(4, 40, 50)  # and no alpha, which the fourth of four would be taken for
    return write(tmp_path / "big.town.tif", four, utm(40, 50), photometric="minisblack")


def values(path: Path) -> np.ndarray:
    return RasterSource(path).read()[0]


def expected(model: Translator, src: Path, bidx: tuple[int, ...], dst: Path) -> np.ndarray:
    translate(model, src, dst, PredictConfig(), bidx=bidx, overwrite=True)
    return values(dst)


# ------------------------------------------------------------------ rasters


def test_without_a_name_the_output_lies_in_the_working_directory(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = predict_raster(src, model=translator(), bidx=(1, 2))
    assert made == Path("big.town_translated.tif")
    assert made.exists()
    with pytest.raises(RasterError, match="exists already"):
        predict_raster(src, model=translator(), bidx=(1, 2))
    assert predict_raster(src, model=translator(), bidx=(1, 2), overwrite=True) == made


def test_a_model_is_found_by_path_or_name_or_is_the_newest(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    model = translator(bands=(1, 2))
    save_model(Path("models/town"), model.generator, model.card)
    truth = expected(model, src, (1, 2), tmp_path / "o.tif")
    caplog.clear()
    for told in ("models/town", "town", Path("models/town/town.emd")):
        predict_raster(src, "o.tif", model=told, overwrite=True)
        assert np.array_equal(values(tmp_path / "o.tif"), truth)
    assert caplog.text == ""
    predict_raster(src, "o.tif", overwrite=True)
    assert "model: models/town" in caplog.text
    with pytest.raises(ModelError, match="no such model"):
        predict_raster(src, "o.tif", model="nowhere", overwrite=True)


def test_settings_reach_the_prediction(src: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    settings = {"block_size": 16, "dtype": "float32", "keep_parts": True}
    predict_raster(
        src,
        tmp_path / "o.tif",
        model=translator(),
        bidx=(1, 2),
        progress=lambda *n: told.append(n),
        **settings,
    )
    assert told[-1] == (told[-1][1],) * 2
    assert told[-1][1] == values(tmp_path / "o.tif")[0].size
    assert values(tmp_path / "o.tif").dtype == np.float32
    assert (tmp_path / "o.tif.parts").exists()
    with pytest.raises(TypeError, match="no_such_setting"):
        predict_raster(src, tmp_path / "p.tif", model=translator(), no_such_setting=1)


def test_the_bands_are_those_trained_on_where_the_raster_has_more(
    src: Path, tmp_path: Path
) -> None:
    model = translator(bands=(4, 2))
    made = translate(model, src, tmp_path / "o.tif", PredictConfig()).output
    assert np.array_equal(values(made), expected(model, src, (4, 2), tmp_path / "e.tif"))
    assert not np.array_equal(values(made), expected(model, src, (2, 4), tmp_path / "e.tif"))


def test_bands_asked_for_go_before_those_trained_on(src: Path, tmp_path: Path) -> None:
    model = translator(bands=(4, 2))
    made = translate(model, src, tmp_path / "o.tif", PredictConfig(), bidx=(1, 3)).output
    other = translator()
    assert np.array_equal(values(made), expected(other, src, (1, 3), tmp_path / "e.tif"))


def test_a_raster_of_as_many_bands_as_the_model_takes_is_taken_as_it_is(
    src: Path, tmp_path: Path
) -> None:
    two = write(tmp_path / "two.tif", values(src)[[3, 1]], utm(40, 50))
    model = translator(bands=(4, 2))
    made = translate(model, two, tmp_path / "o.tif", PredictConfig()).output
    assert np.array_equal(values(made), expected(model, src, (4, 2), tmp_path / "e.tif"))
    with pytest.raises(ModelError, match="4 bands, but the model takes 2; choose them by number"):
        translate(translator(), src, tmp_path / "p.tif", PredictConfig())


def test_files_that_come_one_by_one_stack_as_bands(src: Path, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.tif", values(src)[[i]], utm(40, 50)) for i in range(3)]

    def stream() -> Iterator[Path]:
        yield from files

    model = translator(bands=(3, 1))
    made = translate(model, stream(), tmp_path / "o.tif", PredictConfig()).output
    assert np.array_equal(values(made), expected(model, src, (3, 1), tmp_path / "e.tif"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pixel_size": (1.0, 1.0)}, ""),
        ({"pixel_size": (1.2, 1.2)}, ""),
        ({"pixel_size": (0.25, 0.25)}, "pixels of 1 are 4 times those the model was trained on"),
        ({"pixel_size": (2.0, 2.0)}, "pixels of 1 are 0.5 times"),
        ({"pixel_size": (9e-6, 9e-6), "crs": "EPSG:4326"}, "1 m are 1.5 times .*0.6715 m.*--res m"),
        ({"pixel_size": (0.25, 0.25), "crs": "EPSG:3035"}, "pixels of 1 m are 4 times .*0.25 m"),
        ({"pixel_size": (1.1, 1.1), "crs": "EPSG:3035"}, ""),
        ({"pixel_size": (9.0, 9.0), "crs": "tmerc"}, ""),  # of no known unit
        ({"pixel_size": None}, ""),
        ({"tile_safe": False}, "tiles cannot agree exactly: they are blended"),
    ],
)
def test_the_user_is_warned_of_what_the_model_has_not_seen(
    src: Path, tmp_path: Path, caplog: Any, changes: dict[str, Any], said: str
) -> None:
    predict_raster(src, tmp_path / "o.tif", model=translator(**changes), bidx=(1, 2))
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == bool(said)
    assert re.search(said, "".join(warnings))


def test_a_raster_placed_by_points_is_said_to_be(tmp_path: Path, caplog: Any) -> None:
    frame = utm(30, 30)
    corners = [(0, 0), (0, 30), (30, 0), (30, 30)]
    points = [GroundControlPoint(r, c, *(frame.transform * (c, r))) for r, c in corners]
    path = tmp_path / "points.tif"
    write_unplaced(path, blobs(2, 30, 30), gcps=(points, CRS.from_epsg(32633)))
    predict_raster(path, tmp_path / "o.tif", model=translator())
    assert "points.tif is placed by control points" in caplog.text
    assert RasterSource(tmp_path / "o.tif").frame.transform.almost_equals(frame.transform)
    assert isinstance(frame.transform, Affine)


# ------------------------------------------------------------------ chips


@pytest.fixture
def chips(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that exports chips, in two parts."""

    def make(y: np.ndarray | None = None, x: np.ndarray | None = None, **options: Any) -> Path:
        x = blobs(2, 128, 192) if x is None else x
        y = 255 - x[:1] if y is None else y
        src = write(tmp_path / "x.tif", x, utm(128, 192))
        truth = write(tmp_path / "y.tif", y, utm(128, 192), **options)
        return export_chips(src, truth, tmp_path / "chips", tile_size=SIDE, stride=SIDE)

    return make


def by_hand(model: Translator, pairs: list[Chip], scores: Any) -> dict[str, Any]:
    for pair in pairs:
        x = model.card.input.forward(pair.x, pair.valid)
        with torch.no_grad():
            out = model.generator(torch.from_numpy(x)[None])[0].numpy()
        scores.update(model.card.target.inverse(out), pair.y, pair.valid)
    return scores.result()


@pytest.mark.parametrize("split", ["train", "val", "all"])
def test_a_model_is_scored_on_the_chips_of_a_part(chips: Any, split: str) -> None:
    folder, model, told = chips(), translator(), []
    result = evaluate_model(model, folder, split=split, progress=lambda *n: told.append(n))
    opened = ChipFolder.open(folder)
    names = opened.names if split == "all" else (opened.split or {})[split]
    pairs = [opened.read(name) for name in names]
    assert {**by_hand(model, pairs, ImageScores([255.0])), **result} == result
    assert result["split"] == split
    assert result["chips"] == len(pairs)
    assert told == [(n, len(pairs)) for n in range(1, len(pairs) + 1)]


def test_a_model_of_classes_is_scored_by_classes(chips: Any) -> None:
    y = np.array([1, 2, 5], "uint8")[np.digitize(blobs(1, 128, 192), (110, 150))]
    folder = chips(y, colors=COLOURS)
    model = translator(y=scalings(classed(3), colors=COLOURS)[1])
    result = evaluate_model(model, folder)
    opened = ChipFolder.open(folder)
    pairs = [opened.read(name) for name in (opened.split or {})["val"]]
    assert {**by_hand(model, pairs, ClassScores([1, 2, 5])), **result} == result


def test_a_model_on_disk_gives_the_same_scores(
    chips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = translator()
    save_model(Path("models/town"), model.generator, model.card)
    folder = chips()
    assert evaluate_model("town", folder, device="cpu") == evaluate_model(model, folder)


def test_chips_of_other_bands_or_sizes_are_refused(chips: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pairs of 2 and 1 bands, but the model translates 2 into"):
        evaluate_model(translator(y=TWO), chips())
    with pytest.raises(ChipError, match="choose one of train, val, test, all"):
        evaluate_model(translator(), tmp_path / "chips", split="dev")
    with pytest.raises(ChipError, match="no such folder"):
        evaluate_model(translator(), tmp_path / "nowhere")


def test_chips_come_out_in_the_target_s_own_type_and_unit() -> None:
    target = Scaling("int16", (-100.0,), (400.0,))
    model = translator(y=target)
    pairs = inverted(3)
    out = list(translate_chips(model, pairs))
    assert [(image.shape, image.dtype) for image in out] == 3 * [((1, SIDE, SIDE), np.int16)]
    assert out[0].min() >= -100
    assert out[0].max() <= 400
    assert not np.array_equal(out[0], out[1])
