"""Laws of the measures: the published numbers, the mask, and streaming."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geo_p2p
from geo_p2p.errors import GeoP2PError
from geo_p2p.metrics import CONTEXT, ClassScores, ImageScores

NAMES = ("l1", "rmse", "psnr", "ssim", "hp_l1")
RANGES = [255.0, 80.0, 1000.0]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def pair(
    rows: int = 40, cols: int = 33, bands: int = 3, seed: int = 0, holes: float = 0.0
) -> tuple[Array, Array, Mask]:
    """Return a smooth truth, a noisy prediction of it, and a mask with `holes` invalid blots."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    waves = np.stack([np.sin(y / (3 + b)) + np.cos(x / (5 - b)) for b in range(bands)])
    spans = np.array((RANGES * bands)[:bands])[:, None, None]
    truth = (waves / 4 + 0.5) * spans
    predicted = truth + rng.normal(0, 0.05, truth.shape) * spans
    valid = np.ones((rows, cols), dtype=bool)
    for _ in range(round(holes)):
        row, col, size = rng.integers(0, rows), rng.integers(0, cols), rng.integers(1, 9)
        valid[row : row + size, col : col + size] = False
    return predicted, truth, valid


def scored(predicted: object, truth: object, valid: object, ranges: object = RANGES) -> dict:
    scores = ImageScores(ranges)
    scores.update(predicted, truth, valid)
    return scores.result()


def windows(rows: int, cols: int, core: int, context: int) -> Iterator[tuple]:
    """Yield (read slices, core slices inside them) of cores that partition rows x cols."""
    for top in range(0, rows, core):
        for left in range(0, cols, core):
            read, inner = [], []
            for start, length in ((top, rows), (left, cols)):
                stop = min(start + core, length)
                first = max(start - context, 0)
                read.append(slice(first, min(stop + context, length)))
                inner.append(slice(start - first, stop - first))
            yield tuple(read), tuple(inner)


def streamed(predicted, truth, valid, core: int, context: int, ranges=RANGES) -> dict:
    scores = ImageScores(ranges)
    for read, inner in windows(*valid.shape, core, context):
        scores.update(predicted[:, *read], truth[:, *read], valid[read], inner)
    return scores.result()


def test_ssim_and_psnr_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    predicted, truth, valid = pair()
    ours = scored(predicted, truth, valid)
    for band, span in enumerate(RANGES):
        theirs = metrics.structural_similarity(
            truth[band],
            predicted[band],
            data_range=span,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ours["bands"]["ssim"][band] == pytest.approx(theirs, rel=1e-10)
        psnr = metrics.peak_signal_noise_ratio(truth[band], predicted[band], data_range=span)
        assert ours["bands"]["psnr"][band] == pytest.approx(psnr, rel=1e-12)
    assert ours["ssim"] == pytest.approx(np.mean(ours["bands"]["ssim"]))
    spans = np.array(RANGES)[:, None, None]
    pooled = metrics.peak_signal_noise_ratio(truth / spans, predicted / spans, data_range=1)
    assert ours["psnr"] == pytest.approx(pooled, rel=1e-12)


def test_ssim_counts_exactly_the_wholly_valid_windows() -> None:
    predicted, truth, valid = pair(30, 28, bands=1, holes=4, seed=3)
    ours = scored(predicted, truth, valid, RANGES[:1])
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(5, 25):
        for col in range(5, 23):
            box = slice(row - 5, row + 6), slice(col - 5, col + 6)
            if not valid[box].all():
                continue
            p, t = predicted[0][box], truth[0][box]
            mp, mt = (weights * p).sum(), (weights * t).sum()
            vp, vt = (weights * (p - mp) ** 2).sum(), (weights * (t - mt) ** 2).sum()
            cov = (weights * (p - mp) * (t - mt)).sum()
            luminance = (2 * mp * mt + c1) / (mp**2 + mt**2 + c1)
            values.append(luminance * (2 * cov + c2) / (vp + vt + c2))
    assert 0 < len(values) < 20 * 18
    assert ours["ssim_pixels"] == len(values)
    assert ours["ssim"] == pytest.approx(np.mean(values), rel=1e-9)


def test_l1_and_rmse_are_means_over_valid_pixels_in_data_units() -> None:
    predicted, truth, valid = pair(holes=5)
    ours = scored(predicted, truth, valid)
    error = (predicted - truth)[:, valid]
    assert ours["l1"] == pytest.approx(np.abs(error).mean(), rel=1e-12)
    assert ours["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-12)
    assert ours["bands"]["l1"] == pytest.approx(np.abs(error).mean(axis=1), rel=1e-12)
    assert ours["bands"]["rmse"] == pytest.approx(np.sqrt((error**2).mean(axis=1)), rel=1e-12)
    assert ours["pixels"] == valid.sum()


@pytest.mark.parametrize("holes", [0, 6])
def test_hp_l1_is_the_naive_laplacian_on_minus_one_to_one(holes: int) -> None:
    predicted, truth, valid = pair(17, 21, holes=holes)
    total = np.zeros(3)
    for band, span in enumerate(RANGES):
        # Any affine map of the range onto [-1, 1] will do: the offset cancels.
        p, t = (2 * image[band] / span - 1 for image in (predicted, truth))
        d = np.pad(np.where(valid, p - t, 0), 1)
        for row, col in np.argwhere(valid):
            r, c = row + 1, col + 1
            around = d[r - 1, c] + d[r + 1, c] + d[r, c - 1] + d[r, c + 1]
            total[band] += abs(4 * d[r, c] - around)
    ours = scored(predicted, truth, valid)
    assert ours["bands"]["hp_l1"] == pytest.approx(total / valid.sum(), rel=1e-10)
    assert ours["hp_l1"] == pytest.approx(total.mean() / valid.sum(), rel=1e-10)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 50),
    cols=st.integers(1, 50),
    core=st.integers(3, 40),
    extra=st.integers(0, 4),
    holes=st.integers(0, 6),
    seed=st.integers(0, 99),
)
def test_streaming_equals_the_whole(rows, cols, core, extra, holes, seed) -> None:
    predicted, truth, valid = pair(rows, cols, holes=holes, seed=seed)
    if not valid.any():
        return
    whole = scored(predicted, truth, valid)
    parts = streamed(predicted, truth, valid, core, CONTEXT + extra)
    assert (parts["pixels"], parts["ssim_pixels"]) == (whole["pixels"], whole["ssim_pixels"])
    for name in NAMES:
        expected = whole["bands"][name]
        if expected[0] is None:
            assert parts["bands"][name] == expected
        else:
            assert parts["bands"][name] == pytest.approx(expected, rel=1e-9, abs=1e-12)
            assert parts[name] == pytest.approx(whole[name], rel=1e-9, abs=1e-12)


def test_context_short_of_five_pixels_loses_ssim_windows() -> None:
    predicted, truth, valid = pair()
    short = streamed(predicted, truth, valid, 10, 4)
    assert short["ssim_pixels"] < scored(predicted, truth, valid)["ssim_pixels"]


@settings(deadline=None, max_examples=25)
@given(
    holes=st.integers(1, 6),
    seed=st.integers(0, 99),
    junk=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -9999.0, 0.0]),
)
def test_what_lies_under_the_mask_changes_nothing(holes, seed, junk) -> None:
    predicted, truth, valid = pair(holes=holes, seed=seed)
    expected = scored(predicted, truth, valid)
    for image in (predicted, truth):
        spoiled = [each.copy() for each in (predicted, truth)]
        spoiled[0 if image is predicted else 1][:, ~valid] = junk
        assert scored(*spoiled, valid) == expected


def test_only_the_core_counts() -> None:
    predicted, truth, valid = pair()
    core = slice(10, 20), slice(7, 30)
    scores = ImageScores(RANGES)
    scores.update(predicted, truth, valid, core)
    error = (predicted - truth)[:, *core]
    assert scores.result()["pixels"] == 10 * 23
    assert scores.result()["l1"] == pytest.approx(np.abs(error).mean(), rel=1e-12)


def test_unsigned_differences_do_not_wrap() -> None:
    low, high = np.full((2, 1, 20, 20), [[[[3]]], [[[250]]]], dtype=np.uint8)
    assert scored(low, high, np.ones((20, 20)), 255)["l1"] == 247
    assert scored(high, low, np.ones((20, 20)), 255)["l1"] == 247


def test_ssim_keeps_its_digits_far_from_zero() -> None:
    predicted, truth, valid = pair(bands=1)
    c2 = (0.03 * 255) ** 2
    near = scored(predicted, truth, valid, 255.0)["ssim"]
    far = scored(predicted + 2.0**30, truth + 2.0**30, valid, 255.0)["ssim"]
    # Far from zero the luminance term is 1, so SSIM is contrast and structure alone. Twice as far
    # changes it no more; with raw second moments both are noise (2^60 against c2 = 58).
    farther = scored(predicted + 2.0**31, truth + 2.0**31, valid, 255.0)["ssim"]
    assert c2 < 60 and near <= far <= 1
    assert far == pytest.approx(farther, rel=1e-6)


def test_identical_images_score_none_decibels_and_the_result_is_json() -> None:
    _, truth, valid = pair()
    result = scored(truth, truth, valid)
    assert result["psnr"] is None and result["bands"]["psnr"] == [None] * 3
    assert (result["l1"], result["rmse"], result["hp_l1"]) == (0, 0, 0)
    assert result["ssim"] == pytest.approx(1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_ssim_is_none_where_no_window_is_whole_and_the_rest_stands() -> None:
    predicted, truth, valid = pair(10, 10)
    result = scored(predicted, truth, valid)
    assert result["ssim"] is None and result["bands"]["ssim"] == [None] * 3
    assert result["ssim_pixels"] == 0 and result["l1"] > 0
    json.dumps(result, allow_nan=False)


def test_the_result_says_how_it_was_made() -> None:
    result = scored(*pair())
    assert result["data_range"] == RANGES
    assert result["made"]["window"] == "gaussian 11, sigma 1.5"
    assert result["made"]["library"] == f"geo_p2p {geo_p2p.__version__}"


def test_one_range_serves_all_bands() -> None:
    predicted, truth, valid = pair()
    result = scored(predicted, truth, valid, 255.0)
    assert result == scored(predicted, truth, valid, [255.0] * 3)


def test_windows_without_a_valid_pixel_add_nothing() -> None:
    predicted, truth, valid = pair()
    scores = ImageScores(RANGES)
    scores.update(np.full_like(truth, np.nan), truth, np.zeros_like(valid))
    with pytest.raises(GeoP2PError, match="no valid pixel"):
        scores.result()
    scores.update(predicted, truth, valid)
    assert scores.result() == scored(predicted, truth, valid)


@pytest.mark.parametrize("ranges", [0, -1.0, np.nan, np.inf, [], [255, 0], [[1.0]]])
def test_a_range_that_cannot_be_is_refused(ranges: object) -> None:
    with pytest.raises(GeoP2PError, match="data_range"):
        ImageScores(ranges)


def test_what_does_not_fit_is_refused_and_not_counted() -> None:
    predicted, truth, valid = pair()
    scores = ImageScores(255.0)
    scores.update(predicted, truth, valid)
    before = scores.result()
    hole = truth.copy()
    hole[1, 4, 4] = np.nan
    for arrays, message in [
        ((predicted[:, 1:], truth, valid), "alike"),
        ((predicted, truth, valid[1:]), "alike"),
        ((predicted[0], truth[0], valid), "alike"),
        ((predicted[:2], truth[:2], valid), "2 bands, 3 expected"),
        ((hole, truth, valid), "NaN"),
        ((predicted, hole, valid), "NaN"),
    ]:
        with pytest.raises(GeoP2PError, match=message):
            scores.update(*arrays)
    assert scores.result() == before


def test_ranges_must_match_the_bands() -> None:
    with pytest.raises(GeoP2PError, match="3 bands, 2 expected"):
        ImageScores([1, 2]).update(*pair())


def classes(seed: int = 0, rows: int = 24, cols: int = 31) -> tuple:
    rng = np.random.default_rng(seed)
    truth = rng.choice([11, 21, 41, 95], size=(1, rows, cols)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.3, rng.choice([11, 21, 200]), truth)
    return predicted.astype(np.uint8), truth, rng.random((rows, cols)) < 0.9


def classified(predicted, truth, valid, values=(11, 21, 41, 90)) -> dict:
    scores = ClassScores(values)
    scores.update(predicted, truth, valid)
    return scores.result()


@pytest.mark.parametrize("seed", range(4))
def test_class_scores_are_those_of_brute_force(seed: int) -> None:
    predicted, truth, valid = classes(seed)
    result = classified(predicted, truth, valid)
    p, t = predicted[0][valid], truth[0][valid]
    assert result["accuracy"] == pytest.approx((p == t).mean())
    assert result["pixels"] == valid.sum() == np.sum(result["confusion"])
    assert result["classes"] == sorted({11, 21, 41, 90} | set(p.tolist()) | set(t.tolist()))
    ious = []
    for index, value in enumerate(result["classes"]):
        union = ((p == value) | (t == value)).sum()
        iou = ((p == value) & (t == value)).sum() / union if union else None
        assert result["iou"][index] == (None if iou is None else pytest.approx(iou))
        ious += [] if iou is None else [iou]
        for column, other in enumerate(result["classes"]):
            assert result["confusion"][index][column] == ((t == value) & (p == other)).sum()
    assert result["iou"][result["classes"].index(90)] is None
    assert result["miou"] == pytest.approx(np.mean(ious))
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_class_nobody_expected_is_an_error_and_never_dropped() -> None:
    truth = np.array([[[1, 1, 2, 9]]])
    predicted = np.array([[[1, 7, 2, 2]]])
    result = classified(predicted, truth, np.ones((1, 4), dtype=bool), values=[1, 2])
    assert result["pixels"] == 4 and result["accuracy"] == 0.5
    assert result["classes"] == [1, 2, 7, 9] and result["unexpected"] == [7, 9]
    assert result["iou"] == [0.5, 0.5, 0, 0] and result["miou"] == 0.25


@settings(deadline=None, max_examples=20)
@given(core=st.integers(1, 40), context=st.integers(0, 6), seed=st.integers(0, 99))
def test_class_streaming_equals_the_whole_and_the_mask_hides(core, context, seed) -> None:
    predicted, truth, valid = classes(seed)
    scores = ClassScores([11, 21, 41, 90])
    spoiled = np.where(valid, truth.astype(float), np.nan)
    for read, inner in windows(*valid.shape, core, context):
        scores.update(predicted[:, *read], spoiled[:, *read], valid[read], inner)
    assert scores.result() == classified(predicted, truth, valid)


def test_class_maps_that_are_none_are_refused() -> None:
    one = np.ones((1, 4, 4))
    valid = np.ones((4, 4), dtype=bool)
    scores = ClassScores([1])
    for arrays, message in [
        ((one * 1.5, one, valid), "whole numbers"),
        ((one, one * np.nan, valid), "whole numbers"),
        ((np.ones((2, 4, 4)), np.ones((2, 4, 4)), valid), "one band"),
        ((one, one[:, 1:], valid), "alike"),
    ]:
        with pytest.raises(GeoP2PError, match=message):
            scores.update(*arrays)
    with pytest.raises(GeoP2PError, match="no valid pixel"):
        scores.result()
