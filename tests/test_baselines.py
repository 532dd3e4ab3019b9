"""What needs no network: the best constant, and the best map from one pixel to one pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import COLOURS, SIDE, blobs, chip, classed, inverted, scalings
from rasters import utm, write

from geo_p2p import baselines
from geo_p2p.baselines import CopiedInput, MedianColour, PixelRegression
from geo_p2p.chips import Chip
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import evaluate_rasters
from geo_p2p.predict import predict
from geo_p2p.raster import RasterSource


def skewed(count: int) -> list[Chip]:
    """Return pairs whose target has two bands of unlike, skewed values; some holes."""
    draw = np.random.default_rng(0)
    pairs = []
    for place in range(count):
        x = blobs(2, SIDE, SIDE, seed=place)
        y = draw.gamma(1.5, 20, (2, SIDE, SIDE)).clip(0, 255).astype("uint8")
        valid = draw.random((SIDE, SIDE)) > 0.2
        y[:, ~valid] = 255
        pairs.append(chip(x, y, valid, place))
    return pairs


def scaled(pairs: list[Chip], both: Any, side: int) -> np.ndarray:
    arrays = [both[side].forward((pair.x, pair.y)[side], pair.valid) for pair in pairs]
    return np.stack(arrays)


def l1(model: Any, pairs: list[Chip], both: Any) -> float:
    valid = np.stack([pair.valid for pair in pairs])[:, None]
    off = np.abs(model(scaled(pairs, both, 0), 0) - scaled(pairs, both, 1))
    return float(off[np.broadcast_to(valid, off.shape)].mean())


def test_the_median_is_the_best_constant_in_l1() -> None:
    pairs = skewed(4)
    both = scalings(pairs)
    model = MedianColour(pairs, both)
    out = model(np.zeros((2, 2, 8, 9), "float32"), 0)
    assert out.shape == (2, 2, 8, 9)
    assert out.dtype == np.float32
    assert (out == out[:1, :, :1, :1]).all()
    best = l1(model, pairs, both)
    for band in range(2):
        for step in (-0.02, 0.02):
            model._colour[band] += np.float32(step)
            assert l1(model, pairs, both) > best
            model._colour[band] -= np.float32(step)
    values = np.concatenate([pair.y[:, pair.valid] for pair in pairs], 1)
    assert both[1].inverse(out[0])[:, 0, 0].tolist() == np.median(values, 1).tolist()


def test_the_regression_learns_a_map_from_pixel_to_pixel() -> None:
    pairs, held = inverted(6), inverted(2, seed=50)
    both = scalings(pairs)
    model = PixelRegression(pairs, both)
    assert l1(model, held, both) < 0.1 * l1(MedianColour(pairs, both), held, both)
    out = model(scaled(held, both, 0), 0)
    assert out.shape == (2, 1, SIDE, SIDE)
    assert out.dtype == np.float32
    one = model(scaled(held, both, 0)[:, :, 5:6, 7:8], 0)
    assert np.array_equal(one, out[:, :, 5:6, 7:8])  # it sees nothing around a pixel


def test_invalid_pixels_teach_nothing() -> None:
    pairs = skewed(3)
    both = scalings(pairs)
    other = [chip(p.x, np.where(p.valid, p.y, 3).astype("uint8"), p.valid) for p in pairs]
    x = scaled(pairs, both, 0)
    for make in (MedianColour, PixelRegression):
        assert np.array_equal(make(pairs, both)(x, 0), make(other, both)(x, 0))


def test_a_large_set_is_thinned_evenly_and_pairs_stay_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = inverted(8)
    both = scalings(pairs)
    monkeypatch.setattr(baselines, "SAMPLE", 1000)
    x = baselines._pixels(pairs, both[0], target=False)
    y = baselines._pixels(pairs, both[1], target=True)
    assert 700 < len(x) == len(y) < 1500
    assert np.abs(x[:, :1] + y).max() < 1e-6
    whole = np.concatenate([image.reshape(2, -1) for image in scaled(pairs, both, 0)], 1)
    assert np.abs(x.mean(0) - whole.mean(1)).max() < 0.05


def test_classes_are_answered_with_classes() -> None:
    pairs = classed(4, ends=(100, 126))  # the last is the most frequent, but not a majority
    both = scalings(pairs, colors=COLOURS)
    x, truth = scaled(pairs, both, 0), np.stack([pair.y for pair in pairs])
    valid = np.stack([pair.valid for pair in pairs])[:, None]
    numbers, counts = np.unique(truth[valid], return_counts=True)
    most = both[1].inverse(MedianColour(pairs, both)(x[:1], 0)[0])
    assert numbers[counts.argmax()] == 5
    assert counts.max() < counts.sum() / 2
    assert (most == 5).all()
    model = PixelRegression(pairs, both)
    answer = np.stack([both[1].inverse(scores) for scores in model(x, 0)])
    assert (answer == truth)[valid].mean() > 0.97


@pytest.mark.parametrize("make", [MedianColour, PixelRegression])
def test_a_fingerprint_follows_what_was_learned(make: Any) -> None:
    pairs = inverted(3)
    both = scalings(pairs)
    first = make(pairs, both).fingerprint
    assert make(pairs, both).fingerprint == first
    assert make(inverted(3, seed=9), both).fingerprint != first


def test_their_names_differ() -> None:
    pairs = inverted(2)
    both = scalings(pairs)
    models = MedianColour(pairs, both), PixelRegression(pairs, both)
    assert models[0].fingerprint != models[1].fingerprint
    assert [model.card.network for model in models] == ["median", "regression"]


def test_they_are_predicted_and_scored_as_any_model_is(tmp_path: Path) -> None:
    pairs = inverted(4)
    both = scalings(pairs)
    values = blobs(2, 70, 50, seed=90)
    src = write(tmp_path / "src.tif", values, utm(70, 50))
    truth = write(tmp_path / "truth.tif", 255 - values[:1], utm(70, 50))
    found = {}
    for model in (MedianColour(pairs, both), PixelRegression(pairs, both)):
        dst = tmp_path / f"{model.card.network}.tif"
        assert predict(model, RasterSource(src), dst).tile_safe
        found[model.card.network] = evaluate_rasters(dst, truth)["l1"]
    assert found["regression"] < 4
    assert found["median"] > 40


def test_a_copied_input_is_the_input_over_the_target_s_range() -> None:
    pairs = inverted(2, bands=(2, 2))
    both = scalings(pairs)
    x = scaled(pairs, both, 0)
    assert np.array_equal(CopiedInput(both)(x, 0), x)
    assert np.array_equal(both[1].inverse(CopiedInput(both)(x, 0)[0]), pairs[0].x)


def test_bands_of_another_number_are_copied_by_their_mean() -> None:
    pairs = inverted(2, bands=(2, 1))
    both = scalings(pairs)
    x = scaled(pairs, both, 0)
    out = CopiedInput(both)(x, 0)
    assert out.shape == (2, 1, SIDE, SIDE)
    assert np.allclose(out[:, 0], (x[:, 0] + x[:, 1]) / 2)


def test_an_input_cannot_be_copied_into_classes() -> None:
    with pytest.raises(ModelError, match="cannot be copied into classes"):
        CopiedInput(scalings(classed(2), colors=COLOURS))
