"""The laws of tiling: partition, containment, round trip, exact blocks."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from geo_p2p.errors import GridError
from geo_p2p.grid import BlockPlan, TileGrid, assemble


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    height, width = draw(st.integers(1, 97)), draw(st.integers(1, 97))
    sizes = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    overlaps = tuple(draw(st.integers(0, size - 1)) for size in sizes)
    if draw(st.booleans()):
        return TileGrid(height, width, sizes[0], overlaps[0])
    return TileGrid(height, width, sizes, overlaps)


@st.composite
def windows_in(draw: st.DrawFn, height: int, width: int) -> Window:
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(col, row, draw(st.integers(1, width - col)), draw(st.integers(1, height - row)))


def random_image(grid, dtype=np.float32):
    rng = np.random.default_rng(grid.height * 1000 + grid.width)
    return rng.integers(-1000, 1000, (2, grid.height, grid.width)).astype(dtype)


def cut(image, tiles):
    return (image[:, *tile.window.toslices()] for tile in tiles)


@given(grids())
def test_cores_partition_the_image(grid):
    owned = np.zeros((grid.height, grid.width), int)
    for tile in grid:
        owned[tile.core.toslices()] += 1
    assert (owned == 1).all()


@given(grids())
def test_windows_are_integral_inside_and_full_size(grid):
    for tile in grid:
        window, core = tile.window, tile.core
        fields = (*window.flatten(), *core.flatten())
        assert all(isinstance(field, int) for field in fields)
        assert window.row_off >= 0
        assert window.col_off >= 0
        assert window.height == min(grid.sizes[0], grid.height)
        assert window.width == min(grid.sizes[1], grid.width)
        assert window.row_off + window.height <= grid.height
        assert window.col_off + window.width <= grid.width
        assert window.row_off <= core.row_off
        assert core.row_off + core.height <= window.row_off + window.height
        assert window.col_off <= core.col_off
        assert core.col_off + core.width <= window.col_off + window.width


@given(grids())
def test_neighbours_lie_one_stride_apart_and_the_last_ends_on_the_edge(grid):
    lengths = grid.height, grid.width
    for axis, length, stride in zip((grid.rows, grid.cols), lengths, grid.strides, strict=True):
        starts = [axis.span(i)[0] for i in range(axis.count)]
        steps = np.diff(starts)
        assert (steps[:-1] == stride).all()
        assert (steps > 0).all()
        assert axis.span(axis.count - 1)[1] == length


@given(grids())
def test_crop_round_trip_is_exact(grid):
    image = random_image(grid, np.int16)
    again = assemble(grid, cut(image, grid))
    assert again.dtype == image.dtype
    np.testing.assert_array_equal(again, image)


@given(grids())
def test_feather_round_trip_is_exact_to_a_millionth(grid):
    image = random_image(grid) / 1000
    assert np.abs(assemble(grid, cut(image, grid), "feather") - image).max() <= 1e-6


@given(st.data())
def test_a_part_equals_the_same_part_of_the_whole(data):
    grid = data.draw(grids())
    window = data.draw(windows_in(grid.height, grid.width))
    blend = data.draw(st.sampled_from(["crop", "feather"]))
    rng = np.random.default_rng(0)
    arrays = {
        (tile.row, tile.col): rng.normal(size=(1, tile.window.height, tile.window.width))
        for tile in grid
    }
    whole = assemble(grid, (arrays[t.row, t.col] for t in grid), blend)
    touching = grid.touching(window)
    part = assemble(grid, (arrays[t.row, t.col] for t in touching), blend, window)
    np.testing.assert_array_equal(part, whole[:, *window.toslices()])


@given(st.data())
def test_touching_tiles_are_those_that_share_pixels(data):
    grid = data.draw(grids())
    window = data.draw(windows_in(grid.height, grid.width))
    mask = np.zeros((grid.height, grid.width), bool)
    mask[window.toslices()] = True
    expected = [tile for tile in grid if mask[tile.window.toslices()].any()]
    assert grid.touching(window) == expected


@given(grids())
def test_a_grid_is_a_sequence(grid):
    tiles = list(grid)
    assert len(tiles) == len(grid)
    assert grid[-1] == tiles[-1]
    assert grid[:2] == tiles[:2]
    again = pickle.loads(pickle.dumps(grid))
    assert again == grid
    assert hash(again) == hash(grid)
    with pytest.raises(IndexError):
        grid[len(grid)]


def test_a_huge_grid_builds_no_list():
    grid = TileGrid(10**6, 10**6, 512, 64)
    assert len(grid) == 2232**2
    assert grid[-1].window == Window(10**6 - 512, 10**6 - 512, 512, 512)


@pytest.mark.parametrize("length", [1, 10, 100, 513, 4096])
def test_divisible_images_get_no_extra_tile(length):
    grid = TileGrid(length * 3, length * 2, length, 0)
    assert (grid.rows.count, grid.cols.count) == (3, 2)


@pytest.mark.parametrize(
    "arguments", [(0, 5, 3, 1), (5, 0, 3, 1), (5, 5, 0, 0), (5, 5, 3, 3), (5, 5, 3, -1)]
)
def test_impossible_grids_are_refused(arguments):
    with pytest.raises(GridError):
        TileGrid(*arguments)


def test_wrong_arrays_are_refused():
    grid = TileGrid(8, 8, 4, 0)
    good = np.zeros((1, 4, 4))
    for arrays in ([good] * 3, [good] * 5, [good, good, good, good[:, :3]]):
        with pytest.raises(GridError):
            assemble(grid, arrays)


# --- blocks -------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> BlockPlan:
    stride = draw(st.sampled_from([1, 2, 4, 8]))
    size = stride * draw(st.integers(1, 6))
    return BlockPlan(
        height=draw(st.integers(1, 70)),
        width=draw(st.integers(1, 70)),
        stride=stride,
        halo=draw(st.integers(0, 20)),
        size=size,
        top=draw(st.integers(1 - size, 0)),
        left=draw(st.integers(1 - size, 0)),
        full_tiles=draw(st.booleans()),
    )


@given(plans())
def test_blocks_partition_read_inside_and_share_one_tile_shape(plan):
    owned = np.zeros((plan.height, plan.width), int)
    for block in plan:
        owned[block.core.toslices()] += 1
        read = block.read
        assert read.row_off >= 0
        assert read.col_off >= 0
        assert read.row_off + read.height <= plan.height
        assert read.col_off + read.width <= plan.width
        assert (block.tile.height, block.tile.width) == plan.tile_shape
        assert (block.tile.row_off - plan.top) % plan.size == -plan.margin % plan.size
        assert (block.tile.col_off - plan.left) % plan.size == -plan.margin % plan.size
        assert block == plan[block.row * plan.counts[1] + block.col]
    assert (owned == 1).all()


def periodic_local_operator(image, stride, halo):
    """Return a stand-in for a generator: local within ``halo``, equivariant only to ``stride``."""
    rows, cols = np.indices(image.shape[-2:])
    phase = 1 + (rows % stride) * 3 + (cols % stride) * 7
    total = np.zeros_like(image)
    for row in (-halo, 0, halo):
        for col in (-halo, 0, halo):
            total += np.roll(image, (row, col), (-2, -1)) * (1 + (row > 0) + 2 * (col > 0))
    return total * phase


@given(plans())
def test_blocks_side_by_side_equal_the_whole_reflected_image(plan):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (1, plan.height, plan.width)).astype(float)
    margin = plan.margin
    before = margin - plan.top, margin - plan.left
    sides = zip(before, (plan.height, plan.width), strict=True)
    pads = ((0, 0), *((b, margin + -(b + n) % plan.stride) for b, n in sides))
    padded = np.pad(image, pads, mode="reflect")
    whole = periodic_local_operator(padded, plan.stride, plan.halo)
    whole = whole[:, before[0] :, before[1] :][:, : plan.height, : plan.width]
    tiled = np.full_like(image, np.nan)
    for block in plan:
        tile = block.extend(image[:, *block.read.toslices()])
        assert tile.shape[1:] == plan.tile_shape
        output = periodic_local_operator(tile, plan.stride, plan.halo)
        tiled[:, *block.core.toslices()] = block.crop(output)
    np.testing.assert_array_equal(tiled, whole)


@given(plans())
def test_what_a_core_depends_on_is_the_whole_reflected_image(plan):
    image = np.random.default_rng(0).random((plan.height, plan.width))
    reach = 200
    padded = np.pad(image, reach, mode="reflect")
    for block in plan:
        tile = block.extend(image[block.read.toslices()])
        spans = []
        for (start, stop), origin in zip(
            block.core.toranges(), (block.tile.row_off, block.tile.col_off), strict=True
        ):
            # Strides are counted from the tile's origin: a network sees nothing else.
            first = (start - origin) // plan.stride * plan.stride - plan.margin
            last = -((origin - stop) // plan.stride) * plan.stride + plan.margin
            spans.append((origin, first, last))
        seen = tile[tuple(slice(first, last) for _, first, last in spans)]
        there = tuple(slice(reach + o + first, reach + o + last) for o, first, last in spans)
        np.testing.assert_array_equal(seen, padded[there])


def test_full_tiles_have_one_shape_whatever_the_image():
    shapes = {BlockPlan(n, n, 8, 8, 64, full_tiles=True).tile_shape for n in (1, 64, 100)}
    assert shapes == {(80, 80)}


@pytest.mark.parametrize("place", [{"top": 1}, {"left": 1}, {"top": -64}, {"left": -100}])
def test_a_plan_begins_less_than_a_block_before_the_image(place):
    with pytest.raises(GridError, match="less than a block before"):
        BlockPlan(100, 100, stride=8, halo=8, size=64, **place)


def test_a_block_off_the_stride_is_refused():
    with pytest.raises(GridError, match="give 64"):
        BlockPlan(100, 100, stride=32, halo=64, size=40)
