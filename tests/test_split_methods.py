"""Laws that every way of splitting keeps, and what is special about folds, tests and chance."""

import pickle
from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from rasterio.windows import Window

from geo_p2p.chips import Split, split_territory
from geo_p2p.chips.split import territory
from geo_p2p.errors import ChipError
from geo_p2p.grid import TileGrid

SIZE = 8
PAIRS = [("train", "val"), ("train", "test"), ("val", "test")]


def chips(height: int, width: int, stride: int = SIZE // 2, size: int = SIZE) -> list[Window]:
    """Return the windows of the chips of a raster."""
    return [tile.window for tile in TileGrid(height, width, size, size - stride)]


anywhere = st.lists(
    st.builds(
        Window, st.integers(0, 150), st.integers(0, 150), st.integers(1, SIZE), st.integers(1, SIZE)
    ),
    min_size=1,
    max_size=60,
)
"""Windows as no grid makes them: any place, any shape up to a chip's."""

gridded = st.builds(
    chips, st.integers(SIZE, 160), st.integers(SIZE, 160), st.integers(SIZE // 2, SIZE)
)


def corners(windows: Sequence[Window]) -> np.ndarray:
    """Return (n, 2, 2): first and last-plus-one row and column of each window."""
    spans = [(w.row_off, w.row_off + w.height, w.col_off, w.col_off + w.width) for w in windows]
    return np.array(spans, int).reshape(-1, 2, 2)


def gap(a: Sequence[Window], b: Sequence[Window]) -> int:
    """Return the least px between two sets of windows along an axis; negative if they overlap."""
    one, other = corners(a)[:, None], corners(b)[None]
    return int(np.maximum(one[..., 0] - other[..., 1], other[..., 0] - one[..., 1]).max(-1).min())


def painted(windows: Sequence[Window]) -> np.ndarray:
    """Return which pixels windows cover."""
    image = np.zeros((200, 200), bool)
    for window in windows:
        image[window.toslices()] = True
    return image


def parts_of(split: Split, windows: Sequence[Window]) -> dict[str, list[Window]]:
    named = zip(windows, split.parts, strict=True)
    found: dict[str, list[Window]] = {"train": [], "val": [], "test": [], "": []}
    for window, name in named:
        found[name].append(window)
    return found


def common(parts: dict[str, list[Window]]) -> int:
    """Return the pixels in two parts, counted by painting them."""
    images = {name: painted(windows) for name, windows in parts.items()}
    return sum(int((images[a] & images[b]).sum()) for a, b in PAIRS)


@settings(max_examples=120)
@given(
    gridded | anywhere,
    st.fixed_dictionaries(
        {
            "method": st.sampled_from(["blocks", "kfold"]),
            "val_pct": st.sampled_from([3, 10, 40]),
            "buffer": st.none() | st.integers(0, 20),
            "seed": st.integers(0, 99),
            "halo": st.integers(0, 30),
            "autocorrelation": st.floats(0, 50),
            "folds": st.integers(2, 4),
        }
    ),
    st.sampled_from([0, 15]),
)
def test_no_pixel_is_in_two_parts_and_the_buffer_is_kept(
    windows: list[Window], asked: dict, test_pct: float
) -> None:
    if asked["method"] == "blocks":
        asked["test_pct"] = test_pct
    try:
        split = split_territory(windows, SIZE, **asked)
    except ChipError as error:
        assert "too little ground for" in str(error)
        return
    parts = parts_of(split, windows)
    assert parts["train"]
    assert common(parts) == split.common == split.common_pixels(windows) == 0
    pairs = [(a, b) for a, b in PAIRS if parts[a] and parts[b]]
    if split.method == "none":
        assert not pairs
        return
    assert pairs
    least = asked["buffer"] if asked["buffer"] is not None else SIZE // 2
    assert split.buffer >= least
    assert all(gap(parts[a], parts[b]) >= split.buffer for a, b in pairs)
    assert split.nearest is not None and split.nearest >= split.buffer


@given(gridded | anywhere, st.integers(0, 99), st.sampled_from([0, 20]))
def test_at_random_by_force_the_pixels_in_common_are_counted(
    windows: list[Window], seed: int, test_pct: float
) -> None:
    asked = {"method": "random-overlapping", "seed": seed, "test_pct": test_pct}
    split = split_territory(windows, SIZE, **asked)
    parts = parts_of(split, windows)
    assert common(parts) == split.common == split.common_pixels(windows)
    assert len(parts["val"]) == min(-(-len(windows) // 10), len(windows) - 1)
    if split.nearest is not None:
        assert f"{split.common} px in common" in str(split)


@given(gridded | anywhere, st.integers(0, 9))
def test_at_random_is_refused_exactly_where_chips_overlap(windows: list[Window], seed: int) -> None:
    times = np.zeros((200, 200), int)
    for window in windows:
        times[window.toslices()] += 1
    if times.max() > 1:
        with pytest.raises(ChipError, match="'random': the chips overlap.*'random-overlapping'"):
            split_territory(windows, SIZE, method="random", seed=seed)
    else:
        split = split_territory(windows, SIZE, method="random", seed=seed)
        assert (split.method, split.common) == ("random", 0)


@given(st.integers(30, 60), st.integers(30, 60), st.integers(0, 99))
@settings(max_examples=10)
def test_large_ground_gives_both_shares_within_their_limits(
    rows: int, cols: int, seed: int
) -> None:
    windows = chips(rows * SIZE, cols * SIZE, SIZE)
    split = split_territory(windows, SIZE, val_pct=10, test_pct=15, seed=seed)
    assert 0.05 <= split.share <= 0.20
    assert 0.075 <= split.share_of("test") <= 0.30
    assert split.share_of("train") + split.share + split.share_of("test") == pytest.approx(1)
    assert {block.part for block in split.held} == {"val", "test"}
    assert f"{split.count('test')} test" in str(split)


@pytest.mark.parametrize("val_pct", [2, 5, 10, 25])
def test_the_share_is_what_was_asked_for_where_there_is_ground(val_pct: float) -> None:
    windows = chips(80 * SIZE, 80 * SIZE, SIZE)
    for seed in range(5):
        split = split_territory(windows, SIZE, val_pct=val_pct, seed=seed)
        assert split.share == pytest.approx(val_pct / 100, rel=0.25)


def test_only_a_test_share_may_be_asked_for() -> None:
    split = split_territory(chips(20 * SIZE, 20 * SIZE), SIZE, val_pct=0, test_pct=10)
    assert (split.count("val"), split.blocks) == (0, ())
    assert 0.05 <= split.share_of("test") <= 0.2


@pytest.mark.parametrize(
    ("settings_", "side"),
    [
        ({}, 4),
        ({"halo": 2 * SIZE}, 5),
        ({"autocorrelation": 5.5 * SIZE}, 6),
        ({"halo": 3 * SIZE, "autocorrelation": 5.0}, 7),
    ],
)
def test_a_block_holds_chip_halo_and_autocorrelation(settings_: dict, side: int) -> None:
    split = split_territory(chips(60 * SIZE, 60 * SIZE), SIZE, **settings_)
    assert split.side == side * SIZE


@pytest.mark.parametrize(
    ("settings_", "buffer"),
    [
        ({}, SIZE // 2),
        ({"halo": SIZE - 2}, SIZE - 2),
        ({"autocorrelation": 6.2}, 7),
        ({"halo": 100}, SIZE),
        ({"autocorrelation": 100.0, "buffer": 3}, 3),
    ],
)
def test_the_buffer_follows_halo_and_autocorrelation_up_to_a_chip(
    settings_: dict, buffer: int
) -> None:
    windows = chips(60 * SIZE, 60 * SIZE, SIZE)
    assert split_territory(windows, SIZE, **settings_).buffer == buffer


def test_a_wide_buffer_gives_way_before_it_eats_the_training_set() -> None:
    windows = chips(SIZE, 5 * SIZE // 2)  # of four in a row, the last is a chip from the second
    split = split_territory(windows, SIZE, halo=SIZE)
    assert (split.buffer, split.count("train"), split.count("val")) == (SIZE // 2, 1, 1)


def test_a_wide_buffer_leaves_half_of_the_chips_to_train_on_where_a_narrow_one_can() -> None:
    windows = chips(6 * SIZE, 6 * SIZE)
    for seed in range(5):
        wide = split_territory(windows, SIZE, buffer=SIZE, test_pct=10, seed=seed)
        split = split_territory(windows, SIZE, halo=SIZE, test_pct=10, seed=seed)
        assert wide.count("train") < len(windows) / 2
        assert split.buffer == SIZE // 2
        assert split.count("train") > wide.count("train")


def test_folds_leave_as_much_to_train_on_as_they_can() -> None:
    windows = chips(8 * SIZE, 8 * SIZE)
    wide = split_territory(windows, SIZE, method="kfold", buffer=SIZE)
    split = split_territory(windows, SIZE, method="kfold", halo=SIZE)
    assert split.buffer == SIZE // 2
    assert split.count("train") > wide.count("train")


def test_small_ground_gives_the_cheapest_block_and_says_what_was_asked_for() -> None:
    windows = chips(2 * SIZE, 3 * SIZE, SIZE)
    for seed in range(10):
        split = split_territory(windows, SIZE, seed=seed)
        held = windows[split.parts.index("val")]
        assert (held.row_off, held.col_off) in [(r, c) for r in (0, SIZE) for c in (0, 2 * SIZE)]
        assert split.share == 1 / 3
        assert "1 val (33%) where 10 % val was asked for" in str(split)


@settings(max_examples=30)
@given(
    st.builds(chips, st.integers(60, 160), st.integers(60, 160), st.integers(SIZE // 2, SIZE)),
    st.integers(2, 6),
    st.integers(0, 99),
)
def test_folds_partition_the_chips_that_a_block_holds(
    windows: list[Window], folds: int, seed: int
) -> None:
    asked = {"method": "kfold", "folds": folds, "seed": seed}
    splits = [split_territory(windows, SIZE, fold=fold, **asked) for fold in range(folds)]
    assert len({split.folds for split in splits}) == 1, "the folds of all must agree"
    for split in splits:
        assert split.parts == split.folds[split.fold]
        assert common(parts_of(split, windows)) == 0
        assert split.count("train") and split.count("val")
    table = np.array(splits[0].folds)
    validates = (table == "val").sum(0)
    side = splits[0].side
    low, high = corners(windows)[..., 0] // side, (corners(windows)[..., 1] - 1) // side
    np.testing.assert_array_equal(validates, (low == high).all(1))
    assert splits[0].used == tuple((table != "").any(0))
    blocks = [block for split in splits for block in split.blocks]
    assert len({block.flatten() for block in blocks}) == len(blocks)


def test_folds_are_even_and_say_which_one_validates() -> None:
    split = split_territory(chips(40 * SIZE, 40 * SIZE), SIZE, method="kfold", folds=5, fold=3)
    sizes = [parts.count("val") for parts in split.folds]
    assert min(sizes) > 0.8 * max(sizes)
    assert "by fold 3 of 5" in str(split)
    assert "0 px in common, nearest 4 px" in str(split)


METHODS = {
    "blocks": {"test_pct": 10},
    "kfold": {},
    "random": {},
    "random-overlapping": {"test_pct": 10},
}


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_and_nothing_else(method: str) -> None:
    windows = chips(30 * SIZE, 30 * SIZE, SIZE)
    splits = [
        split_territory(windows, SIZE, method=method, seed=seed, **METHODS[method])
        for seed in (1, 1, 2)
    ]
    assert splits[0] == splits[1]
    assert splits[0].parts != splits[2].parts
    assert pickle.loads(pickle.dumps(splits[0])) == splits[0]


@given(st.permutations(chips(10 * SIZE, 10 * SIZE, SIZE)), st.integers(0, 9))
@settings(max_examples=20)
def test_blocks_do_not_depend_on_the_order_of_the_chips(order: list[Window], seed: int) -> None:
    windows = chips(10 * SIZE, 10 * SIZE, SIZE)
    split, other = (split_territory(w, SIZE, seed=seed) for w in (windows, order))
    assert split.held == other.held
    assert dict(zip(order, other.parts, strict=True)) == dict(
        zip(windows, split.parts, strict=True)
    )


def test_windows_before_the_first_pixel_are_windows_too() -> None:
    windows = chips(20 * SIZE, 20 * SIZE)
    moved = [Window(w.col_off - 640, w.row_off - 640, w.width, w.height) for w in windows]
    assert split_territory(moved, SIZE).count("val") == pytest.approx(
        split_territory(windows, SIZE).count("val"), rel=0.5
    )
    assert split_territory(moved, SIZE).common == 0


def test_parts_that_share_a_pixel_are_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = chips(4 * SIZE, 4 * SIZE)
    wrong = Split("blocks", ("train", "val") * (len(windows) // 2) + ("train",), 10.0, 0)
    monkeypatch.setattr(territory, "split_by_blocks", lambda *_: wrong)
    with pytest.raises(ChipError, match=r"'blocks': 960 px would lie in two parts"):
        split_territory(windows, SIZE)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"val_pct": 60, "test_pct": 40}, "60 % to validate and 40 % to test on leave nothing"),
        ({"test_pct": 100}, "a test share of 100"),
        ({"halo": -1}, "a halo of -1 px"),
        ({"autocorrelation": float("nan")}, "an autocorrelation range of nan px"),
        ({"method": "kfold", "folds": 1}, "1 folds"),
        ({"method": "kfold", "fold": 5}, "fold 5 of 5: give 0 to 4"),
        ({"method": "kfold", "test_pct": 5}, "folds have no test share"),
        ({"method": "kfold"}, "too little ground for 5 folds"),
        ({"method": "polygons"}, "needs a vector file"),
        ({"method": "scene"}, "needs the name of each chip's scene"),
        ({"method": "polygons", "labels": ["train"]}, "1 labels for 4 chips"),
        ({"method": "polygons", "labels": ["fit"] * 4}, "give one of 'train', 'val'"),
        ({"method": "polygons", "labels": ["val"] * 4}, "no chip lies wholly in a polygon of"),
        ({"scenes": ["a"]}, "1 scene names for 4 chips"),
    ],
    ids=str,
)
def test_what_no_split_can_have_is_refused_in_one_line(asked: dict, words: str) -> None:
    with pytest.raises(ChipError) as caught:
        split_territory(chips(2 * SIZE, 2 * SIZE, SIZE), SIZE, **asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
