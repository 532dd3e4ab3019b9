"""From chips to batches: pairs stay pairs, training decides the scaling, the split is kept."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from conftest import write_raster
from pairs import COLOURS, SIDE, blobs, bunch, classed, inverted, scalings
from rasterio.crs import CRS
from rasters import opened
from torch import Tensor

from geo_p2p.chips import ChipFolder, export_chips
from geo_p2p.data import Augmentation, ChipSet, DataBunch, Origin, prepare_data
from geo_p2p.data.samples import Sample
from geo_p2p.errors import ChipError, GeoP2PError, ModelError
from geo_p2p.raster import Frame

MakeRaster = Callable[..., Path]
AROUND = Frame(128, 192, Affine(1, 0, 500_000, 0, -1, 5_000_000), CRS.from_epsg(32633))
"""Where `make_raster` puts its rasters."""


# ------------------------------------------------------------------ augmentation


def coordinates(classes: bool = False) -> Sample:
    """Return a sample whose pixels say where they are, in x and y alike, but for a hole."""
    rows, cols = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    x = torch.stack([rows, cols]).float()
    valid = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    valid[:, 5:11, 20:23] = False
    one_a_row = (rows == torch.arange(SIDE)[:, None, None]).float()
    y = one_a_row if classes else x + 100
    return x * valid, y * valid, valid


def moved_by(
    augment: Augmentation, sample: Sample, rng: np.random.Generator, classes: bool = False
) -> Sample:
    """Move one sample, as a batch of one."""
    x, y, valid = (images[0] for images in augment(together([sample]), rng, classes))
    return x, y, valid


def together(samples: list[Sample]) -> Sample:
    x, y, valid = (torch.stack(images) for images in zip(*samples, strict=True))
    return x, y, valid


def moves(sample: Sample) -> tuple[Tensor, Tensor]:
    """Return the coordinates that valid pixels of x and y carry."""
    x, y, valid = sample
    kept = valid[0]
    if len(y) == SIDE:
        return x[:1, kept], y.argmax(0)[None][:, kept].float()
    return x[:, kept], y[:, kept] - 100


@pytest.mark.parametrize("jitter", [0, 6])
@pytest.mark.parametrize("kind", ["none", "mirror", "dihedral"])
def test_x_y_and_mask_move_alike(kind: str, jitter: int) -> None:
    augment, rng = Augmentation(kind, jitter), np.random.default_rng(0)
    places = set()
    for _ in range(40):
        moved = moved_by(augment, coordinates(), rng)
        assert [image.shape for image in moved] == [i.shape for i in coordinates()]
        assert moved[2].dtype == torch.bool
        x, y = moves(moved)
        assert (x - y).abs().max() < 1e-3
        # No pixel that the hole has a part in is called valid: rows 5 to 10, columns 20 to 22.
        inside = (x[0] > 4.01) & (x[0] < 10.99) & (x[1] > 19.01) & (x[1] < 22.99)
        assert not inside.any()
        assert (~moved[2]).sum() >= 6 * 3
        assert (moved[0] * ~moved[2]).abs().max() == 0
        places.add(tuple(moved[0][:, 3, 9].tolist()))
    turns = {"none": 1, "mirror": 2, "dihedral": 8}[kind]
    assert len(places) == turns if not jitter else len(places) > turns


def test_classes_move_with_the_input_and_are_never_blended() -> None:
    augment, rng = Augmentation("none", 6), np.random.default_rng(0)
    for _ in range(40):
        moved = moved_by(augment, coordinates(classes=True), rng, classes=True)
        assert set(moved[1].unique().tolist()) <= {0.0, 1.0}
        assert (moved[1].sum(0) == moved[2][0]).all()
        rows, classes = moves(moved)
        assert (rows - classes).abs().max() <= 0.5 + 1e-3  # the nearest class is it


def test_an_enlarged_crop_is_as_large_as_asked_and_from_everywhere() -> None:
    rng = np.random.default_rng(0)
    corners = []
    for _ in range(60):
        x, *_ = moved_by(Augmentation("none", 8), coordinates(), rng)
        corners.append(x[:, 0, 0])
        step = (x[0, -1, 0] - x[0, 0, 0]) / (SIDE - 1)
        assert step == pytest.approx(SIDE / (SIDE + 8), abs=0.03)
    spread = torch.stack(corners).amax(0) - torch.stack(corners).amin(0)
    assert (spread > 5).all()


@pytest.mark.parametrize("jitter", [0, 6])
@pytest.mark.parametrize("kind", ["none", "mirror", "dihedral"])
def test_the_samples_of_a_batch_move_each_its_own_way_as_they_would_alone(
    kind: str, jitter: int
) -> None:
    augment = Augmentation(kind, jitter)
    alone, in_batches = np.random.default_rng(1), np.random.default_rng(1)
    samples = [coordinates() for _ in range(12)]
    expected = together([moved_by(augment, sample, alone) for sample in samples])
    moved = augment(together(samples), in_batches)
    for images, others in zip(moved, expected, strict=True):
        assert images.is_contiguous()
        assert torch.equal(images, others)
    assert len({tuple(x[:, 3, 9].tolist()) for x in moved[0]}) > (0 if kind == "none" else 1)


def test_a_chip_set_scales_and_marks_its_samples() -> None:
    pairs = inverted(3)
    pairs[1].valid[:7] = False
    both = scalings(pairs)
    x, y, valid = ChipSet(pairs, both)[1]
    assert (x.dtype, y.dtype, valid.dtype) == (torch.float32, torch.float32, torch.bool)
    assert (x.shape, y.shape, valid.shape) == ((2, SIDE, SIDE), (1, SIDE, SIDE), (1, SIDE, SIDE))
    assert np.array_equal(x.numpy(), both[0].forward(pairs[1].x, pairs[1].valid))
    assert np.array_equal(y.numpy(), both[1].forward(pairs[1].y, pairs[1].valid))
    assert np.array_equal(valid[0].numpy(), pairs[1].valid)
    assert (x[:, :7] == 0).all()


# ------------------------------------------------------------------ loaders


def order(data: DataBunch, epochs: int = 1) -> list[list[float]]:
    """Return the means of the inputs, batch by batch."""
    return [x.mean((1, 2, 3)).tolist() for _ in range(epochs) for x, *_ in data.train_dl]


def test_loaders_have_no_worker_processes_and_leave_chance_alone() -> None:
    random.seed(5)
    state = random.getstate()
    data = bunch(inverted(6), inverted(2, seed=50))
    assert random.getstate() == state
    for loader in data.loaders:
        assert loader.fake_l.num_workers == 0


def test_training_is_shuffled_by_the_seed_and_validation_is_not() -> None:
    def shuffled(seed: int, state: int) -> list[list[float]]:
        random.seed(state)
        return order(bunch(inverted(12), seed=seed), 3)

    first = shuffled(seed=1, state=0)
    assert shuffled(seed=1, state=9) == first
    assert shuffled(seed=2, state=0) != first
    assert first[:3] != first[3:6] != first[6:]  # epochs differ
    data = bunch(inverted(2), inverted(6, seed=50))
    valid = torch.cat([x for x, *_ in data.valid_dl])
    assert torch.equal(valid, torch.stack([data.valid_dl.dataset[i][0] for i in range(6)]))


def test_augmentation_follows_the_seed() -> None:
    def varied(seed: int) -> list[list[float]]:
        pairs = inverted(1)
        flips = Augmentation("dihedral", 4)
        data = DataBunch(pairs, [], scalings(pairs), Origin(Path()), augmentation=flips, seed=seed)
        return order(data, 6)

    assert varied(1) == varied(1)
    assert varied(1) != varied(2)


def test_a_short_last_batch_is_left_to_the_next_epoch_unless_it_is_the_only_one() -> None:
    assert [len(batch) for batch in order(bunch(inverted(10)))] == [4, 4]
    assert [len(batch) for batch in order(bunch(inverted(3)))] == [3]
    data = bunch(inverted(1), inverted(6, seed=50))
    assert [len(batch) for batch in order(data)] == [1]
    assert [len(x) for x, *_ in data.valid_dl] == [4, 2]
    assert list(bunch(inverted(2)).valid_dl) == []


def test_the_recipe_decides_what_the_user_left_open() -> None:
    def told(**asked: Any) -> tuple[int, Augmentation]:
        pairs = inverted(6)
        data = DataBunch(pairs, [], scalings(pairs), Origin(Path()), **asked)
        data.configure(5, Augmentation("mirror"))
        return data.batch_size, data.train_dl.dataset.augmentation

    flips, still = Augmentation("dihedral"), Augmentation()
    assert told() == (5, Augmentation("mirror"))
    assert told(batch_size=2) == (2, Augmentation("mirror"))
    assert told(augmentation=flips) == (5, flips)
    assert told(augmentation=still) == (5, still)
    data = bunch(inverted(2), inverted(2))
    data.configure(5, flips)
    assert data.valid_dl.dataset.augmentation == still


# ------------------------------------------------------------------ folders


@pytest.fixture
def folder(make_raster: MakeRaster, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that exports chips from two rasters of one place."""

    def make(target: np.ndarray | None = None, **settings: Any) -> Path:
        options = settings.pop("options", {})
        x = settings.pop("x", blobs(3, 128, 192)).astype(settings.pop("dtype", "uint8"))
        y = 255 - x[:1] if target is None else target
        src, additional = make_raster(x), make_raster(y, **options)
        settings = {"tile_size": SIDE, "stride": SIDE, **settings}
        return export_chips(src, additional, tmp_path / "chips", **settings)

    return make


def test_chips_come_back_scaled_with_what_a_card_keeps_of_them(folder: Any) -> None:
    path = folder(bidx=(3, 1))
    data = prepare_data(path)
    own = json.loads((path / "geo_p2p.json").read_text())
    assert data.origin.path == path
    assert data.origin.bands == (3, 1)
    assert data.origin.pixel_size == (1.0, 1.0)
    assert data.origin.crs == "EPSG:32633"
    assert data.origin.split == {
        key: own["split"][key] for key in ("method", "val_pct", "seed", "side", "buffer")
    }
    assert [c.name for c in data.chips[0]] == own["split"]["train"]
    assert [c.name for c in data.chips[1]] == own["split"]["val"]
    x, y, valid = next(iter(data.train_dl))
    assert x.shape[1:] == (2, SIDE, SIDE)
    assert y.shape[1:] == (1, SIDE, SIDE)
    assert valid.all()
    assert data.chip_size == SIDE


def test_the_split_saved_with_the_chips_wins_and_another_is_refused(folder: Any) -> None:
    path = folder(val_pct=20.0, seed=3)
    data = prepare_data(path, seed=9)
    saved = ChipFolder.open(path).split
    assert saved is not None
    assert [c.name for c in data.chips[1]] == saved["val"]
    assert prepare_data(path, val_split_pct=0.2).chips[1]
    with pytest.raises(ChipError, match=r"20 % for validation.*val_split_pct=0.1.*export again"):
        prepare_data(path, val_split_pct=0.1)


def test_a_folder_without_a_split_is_split_by_territory(folder: Any) -> None:
    path = folder(split="none", stride=SIDE // 2)
    (path / "geo_p2p.json").unlink()
    data = prepare_data(path, val_split_pct=0.15, seed=4)
    train, valid = data.chips
    assert train
    assert valid
    assert data.origin.split["method"] == "blocks"
    assert (data.origin.split["val_pct"], data.origin.split["seed"]) == (15.0, 4)

    def box(pair: Any) -> tuple[float, ...]:
        return pair.frame.bounds

    for one in map(box, train):
        for two in map(box, valid):  # no training chip within half a chip of validation ground
            gap = max(one[0] - two[2], two[0] - one[2], one[1] - two[3], two[1] - one[3])
            assert gap >= SIDE // 2
    again = prepare_data(path, val_split_pct=0.15, seed=4)
    assert [c.name for c in again.chips[1]] == [c.name for c in valid]
    assert not prepare_data(path, val_split_pct=0.0).chips[1]


def test_scaling_is_fitted_to_the_training_chips_only(folder: Any) -> None:
    y = blobs(1, 128, 192).astype("uint16")
    path = folder(y)
    saved = ChipFolder.open(path).split
    assert saved is not None
    for name in saved["val"]:
        window = AROUND.window_of(ChipFolder.open(path).read(name).frame.bounds)
        y[:, *window.toslices()] = 60_000
    before = prepare_data(path).scalings[1]
    rewritten = folder(y, overwrite=True)
    assert ChipFolder.open(rewritten).read(saved["val"][0]).y.min() == 60_000
    assert prepare_data(rewritten).scalings[1] == before
    assert before.high[0] < 256


def test_invalid_pixels_do_not_count_in_the_scaling(folder: Any) -> None:
    valid = np.ones((128, 192), bool)
    valid[40:60, 30:150] = False
    x, y = (np.where(valid, blobs(1, 128, 192), 9_000).astype("uint16") for _ in "xy")
    data = prepare_data(folder(y, x=x, dtype="int16", min_valid=0.1, options={"mask": valid}))
    assert any(not pair.valid.all() for pair in data.chips[0])
    assert [scaling.high[0] < 256 for scaling in data.scalings] == [True, True]


def test_chips_stay_in_their_own_type(folder: Any) -> None:
    data = prepare_data(folder(dtype="int16"))
    for pair in (*data.chips[0], *data.chips[1]):
        assert (pair.x.dtype, pair.y.dtype, pair.valid.dtype) == (np.int16, np.int16, bool)
        assert pair.x.nbytes + pair.y.nbytes == 4 * SIDE * SIDE * 2


def test_a_palette_makes_classes_one_hot(folder: Any) -> None:
    y = np.array([1, 2, 5], "uint8")[np.digitize(blobs(1, 128, 192), (110, 150))]
    path = folder(y, options={"colors": COLOURS})
    data = prepare_data(path)
    assert data.scalings[1].values.tolist() == [1, 2, 5]
    _, y, valid = next(iter(data.train_dl))
    assert y.shape[1] == 3
    assert (y.sum(1, keepdim=True) == valid).all()
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert prepare_data(path, target="values").scalings[1].classes == ()


def test_classes_can_be_asked_for_where_there_is_no_palette(folder: Any) -> None:
    y = np.array([3, 7], "uint8")[(blobs(1, 128, 192) > 120).astype(int)]
    path = folder(y)
    assert prepare_data(path).scalings[1].classes == ()
    assert prepare_data(path, target="classes").scalings[1].values.tolist() == [3, 7]


def test_a_target_that_holds_no_classes_is_refused_as_such(folder: Any) -> None:
    with pytest.raises(ModelError, match="say --target values"):
        prepare_data(folder(blobs(2, 128, 192)), target="classes")


def test_batch_size_and_transforms_go_before_the_recipe(folder: Any) -> None:
    path = folder()
    flips = Augmentation("dihedral", 4)
    for asked, expected in ((False, Augmentation()), (flips, flips), (True, None), (None, None)):
        data = prepare_data(path, batch_size=3, transforms=asked)
        recipe = Augmentation("mirror", 2)
        data.configure(5, recipe)
        assert data.batch_size == 3
        assert data.train_dl.dataset.augmentation == (expected or recipe)


def narrower(pair: Path) -> None:
    swap(pair, lambda values: values[:, :, :-4])


def fewer_bands(pair: Path) -> None:
    swap(pair, lambda values: values[:2])


def swap(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with opened(path) as dataset:
        values, transform = dataset.read(), dataset.transform
    write_raster(path, change(values), transform=transform)


@pytest.mark.parametrize("change", [narrower, fewer_bands])
def test_chips_that_differ_are_refused_by_name(folder: Any, change: Any) -> None:
    path = folder()
    name = ChipFolder.open(path).names[3]
    for side in ("images", "images2") if change is narrower else ("images",):
        change(path / side / f"{name}.tif")
    with pytest.raises(ChipError, match=rf"chip {name} is .*export all chips alike"):
        prepare_data(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 0}, "batches of 0 chips"),
        ({"batch_size": -2}, "batches of -2 chips"),
        ({"target": "class"}, "target 'class': choose one of auto, values, classes"),
        ({"val_split_pct": 0.3}, "split when they were exported"),
    ],
)
def test_impossible_arguments_are_refused(
    folder: Any, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(GeoP2PError, match=said):
        prepare_data(folder(), **arguments)


def test_a_folder_with_nothing_to_train_on_is_refused(folder: Any) -> None:
    path = folder()
    own = json.loads((path / "geo_p2p.json").read_text())
    own["split"]["train"] = []
    (path / "geo_p2p.json").write_text(json.dumps(own))
    with pytest.raises(ChipError, match="no chip to train on"):
        prepare_data(path)


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize("colors", [{}, COLOURS])
def test_a_batch_can_be_looked_at(colors: dict[int, Any]) -> None:
    data = bunch(classed(5), colors=colors)
    figure = data.show_batch(3)
    assert len([axes for axes in figure.axes if axes.images]) == 2 * 3
    pictures = data.pictures(data.chips[0][0], data.chips[0][0].y)
    assert len(pictures) == 3
    assert np.array_equal(pictures[1], pictures[2])
    assert (pictures[1][:4, :4, 3] == 0).all()  # what is not valid is transparent
    if colors:
        seen = Counter(map(tuple, pictures[1][5:].reshape(-1, 4).tolist()))
        assert seen.keys() <= set(COLOURS.values())
