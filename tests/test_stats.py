"""Statistics of chips: exact where values are whole, mergeable, and what numpy says."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_p2p.chips import stats
from geo_p2p.chips.stats import BandStats, percentiles_of

SMALL = ("uint8", "int8", "uint16", "int16")
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return whole numbers over all of a type, its ends among them."""
    ends = np.iinfo(dtype)
    values = np.random.default_rng(seed).integers(ends.min, ends.max, shape, dtype, endpoint=True)
    values.flat[:2] = ends.min, ends.max
    return values


@pytest.mark.parametrize("dtype", SMALL)
@given(seed=seeds, side=st.integers(2, 30), piece=st.sampled_from([1, 7, 64, stats.PIECE]))
def test_whole_numbers_are_summed_up_exactly(dtype: str, seed: int, side: int, piece: int) -> None:
    values = drawn(seed, dtype, (2, side, side))
    valid = np.random.default_rng(seed).random((side, side)) < 0.8
    valid[0, 0] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats, "PIECE", piece)
        found = BandStats.of(values, valid)
    assert found.count == valid.sum()
    for band, low, high, mean, m2 in zip(
        values, found.low, found.high, found.mean, found.m2, strict=True
    ):
        pixels = [int(value) for value in band[valid]]
        middle = Fraction(sum(pixels), len(pixels))
        assert (low, high) == (min(pixels), max(pixels))
        assert mean == float(middle)
        assert m2 == float(sum((value - middle) ** 2 for value in pixels))


@pytest.mark.parametrize("dtype", SMALL)
def test_no_piece_is_too_long_for_its_sums(dtype: str) -> None:
    for value in (np.iinfo(dtype).min, np.iinfo(dtype).max):
        values = np.full((1, 300, 300), value, dtype)
        found = BandStats.of(values, np.ones((300, 300), bool))
        assert (found.mean[0], found.m2[0]) == (value, 0)


def test_other_numbers_are_as_numpy_has_them() -> None:
    rng = np.random.default_rng(3)
    for values in (rng.normal(5, 2, (2, 40, 40)), rng.integers(-(2**31), 2**31, (1, 40, 40))):
        found = BandStats.of(values, np.ones((40, 40), bool))
        assert found.mean == pytest.approx(values.mean((1, 2)))
        assert found.sd == pytest.approx(values.std((1, 2), ddof=1))


@given(seed=seeds, side=st.integers(2, 30))
def test_what_is_counted_has_the_same_statistics(seed: int, side: int) -> None:
    values = drawn(seed, "uint8", (1, side, side))
    census = Counter(values.ravel().tolist())
    counted, seen = BandStats.of_census(census), BandStats.of(values, np.ones((side, side), bool))
    assert counted.to_json() == seen.to_json()


@given(seed=seeds, length=st.integers(1, 300), top=st.integers(0, 300))
def test_percentiles_by_counting_are_those_by_sorting(seed: int, length: int, top: int) -> None:
    percents = (0, 0.1, 1, 2, 25, 50, 75, 98, 99, 99.9, 100)
    rng = np.random.default_rng(seed)
    for dtype in ("uint8", "uint16", "int16", "float32"):
        values = rng.integers(0, min(top, 255), length, endpoint=True).astype(dtype)
        assert percentiles_of(values, percents) == pytest.approx(
            np.percentile(values, percents), rel=1e-12, abs=1e-12
        )
