"""The autocorrelation range: as far as values were smeared, and never beyond a chip."""

import numpy as np
import pytest
from scipy import ndimage

from geo_p2p.chips.split import autocorrelation_range

SIDE = 96


def smeared(width: int, side: int = SIDE, seed: int = 0) -> list[np.ndarray]:
    """Return chips of a field whose values resemble each other up to ``width`` px."""
    noise = np.random.default_rng(seed).normal(size=(6 * side, 6 * side))
    field = ndimage.uniform_filter(noise, width, mode="wrap")
    return [
        100 * field[None, r : r + side, c : c + side]
        for r in range(0, 6 * side, side)
        for c in range(0, 6 * side, side)
    ]


def all_valid(images: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ones(image.shape[1:], bool) for image in images]


@pytest.mark.parametrize("width", [3, 9, 25, 45])
@pytest.mark.parametrize("classes", [False, True])
def test_the_range_is_how_far_values_were_smeared(width: int, classes: bool) -> None:
    images = smeared(width)
    if classes:
        images = [(image > 0).astype(np.uint8) for image in images]
    found = autocorrelation_range(images, all_valid(images), classes=classes)
    assert found == pytest.approx(width, rel=0.2)


def test_large_chips_are_looked_at_more_coarsely() -> None:
    images = smeared(40, side=300)
    assert autocorrelation_range(images, all_valid(images)) == pytest.approx(40, rel=0.2)


def test_a_range_beyond_the_chips_is_about_their_side() -> None:
    images = smeared(5 * SIDE)
    assert 0.85 * SIDE < autocorrelation_range(images, all_valid(images)) <= SIDE
    steps = [np.full((1, SIDE, SIDE), value) for value in range(9)]
    assert autocorrelation_range(steps, all_valid(steps)) == SIDE


def test_holes_and_what_is_in_them_do_not_count() -> None:
    images = [image + 1000 for image in smeared(15)]
    rng = np.random.default_rng(1)
    valids = [rng.random(image.shape[1:]) > 0.5 for image in images]
    whole = autocorrelation_range(images, all_valid(images))
    spoilt = [np.where(v, image, np.nan) for image, v in zip(images, valids, strict=True)]
    assert autocorrelation_range(spoilt, valids) == pytest.approx(whole, rel=0.1)


def test_unit_and_offset_do_not_matter_and_a_few_wild_values_hardly() -> None:
    images = smeared(15)
    whole = autocorrelation_range(images, all_valid(images))
    moved = [1e4 + 0.01 * image for image in images]
    assert autocorrelation_range(moved, all_valid(images)) == pytest.approx(whole, rel=1e-3)
    wild = [image.copy() for image in images]
    for image in wild:
        image[0, 5, 5] = 1e6
    assert autocorrelation_range(wild, all_valid(images)) == pytest.approx(whole, rel=0.1)


def test_the_band_that_reaches_furthest_counts() -> None:
    both = [np.concatenate(pair) for pair in zip(smeared(3), smeared(25, seed=1), strict=True)]
    assert autocorrelation_range(both, all_valid(both)) == pytest.approx(25, rel=0.2)


@pytest.mark.parametrize("value", [0, 7])
def test_what_does_not_vary_has_no_range(value: int) -> None:
    images = [np.full((1, 9, 12), value, np.uint8)] * 3
    assert autocorrelation_range(images, all_valid(images)) == 0
    assert autocorrelation_range(images, all_valid(images), classes=True) == 0
    assert autocorrelation_range(images, [np.zeros((9, 12), bool)] * 3) == 0
    assert autocorrelation_range([], []) == 0
