"""Sampling: at most what was asked for, all where there is less, the same for the same seed."""

import subprocess
import sys
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from rasterio.windows import Window

from geo_p2p.chips.sampling import balanced, place_at_random, quantile_strata
from geo_p2p.errors import ChipError, GridError


@given(
    st.tuples(st.integers(8, 90), st.integers(8, 90)),
    st.integers(1, 8) | st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.integers(1, 40),
    st.booleans(),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_windows_at_random_lie_inside_on_their_lattice_and_apart(
    shape: tuple[int, int],
    size: int | tuple[int, int],
    count: int,
    overlap: bool,
    step: int,
    seed: int,
) -> None:
    asked = {"seed": seed, "overlap": overlap, "step": step}
    placement = place_at_random(shape, size, count, **asked)
    height, width = (size, size) if isinstance(size, int) else size
    assert 1 <= len(placement.windows) <= count
    times = np.zeros(shape, int)
    for w in placement.windows:
        assert (w.height, w.width) == (height, width)
        assert 0 <= w.row_off <= shape[0] - height and 0 <= w.col_off <= shape[1] - width
        assert w.row_off % step == w.col_off % step == 0
        times[w.toslices()] += 1
    places = [(w.row_off, w.col_off) for w in placement.windows]
    assert places == sorted(set(places))
    assert overlap or times.max() == 1
    assert placement == place_at_random(shape, size, count, **asked)
    if len(places) < count:
        assert placement.attempts == 100 * count
        assert str(placement) == f"{len(places)} of {count} windows fitted in {100 * count} draws"


@given(st.integers(1, 60), st.integers(1, 60), st.booleans(), st.integers(0, 9))
def test_more_windows_begin_with_the_same_ones(a: int, b: int, overlap: bool, seed: int) -> None:
    few, many = (
        set(place_at_random((200, 200), 8, n, seed=seed, overlap=overlap).windows)
        for n in sorted((a, b))
    )
    assert few <= many


def test_all_places_are_found_where_there_are_few() -> None:
    placement = place_at_random((10, 9), 8, 100)
    assert len(placement.windows) == 6
    assert place_at_random((8, 8), 8, 1).windows == (Window(0, 0, 8, 8),)


def test_windows_lie_anywhere_alike() -> None:
    windows = place_at_random((1000, 500), 20, 2000, seed=1).windows
    rows, cols = np.array([(w.row_off, w.col_off) for w in windows]).T
    assert np.quantile(rows, [0, 0.5, 1]) == pytest.approx([0, 490, 980], abs=30)
    assert np.quantile(cols, [0, 0.5, 1]) == pytest.approx([0, 240, 480], abs=20)


def test_about_half_the_ground_fills_without_overlap() -> None:
    placement = place_at_random((160, 160), 8, 600, overlap=False)
    assert 0.5 < len(placement.windows) * 64 / 160**2 < 0.65


def test_only_accepted_windows_are_placed() -> None:
    placement = place_at_random((100, 100), 8, 30, accept=lambda w: w.col_off >= 50)
    assert len(placement.windows) == 30
    assert min(w.col_off for w in placement.windows) >= 50
    nowhere = place_at_random((100, 100), 8, 30, accept=lambda w: False)
    assert (nowhere.windows, nowhere.attempts) == ((), 3000)


def test_another_seed_places_other_windows() -> None:
    assert len({place_at_random((500, 500), 8, 9, seed=seed).windows for seed in range(9)}) == 9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((64, 64), 65, 1), "65 x 65 px in 64 x 64 px: give a smaller size"),
        (((64, 64), (8, 65), 1), "8 x 65 px in 64"),
        (((64, 64), 8, 0), "0 windows"),
        (((64, 64), 0, 5), "0 x 0 px"),
    ],
)
def test_windows_that_cannot_be_placed_are_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(GridError) as caught:
        place_at_random(*arguments)
    assert words in str(caught.value)
    with pytest.raises(GridError, match="every 0 px"):
        place_at_random((64, 64), 8, 1, step=0)


strata = st.lists(st.sampled_from(["wood", "water", 3, None]), max_size=60)


@given(strata, st.integers(1, 12), st.integers(0, 99))
def test_a_stratum_gives_all_it_has_up_to_the_limit(kinds: list, most: int, seed: int) -> None:
    chosen = balanced(kinds, most, seed=seed)
    assert chosen == sorted(set(chosen)) == balanced(kinds, most, seed=seed)
    taken = Counter(kinds[i] for i in chosen)
    there = Counter(kind for kind in kinds if kind is not None)
    assert taken == {kind: min(most, number) for kind, number in there.items()}


@given(strata, st.integers(1, 6))
def test_a_stratum_s_choice_does_not_depend_on_the_others(kinds: list, most: int) -> None:
    chosen = [i for i in balanced(kinds, most) if kinds[i] == "wood"]
    alone = balanced([kind if kind == "wood" else None for kind in kinds], most)
    assert chosen == alone


def test_the_choice_is_the_same_in_another_process_and_another_for_another_seed() -> None:
    kinds = ["wood", "water"] * 50
    code = "from geo_p2p.chips.sampling import balanced; print(balanced(['wood', 'water'] * 50, 9))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(balanced(kinds, 9))
    assert len({tuple(balanced(kinds, 9, seed=seed)) for seed in range(9)}) == 9


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=50, unique=True),
    st.integers(1, 6),
)
def test_quantile_strata_are_ordered_and_alike_in_number(means: list[float], number: int) -> None:
    found = quantile_strata(means, number)
    assert len(found) == len(means)
    known = sorted((m, s) for m, s in zip(means, found, strict=True) if s is not None)
    assert [s for _, s in known] == sorted(s for _, s in known)
    assert all((s is None) == np.isnan(m) for m, s in zip(means, found, strict=True))
    sizes = Counter(s for _, s in known)
    assert set(sizes) <= set(range(number))
    if len(known) >= number:
        assert max(sizes.values()) - min(sizes[s] for s in range(number)) <= 1


def test_what_cannot_be_sampled_is_refused() -> None:
    with pytest.raises(ChipError, match="at most 0 chips"):
        balanced(["a"], 0)
    with pytest.raises(ChipError, match="0 strata"):
        quantile_strata([1.0], 0)
