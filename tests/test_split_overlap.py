"""Counting what sets of chips share: against pixels painted one by one."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from geo_p2p.chips.split import overlap

SIDE = 40


@st.composite
def boxes(draw: st.DrawFn, most: int = 12) -> np.ndarray:
    """Return (n, 4) boxes inside SIDE x SIDE px."""
    corner, size = st.integers(0, SIDE - 1), st.integers(1, SIDE)
    rows = draw(st.lists(st.tuples(corner, corner, size, size), max_size=most))
    flat = [(r, c, min(r + h, SIDE), min(c + w, SIDE)) for r, c, h, w in rows]
    return np.array(flat, np.int64).reshape(-1, 4)


def painted(rectangles: np.ndarray) -> np.ndarray:
    """Return how often each pixel is covered."""
    image = np.zeros((SIDE, SIDE), int)
    for top, left, bottom, right in rectangles:
        image[top:bottom, left:right] += 1
    return image


@pytest.mark.parametrize("cells", [1 << 18, 9])
@given(boxes(), boxes())
def test_common_pixels_are_those_painted_twice(cells: int, a: np.ndarray, b: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "CELLS", cells)  # nine: the ground is halved again and again
        expected = ((painted(a) > 0) & (painted(b) > 0)).sum()
        assert overlap.common_area(a, b) == overlap.common_area(b, a) == expected
        assert overlap.overlapping(a) == (painted(a).max() > 1)


def test_far_away_corners_are_counted_without_rounding() -> None:
    far = 3_000_000_000
    a = np.array([[far, far, far + 70_000, far + 70_000]], np.int64)
    assert overlap.common_area(a, a + 1) == 69_999**2


@given(boxes(6), boxes(6))
def test_the_distance_is_that_of_the_nearest_two_pixels(a: np.ndarray, b: np.ndarray) -> None:
    found = overlap.distance(a, b)
    if not len(a) or not len(b):
        assert found is None
        return
    one, other = a[:, None], b[None]
    gaps = np.maximum(0, np.maximum(one - other[..., [2, 3, 0, 1]], 0)[..., :2])
    back = np.maximum(other - one[..., [2, 3, 0, 1]], 0)[..., :2]
    assert found == pytest.approx(np.hypot(*np.moveaxis(gaps + back, -1, 0)).min())
