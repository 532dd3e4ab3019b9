"""Filters of chips: what they count, and that they tell."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from rasterio.crs import CRS

from geo_p2p.chips import Chip
from geo_p2p.chips.filters import ChipFilter, Verdict
from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame

SIDE = 6
FRAME = Frame(SIDE, SIDE, Affine(1, 0, 0, 0, -1, 0), CRS.from_epsg(32633))

classes = hnp.arrays(np.uint8, (1, SIDE, SIDE), elements=st.integers(0, 3))
masks = hnp.arrays(bool, (SIDE, SIDE))
shares = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])


def chip(y: np.ndarray, valid: np.ndarray | None = None, x: np.ndarray | None = None) -> Chip:
    shape = y.shape[1:]
    return Chip(
        np.zeros((1, *shape), np.uint8) if x is None else x,
        y,
        np.ones(shape, bool) if valid is None else valid,
        FRAME,
        "000000000007",
    )


@given(classes, masks, shares)
def test_content_is_the_share_of_valid_pixels_that_are_not_background(
    y: np.ndarray, valid: np.ndarray, least: float
) -> None:
    verdict = ChipFilter(min_content=least).judge(chip(y, valid))
    content = np.count_nonzero(y[0][valid]) / max(1, valid.sum())
    assert verdict.kept == (content >= least)
    if not verdict.kept:
        assert (verdict.by, verdict.value, verdict.least) == ("content", content, least)


@given(classes, masks, shares, shares)
def test_each_class_must_have_its_share(
    y: np.ndarray, valid: np.ndarray, first: float, second: float
) -> None:
    verdict = ChipFilter(min_content={2: first, 3: second}).judge(chip(y, valid))
    pixels = y[0][valid]
    has = [np.count_nonzero(pixels == n) / max(1, len(pixels)) for n in (2, 3)]
    lacking = [n for n, h, least in zip((2, 3), has, (first, second), strict=True) if h < least]
    assert verdict.by == (f"content of class {lacking[0]}" if lacking else "")


def test_background_of_a_picture_is_a_pixel_whose_bands_all_have_it() -> None:
    y = np.full((3, SIDE, SIDE), 255, np.uint8)
    y[:, 0] = 0
    y[1, 1, :] = 0  # magenta on white is no background
    keep = ChipFilter(min_content=0.5, background=(0, 255)).judge(chip(y))
    assert keep.value == pytest.approx(1 / SIDE)
    assert ChipFilter(min_content=0.5, background=(0,)).judge(chip(y)).kept


@given(st.floats(0, 30), st.integers(0, 99))
def test_deviation_is_that_of_the_liveliest_band_over_valid_pixels(least: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, [[[3.0]], [[20.0]]], (2, SIDE, SIDE))
    valid = rng.random((SIDE, SIDE)) > 0.3
    values[:, ~valid] = 1e9
    deviation = values[1][valid].std(ddof=1)
    y = np.zeros((1, SIDE, SIDE))
    verdict = ChipFilter(min_std_x=least).judge(chip(y, valid, values))
    assert verdict.kept == (deviation >= least or not least)
    verdict = ChipFilter(min_std_y=least).judge(chip(values, valid))
    assert verdict.kept == (deviation >= least or not least)
    if not verdict.kept:
        assert verdict.by == "deviation of the target"
        assert verdict.value == pytest.approx(deviation)


@given(classes, masks)
def test_without_settings_every_chip_stays(y: np.ndarray, valid: np.ndarray) -> None:
    assert ChipFilter().judge(chip(y, valid)) == Verdict()


def test_a_chip_without_a_valid_pixel_has_nothing() -> None:
    nothing = chip(np.ones((1, SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), bool))
    for settings in ({"min_content": 0.1}, {"min_content": {1: 0.1}}, {"min_std_y": 0.1}):
        assert ChipFilter(**settings).judge(nothing).value == 0
        assert not ChipFilter(**settings).judge(nothing).kept


def test_classes_in_several_bands_are_refused() -> None:
    with pytest.raises(ChipError, match="chip 000000000007: classes .* has 3"):
        ChipFilter(min_content={1: 0.1}).judge(chip(np.zeros((3, SIDE, SIDE))))


@pytest.mark.parametrize(
    "settings",
    [{"min_content": 1.1}, {"min_content": {1: -0.1}}, {"min_content": float("nan")}]
    + [{"min_std_x": -1}, {"min_std_y": float("inf")}],
    ids=str,
)
def test_what_no_chip_can_meet_is_refused_in_one_line(settings: dict) -> None:
    with pytest.raises(ChipError) as caught:
        ChipFilter(**settings)
    assert "give" in str(caught.value)
    assert "\n" not in str(caught.value)
