"""The split: no ground on both sides, a distance between them, a share to validate on."""

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from rasterio.windows import Window

from geo_p2p.chips import Split, split_territory
from geo_p2p.errors import ChipError
from geo_p2p.grid import TileGrid

SIZE = 8


def chips(height: int, width: int, stride: int = SIZE // 2, size: int = SIZE) -> list[Window]:
    """Return the windows of the chips of a raster."""
    return [tile.window for tile in TileGrid(height, width, size, size - stride)]


def boxes(windows: Sequence[Window]) -> np.ndarray:
    """Return (n, 2, 2) array: first and last-plus-one row and column of each window."""
    spans = [(w.row_off, w.row_off + w.height, w.col_off, w.col_off + w.width) for w in windows]
    return np.array(spans, int).reshape(-1, 2, 2)


def gaps(a: Sequence[Window], b: Sequence[Window]) -> np.ndarray:
    """Return the px between every two windows; negative where they overlap."""
    left, right = boxes(a)[:, None], boxes(b)[None]
    apart = np.maximum(left[..., 0] - right[..., 1], right[..., 0] - left[..., 1])
    return apart.max(-1)


def part(split: Split, windows: Sequence[Window], name: str) -> list[Window]:
    return [w for w, p in zip(windows, split.parts, strict=True) if p == name]


rasters = st.builds(
    chips, st.integers(SIZE, 120), st.integers(SIZE, 120), st.integers(SIZE // 2, SIZE)
)


@given(rasters, st.integers(0, 2 * SIZE), st.sampled_from([5, 10, 30]), st.integers(0, 99))
def test_training_keeps_its_distance_from_what_it_is_validated_on(
    windows: list[Window], buffer: int, val_pct: float, seed: int
) -> None:
    split = split_territory(windows, SIZE, buffer=buffer, val_pct=val_pct, seed=seed)
    train, val = (part(split, windows, name) for name in ("train", "val"))
    assert len(split.parts) == len(windows)
    assert train
    if val:
        assert gaps(train, val).min() >= buffer
        assert split.buffer == buffer


@given(rasters, st.integers(0, SIZE), st.integers(0, 99))
def test_a_chip_is_left_out_only_where_it_must(
    windows: list[Window], buffer: int, seed: int
) -> None:
    split = split_territory(windows, SIZE, buffer=buffer, seed=seed)
    if split.method == "none":
        return
    blocks = boxes(split.blocks)
    whole = (
        (boxes(windows)[:, None, :, 0] >= blocks[None, :, :, 0])
        & (boxes(windows)[:, None, :, 1] <= blocks[None, :, :, 1])
    ).all(-1)
    assert whole.any(0).all(), "a block that holds no chip costs training ground for nothing"
    near = gaps(windows, split.blocks) < buffer
    expected = np.where(whole.any(1), "val", np.where(near.any(1), "", "train"))
    np.testing.assert_array_equal(split.parts, expected)


@settings(max_examples=15)
@given(
    st.integers(20 * SIZE, 30 * SIZE),
    st.integers(20 * SIZE, 30 * SIZE),
    st.integers(SIZE // 2, SIZE),
    st.integers(0, 99),
)
def test_a_large_raster_validates_on_5_to_20_percent_by_the_largest_blocks(
    height: int, width: int, stride: int, seed: int
) -> None:
    windows = chips(height, width, stride)
    split = split_territory(windows, SIZE, seed=seed)
    val, train = split.count("val"), split.count("train")
    assert 0.05 <= split.share <= 0.20
    assert split.share == val / (val + train)
    assert split.side == 4 * SIZE
    assert len(split.blocks) > 1


@pytest.mark.parametrize(("chips_across", "side"), [(40, 4), (8, 3), (4, 1.5)])
def test_blocks_shrink_with_the_raster(chips_across: int, side: float) -> None:
    windows = chips(chips_across * SIZE, chips_across * SIZE)
    split = split_territory(windows, SIZE)
    assert split.side == side * SIZE
    assert 0.05 <= split.share <= 0.20


@given(rasters, st.integers(0, 99))
def test_more_than_a_fifth_is_held_out_only_where_one_block_is_that_much(
    windows: list[Window], seed: int
) -> None:
    split = split_territory(windows, SIZE, buffer=0, seed=seed)
    assert split.share <= 0.20 or len(split.blocks) == 1


def test_where_no_block_fits_the_nearest_share_is_taken() -> None:
    # A strip of six chips: blocks of two hold a half of what is kept or more, one in the middle a
    # third, and the one at the end a quarter.
    for seed in range(5):
        split = split_territory(chips(SIZE, 7 * SIZE // 2), SIZE, seed=seed)
        assert (split.side, split.share) == (SIZE, pytest.approx(1 / 4))
    assert "(25%) where 10 % val was asked for" in str(split)


@pytest.mark.parametrize("val_pct", [20, 30, 40])
def test_a_larger_share_is_met_where_it_is_asked_for(val_pct: float) -> None:
    split = split_territory(chips(48 * SIZE, 48 * SIZE, SIZE), SIZE, val_pct=val_pct)
    assert split.share == pytest.approx(val_pct / 100, abs=0.03)


def test_the_same_seed_draws_the_same_blocks_and_others_draw_others() -> None:
    windows = chips(20 * SIZE, 20 * SIZE)
    assert split_territory(windows, SIZE, seed=3) == split_territory(windows, SIZE, seed=3)
    assert len({split_territory(windows, SIZE, seed=seed).blocks for seed in range(20)}) > 10


def test_chips_that_a_filter_took_out_do_not_disturb_the_rest() -> None:
    windows = chips(30 * SIZE, 30 * SIZE)
    kept = [w for w in windows if (w.row_off // 40 + w.col_off // 40) % 3]
    split = split_territory(kept, SIZE)
    assert gaps(part(split, kept, "train"), part(split, kept, "val")).min() >= SIZE // 2
    assert 0.05 <= split.share <= 0.20


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_too_few_chips_all_train_and_it_is_said(count: int, seed: int) -> None:
    windows = chips(SIZE, SIZE + SIZE // 2)[:count]
    split = split_territory(windows, SIZE, seed=seed)
    assert split.parts == ("train",) * count
    assert (split.method, split.share) == ("none", 0)
    assert "too little ground" in str(split)


def test_two_chips_side_by_side_part_where_no_distance_is_asked() -> None:
    split = split_territory(chips(SIZE, 2 * SIZE, SIZE), SIZE, buffer=0)
    assert sorted(split.parts) == ["train", "val"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("count", [9, 20, 100])
def test_a_strip_of_chips_is_split_along_it(count: int, turned: bool) -> None:
    length = (count + 1) * SIZE // 2
    windows = chips(length, SIZE) if turned else chips(SIZE, length)
    for seed in range(10):
        split = split_territory(windows, SIZE, seed=seed)
        assert split.count("train") and split.count("val")
        assert split.count("val") < split.count("train")


def test_no_split_is_no_split() -> None:
    windows = chips(20 * SIZE, 20 * SIZE)
    for split in (
        split_territory(windows, SIZE, method="none"),
        split_territory(windows, SIZE, val_pct=0),
    ):
        assert split.parts == ("train",) * len(windows)
        assert split.method == "none"
        assert "too little" not in str(split)


@given(st.integers(1, 200), st.floats(0.1, 99.9), st.integers(0, 99))
def test_a_random_split_holds_the_share_wherever_it_lies(
    count: int, val_pct: float, seed: int
) -> None:
    windows = [Window(0, 0, SIZE, SIZE)] * count
    asked = {"method": "random-overlapping", "val_pct": val_pct, "seed": seed}
    split = split_territory(windows, SIZE, **asked)
    assert split.count("train") + split.count("val") == count
    assert split.count("train") >= 1
    assert split.count("val") >= min(1, count - 1)
    assert abs(split.count("val") - count * val_pct / 100) <= 1
    assert split == split_territory(windows, SIZE, **asked)


def test_a_random_split_depends_on_its_seed_and_says_what_it_is() -> None:
    windows = chips(10 * SIZE, 10 * SIZE, SIZE)
    splits = [split_territory(windows, SIZE, method="random", seed=seed) for seed in range(5)]
    assert len({split.parts for split in splits}) == 5
    assert "at random" in str(splits[0])


def test_a_split_says_what_it_chose() -> None:
    split = split_territory(chips(40 * SIZE, 40 * SIZE), SIZE)
    left_out = split.count("")
    for words in (
        f"{split.count('train')} train, {split.count('val')} val",
        f"by {len(split.blocks)} blocks of {split.side} px",
        f"{left_out} chips left out",
    ):
        assert words in str(split)
    assert left_out


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "kmeans"}, "'kmeans': choose one of blocks, polygons, scene, kfold, random"),
        ({"val_pct": 100}, "100"),
        ({"val_pct": -1}, "-1"),
        ({"val_pct": float("nan")}, "nan"),
        ({"buffer": -1}, "-1 px"),
    ],
    ids=str,
)
def test_settings_no_split_can_have_are_refused(asked: dict, words: str) -> None:
    with pytest.raises(ChipError) as caught:
        split_territory(chips(SIZE, SIZE), SIZE, **asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
