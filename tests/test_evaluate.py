"""Scores of rasters: those of the whole, on the ground that counts, whatever lies elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import COLOURS, blobs
from rasterio.crs import CRS
from rasters import opened, scales, seen_from, utm, warped, write

from geo_p2p import evaluate
from geo_p2p.chips import ChipFolder, export_chips
from geo_p2p.errors import AlignmentError, ChipError, GeoP2PError, RasterError
from geo_p2p.evaluate import chips_of, evaluate_rasters, scores_for
from geo_p2p.metrics import ClassScores, ImageScores

HERE = utm(160, 192)
TILE = 32


def shifted(values: np.ndarray, seed: int = 7) -> np.ndarray:
    """Return values as a translation might have them: off by a few."""
    off = np.random.default_rng(seed).integers(-9, 10, values.shape)
    return np.clip(values + off, 0, 255).astype(values.dtype)


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Return a function that writes a translated raster and the truth."""

    def make(
        predicted: np.ndarray, truth: np.ndarray, frame: Any = HERE, **options: Any
    ) -> tuple[Path, Path]:
        return (
            write(tmp_path / "predicted.tif", predicted, HERE, **options),
            write(tmp_path / "truth.tif", truth, frame, **options),
        )

    return make


@pytest.fixture
def chips(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that exports chips whose target is a file."""

    def make(truth: Path, **settings: Any) -> Path:
        src = write(tmp_path / "src.tif", blobs(1, *HERE.shape, seed=3), HERE)
        settings = {"tile_size": TILE, "stride": TILE, **settings}
        return export_chips(src, truth, tmp_path / "chips", **settings)

    return make


def close(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Tell whether two results agree in all that ``two`` holds, but for rounding."""
    numbers = {key: value for key, value in two.items() if not isinstance(value, str | dict)}
    return {key: one[key] for key in numbers} == {
        key: None if value is None else pytest.approx(value, rel=1e-9)
        for key, value in numbers.items()
    }


# ------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_they_are_those_of_the_whole_arrays(pair: Any, dtype: str) -> None:
    truth = blobs(2, *HERE.shape).astype(dtype)
    predicted = shifted(truth)
    valid = np.random.default_rng(0).random(HERE.shape) > 0.002
    valid[10:40, 20:60] = False
    files = pair(predicted, truth, mask=valid)
    if dtype == "uint8":
        ranges = [255.0, 255.0]
    else:  # robust ends of the truth
        ends = [np.percentile(band[valid], (0.1, 99.9)) for band in truth]
        ranges = [float(high - low) for low, high in ends]
    expected = ImageScores(ranges)
    expected.update(predicted, truth, valid)
    result = evaluate_rasters(*files)
    assert close(result, expected.result())
    assert result["split"] == "whole raster"
    assert result["pixels"] == valid.sum()


@pytest.mark.parametrize("block", [16, 48, 64, 208])
def test_they_do_not_depend_on_how_the_rasters_are_read(
    pair: Any, chips: Any, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    truth = blobs(1, *HERE.shape)
    files = pair(shifted(truth), truth)
    folder = chips(files[1])
    expected = [evaluate_rasters(*files), evaluate_rasters(*files, chips=folder)]
    monkeypatch.setattr(evaluate, "BLOCK", block)
    again = [evaluate_rasters(*files), evaluate_rasters(*files, chips=folder)]
    assert all(close(one, two) for one, two in zip(again, expected, strict=True))
    assert again[0]["ms_ssim_scales"] == 4
    assert again[1]["per_chip"] == expected[1]["per_chip"]


def test_the_ranges_of_a_large_truth_are_taken_from_a_sample(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = blobs(1, *HERE.shape).astype("uint16") * 100
    files = pair(truth, truth)
    exact = evaluate_rasters(*files)["data_range"][0]
    monkeypatch.setattr(evaluate, "SAMPLE", HERE.height * HERE.width // 16)
    sampled = evaluate_rasters(*files)["data_range"][0]
    assert sampled == pytest.approx(exact, rel=0.05)
    seen = sum(part.shape[1] for part in evaluate._sampled(evaluate.RasterSource(files[1])))
    assert seen <= HERE.height * HERE.width // 16


# ------------------------------------------------------------------ the ground that counts


def test_only_the_ground_of_the_validation_chips_counts(pair: Any, chips: Any) -> None:
    truth = blobs(1, *HERE.shape)
    predicted = shifted(truth)
    files = pair(predicted, truth)
    folder = chips(files[1], stride=TILE // 2)
    inside = np.zeros(HERE.shape, bool)
    for chip in chips_of(ChipFolder.open(folder), "val"):
        inside[HERE.window_of(chip.frame.bounds).toslices()] = True
    assert 0.02 < inside.mean() < 0.5
    result = evaluate_rasters(*files, chips=folder)
    expected = ImageScores([255.0])
    expected.update(predicted, truth, inside)
    assert close(result, expected.result())
    assert result["pixels"] == inside.sum()
    assert result["split"] == "val"

    elsewhere = np.where(inside, predicted, 255 - predicted)
    assert close(evaluate_rasters(*pair(elsewhere, truth), chips=folder), result)
    here = predicted.copy()
    here[:, inside] = 255 - here[:, inside]
    assert evaluate_rasters(*pair(here, truth), chips=folder)["l1"] > 2 * result["l1"]


def test_a_translation_on_another_lattice_is_scored_on_the_same_ground(
    pair: Any, chips: Any, tmp_path: Path
) -> None:
    truth = blobs(1, *HERE.shape)
    files = pair(truth, truth)
    folder = chips(files[1])
    near = evaluate_rasters(*files, chips=folder)
    fine = utm(320, 384, res=0.5)
    predicted = write(tmp_path / "fine.tif", truth.repeat(2, 1).repeat(2, 2), fine)
    far = evaluate_rasters(predicted, files[1], chips=folder)
    assert far["pixels"] == 4 * near["pixels"]


def test_each_part_can_be_scored_and_all_of_it(pair: Any, chips: Any) -> None:
    truth = blobs(1, *HERE.shape)
    files = pair(shifted(truth), truth)
    folder = chips(files[1])
    parts = {s: evaluate_rasters(*files, chips=folder, split=s) for s in ("train", "val", "all")}
    assert parts["train"]["pixels"] + parts["val"]["pixels"] == parts["all"]["pixels"]
    assert [part["split"] for part in parts.values()] == ["train", "val", "all"]


def test_ranges_are_those_of_the_training_chips(pair: Any, chips: Any) -> None:
    truth = blobs(1, *HERE.shape).astype("uint16")
    folder = chips(pair(truth, truth)[1])
    train, held = (chips_of(ChipFolder.open(folder), part) for part in ("train", "val"))
    low, high = np.percentile(np.concatenate([chip.y.ravel() for chip in train]), (0.1, 99.9))
    for chip in held:
        truth[:, *HERE.window_of(chip.frame.bounds).toslices()] = 60_000
    files = pair(truth, truth)
    folder = chips(files[1], overwrite=True)
    assert evaluate_rasters(*files, chips=folder)["data_range"] == [high - low]
    assert evaluate_rasters(*files)["data_range"] > [high - low]


def test_the_spread_is_that_of_the_chips_cut_out_of_the_raster(pair: Any, chips: Any) -> None:
    truth = blobs(2, *HERE.shape)
    predicted = shifted(truth)
    valid = np.ones(HERE.shape, bool)
    valid[3:60, 70:180] = False
    files = pair(predicted, truth, mask=valid)
    folder = chips(files[1], stride=TILE // 2, min_valid=0)
    parts = chips_of(ChipFolder.open(folder), "all")
    expected = []
    for chip in parts:
        at = HERE.window_of(chip.frame.bounds).toslices()
        one = ImageScores([255.0, 255.0])
        if valid[at].any():
            one.update(predicted[:, *at], truth[:, *at], valid[at])
            expected.append(one.result())
    assert len(expected) > 20
    result = evaluate_rasters(*files, chips=folder, split="all")
    for name, spread in result["per_chip"].items():
        fit = [one for one in expected if name != "ms_ssim" or one["ms_ssim_scales"] == 2]
        values = [one[name] for one in fit if one[name] is not None]
        assert spread == {
            "mean": pytest.approx(np.mean(values)),
            "min": pytest.approx(np.min(values)),
            "max": pytest.approx(np.max(values)),
            "sd": pytest.approx(np.std(values)),
            "chips": len(values),
            **({"scales": 2} if name == "ms_ssim" else {}),
        }
    assert result["ms_ssim_scales"] > 2


def test_a_chip_that_lies_askew_counts_its_own_ground_alone(pair: Any, chips: Any) -> None:
    there = seen_from(HERE, CRS.from_epsg(3035), 1.0, margin=0.1)
    folder = chips(pair(blobs(1, *HERE.shape), blobs(1, *HERE.shape))[1])
    parts = chips_of(ChipFolder.open(folder), "all")
    outlines = evaluate._outlines(parts, there)
    wrong = evaluate._mask(there.window, outlines[7:8])
    truth = np.full((1, *there.shape), 100, "uint8")
    predicted = write(folder.parent / "askew.tif", truth + 50 * wrong.astype("uint8"), there)
    flat = write(folder.parent / "flat.tif", truth, there)
    spread = evaluate_rasters(predicted, flat, chips=folder, split="all")["per_chip"]["l1"]
    assert (spread["max"], spread["min"]) == (50, 0)
    assert spread["mean"] == pytest.approx(50 / len(parts))


# ------------------------------------------------------------------ another lattice, classes


def test_the_truth_is_warped_onto_the_translation(pair: Any) -> None:
    there = seen_from(HERE, CRS.from_epsg(3035), 1.0, margin=0.1)
    field = blobs(1, *there.shape, seed=2)
    here = warped(field, there, HERE, "bilinear", **scales(there, HERE))
    result = evaluate_rasters(*pair(here, field, frame=there))
    assert result["l1"] < 0.1  # the warp's own tolerance
    assert result["pixels"] == HERE.height * HERE.width
    assert evaluate_rasters(*pair(np.roll(here, 1, 2), field, frame=there))["l1"] > 3


def test_bands_of_the_truth_are_chosen_by_number(pair: Any) -> None:
    truth = blobs(3, *HERE.shape)
    files = pair(truth[[2, 0]], truth)
    with pytest.raises(RasterError, match=r"has 2 bands and .*truth.tif 3: choose.*--bidx"):
        evaluate_rasters(*files)
    assert evaluate_rasters(*files, truth_bidx=(3, 1))["l1"] == 0
    assert evaluate_rasters(*files, truth_bidx=(1, 3))["l1"] > 1


def test_classes_are_scored_as_classes(pair: Any) -> None:
    truth = np.array([1, 2, 5], "uint8")[np.digitize(blobs(1, *HERE.shape), (110, 150))]
    predicted = truth.copy()
    predicted[:, :40] = 2
    valid = np.ones(HERE.shape, bool)
    valid[:, :9] = False
    files = pair(predicted, truth, mask=valid, colors=COLOURS)
    expected = ClassScores([1, 2, 5])
    expected.update(predicted, truth, valid)
    result = evaluate_rasters(*files)
    assert result == {**expected.result(), "per_chip": None, "split": "whole raster"}
    assert 0.5 < result["accuracy"] < 1


def test_class_numbers_of_a_truth_without_a_palette_are_not_blended(
    pair: Any, tmp_path: Path
) -> None:
    there = seen_from(HERE, CRS.from_epsg(3035), 0.4, margin=0.1)
    field = np.array([1, 2, 5], "uint8")[np.digitize(blobs(1, *there.shape), (110, 150))]
    here = warped(field, there, HERE, "nearest")
    predicted, _ = pair(here, here, colors=COLOURS)
    truth = write(tmp_path / "plain.tif", field, there)
    result = evaluate_rasters(predicted, truth)
    assert result["unexpected"] == []
    assert result["accuracy"] > 0.99


# ------------------------------------------------------------------ refusals


def test_rasters_that_share_no_ground_are_refused(pair: Any, tmp_path: Path) -> None:
    values = blobs(1, *HERE.shape)
    far = HERE.crop(HERE.window)
    far = type(far)(*far.shape, far.transform.translation(1e5, 0) * far.transform, far.crs)
    with pytest.raises(AlignmentError, match="shares no ground"):
        evaluate_rasters(*pair(values, values, frame=far))


def test_a_translation_that_holds_none_of_the_ground_is_refused(
    pair: Any, chips: Any, tmp_path: Path
) -> None:
    truth = blobs(1, *HERE.shape)
    _, file = pair(truth, truth)
    folder = chips(file)
    window = HERE.crop(HERE.window_of(HERE.bounds))
    hole = np.zeros(HERE.shape, bool)
    predicted = write(tmp_path / "nothing.tif", truth, window, mask=hole)
    with pytest.raises(GeoP2PError, match="no valid pixel to score"):
        evaluate_rasters(predicted, file, chips=folder)


def test_parts_that_are_not_there_are_refused(pair: Any, chips: Any) -> None:
    truth = blobs(1, *HERE.shape)
    files = pair(truth, truth)
    folder = chips(files[1], split="none")
    with pytest.raises(ChipError, match="holds no chips in its part 'val'"):
        evaluate_rasters(*files, chips=folder)
    with pytest.raises(ChipError, match="split 'dev': choose one of train, val, test, all"):
        evaluate_rasters(*files, chips=folder, split="dev")
    (folder / "geo_p2p.json").unlink()
    with pytest.raises(ChipError, match="carry no split; take split 'all'"):
        evaluate_rasters(*files, chips=folder, split="train")
    assert evaluate_rasters(*files, chips=folder, split="all")["l1"] == 0


def test_chips_of_another_target_are_refused(pair: Any, chips: Any) -> None:
    truth = blobs(2, *HERE.shape).astype("uint16")
    files = pair(truth, truth)
    folder = chips(files[1], additional_bidx=(2,))
    with pytest.raises(RasterError, match="2 bands, but the chips' target has 1"):
        evaluate_rasters(*files, chips=folder)


def test_a_missing_raster_is_refused_by_name(pair: Any, tmp_path: Path) -> None:
    truth = blobs(1, *HERE.shape)
    predicted, _ = pair(truth, truth)
    with pytest.raises(RasterError, match="gone.tif: no such file"):
        evaluate_rasters(predicted, tmp_path / "gone.tif")


def test_the_measures_suit_the_target() -> None:
    from pairs import classed, inverted, scalings

    valid = np.ones((16, 16), bool)
    measured = []
    for target in (scalings(classed(1), colors=COLOURS)[1], scalings(inverted(1))[1]):
        scores = scores_for(target)
        scores.update(valid[None], valid[None], valid)
        measured.append(tuple(scores.result()["per_chip"]))
    assert measured == [ClassScores.MEASURES, ImageScores.MEASURES]


def test_what_is_read_is_left_as_it_was(pair: Any) -> None:
    truth = blobs(1, *HERE.shape)
    files = pair(shifted(truth), truth)
    before = [path.read_bytes() for path in files]
    evaluate_rasters(*files)
    assert [path.read_bytes() for path in files] == before
    assert sorted(p.name for p in files[0].parent.iterdir()) == ["predicted.tif", "truth.tif"]
    with opened(files[0]) as dataset:
        assert dataset.count == 1
