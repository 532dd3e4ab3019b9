"""Laws of MS-SSIM, SAM and ERGAS, and of scores that spread from chip to chip."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from geo_p2p.errors import GeoP2PError
from geo_p2p.metrics import CONTEXT, STEP, ChipScores, ClassScores, ImageScores

RANGES = [200.0, 50.0, 1000.0]
PUBLISHED = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
FIVE_SCALES = 176
"""Side of the smallest image that has five scales: 11 windows of 16 pixels."""

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def pair(
    rows: int, cols: int, bands: int = 2, seed: int = 0, holes: int = 0, noise: float = 0.05
) -> tuple[Array, Array, Mask]:
    """Return a noisy prediction, the truth with detail at every scale, and a mask with blots."""
    rng = np.random.default_rng(seed)
    spans = np.array(RANGES[:bands])[:, None, None]
    truth = np.full((bands, rows, cols), 0.5)
    for side in (1, 4, 16, 64):
        coarse = rng.normal(0, 0.1, (bands, -(-rows // side), -(-cols // side)))
        truth += coarse.repeat(side, 1).repeat(side, 2)[:, :rows, :cols]
    valid = np.ones((rows, cols), dtype=bool)
    for _ in range(holes):
        row, col, size = rng.integers(0, rows), rng.integers(0, cols), rng.integers(1, 9)
        valid[row : row + size, col : col + size] = False
    predicted = truth * 0.9 + rng.normal(0, noise, truth.shape)
    return predicted * spans, truth * spans, valid


def scored(predicted: Any, truth: Any, valid: Any = None, ranges: Any = None) -> dict[str, Any]:
    truth = np.asarray(truth)
    scores = ImageScores(RANGES[: len(truth)] if ranges is None else ranges)
    scores.update(predicted, truth, np.ones(truth.shape[1:], bool) if valid is None else valid)
    return scores.result()


# ------------------------------------------------------------------ MS-SSIM


def halved(image: Array) -> Array:
    """Return the means of 2 x 2 pixels; NaN wherever one of them is."""
    rows, cols = (side // 2 * 2 for side in image.shape)
    return sum(image[i:rows:2, j:cols:2] for i in (0, 1) for j in (0, 1)) / 4


def plain_ms_ssim(p: Array, t: Array, span: float, scales: int) -> float:
    """Wang, Simoncelli and Bovik 2003, equation 7, window by window; NaN is invalid."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    exponents = np.array(PUBLISHED[:scales])
    exponents /= 1 if scales == 5 else exponents.sum()
    product = 1.0
    for scale, exponent in enumerate(exponents, start=1):
        a, b = (sliding_window_view(image, (11, 11)) for image in (p, t))
        whole = np.isfinite(a * b).all((2, 3))
        a, b = a[whole], b[whole]
        mean_a, mean_b = ((window * each).sum((1, 2)) for each in (a, b))
        away_a, away_b = a - mean_a[:, None, None], b - mean_b[:, None, None]
        variances = (window * (away_a**2 + away_b**2)).sum((1, 2))
        each = (2 * (window * away_a * away_b).sum((1, 2)) + c2) / (variances + c2)
        if scale == scales:
            each = each * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        product *= max(float(each.mean()), 0) ** exponent
        p, t = halved(p), halved(t)
    return product


@pytest.mark.parametrize(
    ("rows", "cols", "holes", "scales"),
    [
        (FIVE_SCALES, FIVE_SCALES + 15, 0, 5),
        (FIVE_SCALES - 1, 200, 0, 4),
        (50, 47, 0, 3),
        (60, 71, 3, 3),
        (21, 40, 0, 1),
    ],
)
def test_ms_ssim_is_the_published_formula(rows: int, cols: int, holes: int, scales: int) -> None:
    predicted, truth, valid = pair(rows, cols, holes=holes, seed=4)
    result = scored(predicted, truth, valid)
    assert result["ms_ssim_scales"] == scales
    spoiled = [np.where(valid, image, np.nan) for image in (predicted, truth)]
    expected = [plain_ms_ssim(*bands, scales) for bands in zip(*spoiled, RANGES, strict=False)]
    assert result["bands"]["ms_ssim"] == pytest.approx(expected, rel=1e-9)
    assert result["ms_ssim"] == pytest.approx(np.mean(expected), rel=1e-9)
    assert 0.3 < result["ms_ssim"] < 0.999


def test_ms_ssim_of_flat_images_is_the_luminance_of_the_coarsest_scale() -> None:
    low, high = 60.0, 90.0
    flat = np.ones((1, FIVE_SCALES, FIVE_SCALES))
    c1 = (0.01 * RANGES[0]) ** 2
    luminance = (2 * low * high + c1) / (low**2 + high**2 + c1)
    assert scored(flat * low, flat * high)["ms_ssim"] == pytest.approx(luminance**0.1333)


def test_ms_ssim_at_one_scale_is_ssim() -> None:
    result = scored(*pair(21, 21))
    assert result["ms_ssim_scales"] == 1
    assert result["ms_ssim"] == pytest.approx(result["ssim"])


def test_identical_images_score_full_marks() -> None:
    _, truth, valid = pair(FIVE_SCALES, FIVE_SCALES, holes=2)
    result = scored(truth, truth, valid)
    assert result["ms_ssim"] == pytest.approx(1)
    assert result["sam"] == result["ergas"] == 0


def test_an_inverted_image_scores_nothing_and_not_nan() -> None:
    _, truth, _ = pair(FIVE_SCALES, FIVE_SCALES, bands=1)
    result = scored(RANGES[0] - truth, truth)
    assert result["ssim"] < 0
    assert result["ms_ssim"] == 0


def test_without_a_window_there_is_no_ms_ssim() -> None:
    result = scored(*pair(10, 30))
    assert result["ms_ssim"] is None
    assert result["ms_ssim_scales"] == 0
    json.dumps(result, allow_nan=False)


# ------------------------------------------------------------------ spectra


@settings(deadline=None, max_examples=25)
@given(bands=st.integers(2, 6), seed=st.integers(0, 99))
def test_sam_is_the_arc_cosine_of_the_spectra(bands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, t = rng.normal(0, 100, (2, bands, 9, 7))
    valid = rng.random((9, 7)) < 0.8
    cosine = (p * t).sum(0) / np.linalg.norm(p, axis=0) / np.linalg.norm(t, axis=0)
    expected = np.degrees(np.arccos(cosine[valid])).mean()
    assert scored(p, t, valid, 255)["sam"] == pytest.approx(expected, rel=1e-9)


def test_sam_knows_right_angles_and_brightness_does_not_turn_a_spectrum() -> None:
    east, north = np.zeros((2, 2, 4, 4))
    east[0], north[1] = 3, 8
    assert scored(east, north)["sam"] == pytest.approx(90)
    assert scored(-east, east)["sam"] == pytest.approx(180)
    _, truth, _ = pair(20, 20, bands=3)
    # An arc cosine would give 1e-6 degrees.
    assert scored(truth * 1.7, truth)["sam"] < 1e-12


def test_spectra_of_norm_zero_are_left_out_and_counted() -> None:
    predicted, truth, valid = pair(12, 12, holes=1, seed=2)
    valid[:3, :4] = True
    expected = valid.copy()
    predicted[:, 0, :3] = 0
    truth[:, 1, :2] = 0
    expected[0, :3] = expected[1, :2] = False
    result = scored(predicted, truth, valid)
    assert result["sam_pixels"] == expected.sum() == result["pixels"] - 5
    assert result["sam"] == scored(predicted, truth, expected)["sam"]
    assert scored(truth * 0, truth)["sam"] is None


def test_one_band_has_no_spectra() -> None:
    result = scored(*pair(12, 12, bands=1))
    assert (result["sam"], result["sam_pixels"]) == (None, 0)


def test_ergas_is_the_published_formula_at_the_ratio_one() -> None:
    predicted, truth, valid = pair(30, 33, bands=3, holes=4)
    expected = 0.0
    for p, t in zip(predicted[:, valid], truth[:, valid], strict=True):
        expected += np.mean((p - t) ** 2) / np.mean(t) ** 2 / 3
    assert scored(predicted, truth, valid)["ergas"] == pytest.approx(100 * expected**0.5)


def test_an_offset_is_its_own_rmse_and_its_share_of_the_level() -> None:
    level = np.array([100.0, 20.0])[:, None, None] * np.ones((2, 16, 16))
    result = scored(level + 5, level)
    assert result["rmse"] == pytest.approx(5)
    assert result["bands"]["rmse"] == pytest.approx([5, 5])
    assert result["ergas"] == pytest.approx(100 * np.sqrt((0.05**2 + 0.25**2) / 2))


def test_a_band_of_mean_zero_has_no_ergas() -> None:
    truth = np.ones((2, 16, 16))
    truth[1] = 0
    for predicted in (truth + 1, truth):
        result = scored(predicted, truth)
        assert result["ergas"] is None
        json.dumps(result, allow_nan=False)


# ------------------------------------------------------------------ blocks


def blocks(rows: int, cols: int, core: int, context: int) -> Iterator[tuple[Any, Any]]:
    """Yield (read slices, core slices inside them) of cores that partition rows x cols."""
    for top in range(0, rows, core):
        for left in range(0, cols, core):
            read, inner = [], []
            for start, length in ((top, rows), (left, cols)):
                stop, first = min(start + core, length), max(start - context, 0)
                read.append(slice(first, min(stop + context, length)))
                inner.append(slice(start - first, stop - first))
            yield tuple(read), tuple(inner)


def in_blocks(
    predicted: Array, truth: Array, valid: Mask, core: int, context: int, order: int = 0
) -> dict[str, Any]:
    scores = ImageScores(RANGES[: len(truth)])
    parts = list(blocks(*valid.shape, core, context))
    for index in np.random.default_rng(order).permutation(len(parts)):
        read, inner = parts[index]
        scores.update(predicted[:, *read], truth[:, *read], valid[read], inner)
    return scores.result()


def alike(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Tell whether two results agree to rounding in every measure and count."""
    counts = ("pixels", "ssim_pixels", "ms_ssim_scales", "sam_pixels")
    names = (*ImageScores.MEASURES, *counts)
    close = {n: two[n] if two[n] is None else pytest.approx(two[n], rel=1e-9) for n in names}
    return {name: one[name] for name in names} == close


@settings(deadline=None, max_examples=15)
@given(
    rows=st.integers(1, 220),
    cols=st.integers(1, 220),
    core=st.integers(1, 9).map(lambda n: n * STEP),
    extra=st.integers(0, 2).map(lambda n: n * STEP),
    holes=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@example(rows=250, cols=230, core=48, extra=0, holes=0, seed=0)
def test_blocks_in_any_order_give_the_numbers_of_the_whole(
    rows: int, cols: int, core: int, extra: int, holes: int, seed: int
) -> None:
    images = pair(rows, cols, holes=holes, seed=seed)
    if images[2].any():
        assert alike(in_blocks(*images, core, CONTEXT + extra, order=seed), scored(*images))


def test_cores_of_any_shape_count_each_coarse_pixel_once() -> None:
    predicted, truth, valid = pair(190, 200)
    scores = ImageScores(RANGES[:2])
    for rows in (slice(0, 77), slice(77, 190)):
        for cols in (slice(0, 33), slice(33, 98), slice(98, 200)):
            scores.update(predicted, truth, valid, (rows, cols))
    assert alike(scores.result(), scored(predicted, truth, valid))


def test_less_context_or_other_beginnings_are_another_ms_ssim() -> None:
    images = pair(240, 240)
    whole = scored(*images)
    for core, context in ((112, CONTEXT - STEP), (120, CONTEXT)):
        parts = in_blocks(*images, core, context)
        assert parts["ms_ssim"] != pytest.approx(whole["ms_ssim"], rel=1e-9)
        assert parts["ssim"] == pytest.approx(whole["ssim"], rel=1e-9)


# ------------------------------------------------------------------ chips


def chips(count: int = 6, side: int = 48) -> list[tuple[Array, Array, Mask]]:
    images = [pair(side, side, seed=n, noise=0.02 * n) for n in range(count)]
    for n, (*_, valid) in enumerate(images):
        valid[:3, : 4 * n] = False
    return images


def spread(images: list[tuple[Array, Array, Mask]]) -> dict[str, Any]:
    scores = ChipScores(ImageScores(RANGES[:2]))
    for image in images:
        scores.update(*image)
    return scores.result()


def test_the_spread_is_that_of_the_scores_of_each_chip() -> None:
    images = chips()
    result = spread(images)
    rows = [scored(*image) for image in images]
    for name in ImageScores.MEASURES:
        values = [row[name] for row in rows]
        assert result["per_chip"][name] == {
            "mean": pytest.approx(np.mean(values)),
            "min": min(values),
            "max": max(values),
            "sd": pytest.approx(np.std(values)),
            "chips": len(images),
            **({"scales": 3} if name == "ms_ssim" else {}),
        }
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_all_chips_together_are_counted_pixel_by_pixel() -> None:
    images = chips()
    pooled = ImageScores(RANGES[:2])
    for image in images:
        pooled.update(*image)
    result = spread(images)
    assert {name: result[name] for name in pooled.result()} == pooled.result()
    assert result["l1"] != pytest.approx(result["per_chip"]["l1"]["mean"], rel=1e-6)


def test_the_order_of_chips_does_not_matter() -> None:
    images = chips()
    one, two = spread(images), spread(images[::-1])
    assert alike(one, two)
    for name in ImageScores.MEASURES:
        assert one["per_chip"][name] == pytest.approx(two["per_chip"][name], rel=1e-12)


def test_chips_without_a_score_are_left_out_and_the_count_tells() -> None:
    images = chips(3, side=64)
    perfect = (images[0][1], *images[0][1:])
    empty = (*np.full((2, *images[0][0].shape), np.nan), np.zeros((64, 64), bool))
    small = pair(30, 30, seed=9)
    result = spread([*images, perfect, empty, small])
    counts = {name: each["chips"] for name, each in result["per_chip"].items()}
    assert counts == {**dict.fromkeys(ImageScores.MEASURES, 5), "psnr": 4, "ms_ssim": 4}
    assert result["ms_ssim_scales"] == 3
    assert result["per_chip"]["ms_ssim"] == spread([*images, perfect])["per_chip"]["ms_ssim"]
    nothing = {"mean": None, "min": None, "max": None, "sd": None, "chips": 0}
    assert spread([perfect])["per_chip"]["psnr"] == nothing
    assert spread([pair(9, 9)])["per_chip"]["ms_ssim"] == {**nothing, "scales": 0}


def test_class_maps_spread_too() -> None:
    rng = np.random.default_rng(5)
    scores, pooled, rows = ChipScores(ClassScores([1, 2, 3])), ClassScores([1, 2, 3]), []
    for share in (0.1, 0.4, 0.7):
        truth = rng.integers(1, 4, (1, 20, 20))
        image = np.where(rng.random(truth.shape) < share, 1, truth), truth, truth[0] > 0
        one = ClassScores([1, 2, 3])
        for each in (scores, pooled, one):
            each.update(*image)
        rows.append(one.result())
    result = scores.result()
    assert {name: result[name] for name in pooled.result()} == pooled.result()
    for name in ("accuracy", "miou"):
        values = [row[name] for row in rows]
        assert result["per_chip"][name]["mean"] == pytest.approx(np.mean(values))
        assert result["per_chip"][name]["sd"] == pytest.approx(np.std(values))


def test_chips_of_other_bands_are_refused_and_not_counted() -> None:
    scores = ChipScores(ImageScores(255.0))
    scores.update(*pair(20, 20, bands=3))
    before = scores.result()
    with pytest.raises(GeoP2PError, match="images of 2 bands, 3 expected"):
        scores.update(*pair(20, 20, bands=2))
    assert scores.result() == before


def test_no_chip_is_no_score() -> None:
    with pytest.raises(GeoP2PError, match="no valid pixel"):
        ChipScores(ImageScores(255.0)).result()


def test_the_page_on_measures_tells_of_every_one() -> None:
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    told = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert told == {*ImageScores.MEASURES, *ClassScores.MEASURES, "fid"}
