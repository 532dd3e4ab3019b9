"""From chips to batches: `prepare_data` builds the `DataBunch` a learner takes.

Chips are decoded once and kept in their own type; scaling and augmentation happen on the way to
a batch. The loaders are fastai's, without worker processes.
"""

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor
from torch.nn import functional

from geo_p2p.card import Scaling, fit_scaling
from geo_p2p.chips import Chip, ChipFolder, split_territory
from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame
from geo_p2p.report import Figure, as_picture, panel

with warnings.catch_warnings():
    # fastai decorates code that is never run here with what torch has deprecated, and says so
    # three times to whoever starts a training. `pix2pix` comes by here before it loads the rest.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

__all__ = ["Augmentation", "ChipSet", "DataBunch", "prepare_data"]

VAL_SHARE = 0.1
"""Share of chips to validate on, 0-1, for folders that come without a split."""

BATCH = 8
"""Chips a batch, until a recipe or the user says otherwise."""

Sample = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Augmentation:
    """How training chips vary; the same draw moves x, y and the mask alike.

    Parameters
    ----------
    kind : "dihedral" (8 flips and turns), "mirror" (left-right) or "none".
    jitter : px a chip is enlarged by before a random crop of its own size; 0 for none.
    """

    kind: str = "none"
    jitter: int = 0

    def __call__(self, sample: Sample, rng: np.random.Generator, classes: bool = False) -> Sample:
        """Move one sample: x, y and valid, (channels, rows, cols) each; y may be one-hot classes."""
        if self.jitter:
            sample = _jittered(sample, self.jitter, rng, classes)
        turns = int(rng.integers(4)) if self.kind == "dihedral" else 0
        flip = bool(rng.integers(2)) if self.kind != "none" else False
        moved = (torch.rot90(image, turns, (1, 2)) for image in sample)
        x, y, valid = (image.flip(2) if flip else image for image in moved)
        return x.contiguous(), y.contiguous(), valid.contiguous()


def _jittered(sample: Sample, jitter: int, rng: np.random.Generator, classes: bool) -> Sample:
    """Enlarge by ``jitter`` px and crop at one random place; masks and classes by nearest."""
    rows, cols = sample[0].shape[1:]
    top, left = rng.integers(0, jitter + 1, 2)

    def moved(image: Tensor, mode: str) -> Tensor:
        large = functional.interpolate(
            image[None].float(), (rows + jitter, cols + jitter), mode=mode
        )
        return large[0, :, top : top + rows, left : left + cols]

    x, y, valid = sample
    y_mode = "nearest" if classes else "bilinear"
    return moved(x, "bilinear"), moved(y, y_mode), moved(valid, "nearest") > 0.5


class ChipSet(Sequence[Sample]):
    """Decoded chips as samples for a network.

    Parameters
    ----------
    chips : pairs, all of one size.
    scalings : of input and target.
    augmentation : how samples vary.
    seed : of the variation.
    """

    def __init__(
        self,
        chips: Sequence[Chip],
        scalings: tuple[Scaling, Scaling],
        augmentation: Augmentation | None = None,
        seed: int = 42,
    ) -> None:
        self.chips = chips
        self.scalings = scalings
        self.augmentation = augmentation or Augmentation()
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.chips)

    def __getitem__(self, index: Any) -> Any:
        """Sample ``index``: x and y scaled, float32, and valid, bool; (channels, rows, cols)."""
        chip = self.chips[index]
        x = self.scalings[0].forward(chip.x, chip.valid)
        y = self.scalings[1].forward(chip.y, chip.valid)
        sample = (torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(chip.valid)[None])
        return self.augmentation(sample, self._rng, bool(self.scalings[1].classes))


@dataclass(frozen=True)
class Origin:
    """Where chips come from: what a model card keeps of them."""

    path: Path
    bands: tuple[int, ...] = ()
    pixel_size: tuple[float, float] | None = None
    crs: str = ""
    split: Mapping[str, Any] = field(default_factory=dict)


class DataBunch(DataLoaders):  # type: ignore[misc]
    """Training and validation chips with their scaling, as fastai's `DataLoaders`.

    Batches are (x, y, valid): (batch, channels, rows, cols) float32 scaled, and
    (batch, 1, rows, cols) bool.

    Parameters
    ----------
    train, valid : chips.
    scalings : of input and target.
    origin : where they come from.
    batch_size : chips a batch; None leaves it to the recipe.
    augmentation : None leaves it to the recipe.
    seed : of order and augmentation.
    """

    n_inp = 1  # of a batch, only x goes through the generator

    def __init__(
        self,
        train: Sequence[Chip],
        valid: Sequence[Chip],
        scalings: tuple[Scaling, Scaling],
        origin: Origin,
        *,
        batch_size: int | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 42,
    ) -> None:
        self.chips = train, valid
        self.scalings = scalings
        self.origin = origin
        self.asked = batch_size, augmentation
        self.seed = seed
        super().__init__(*self._loaders(batch_size or BATCH, augmentation), path=origin.path)

    def configure(self, batch_size: int, augmentation: Augmentation) -> None:
        """Let a recipe decide what the user left open."""
        asked_size, asked_augmentation = self.asked
        self.loaders = self._loaders(asked_size or batch_size, asked_augmentation or augmentation)

    def adopt(self, scalings: tuple[Scaling, Scaling]) -> None:
        """Scale as a trained model does, to go on with its training."""
        self.scalings = scalings
        self.loaders = self._loaders(self.batch_size, self.asked[1])

    def _loaders(self, batch_size: int, augmentation: Augmentation | None) -> list[DataLoader]:
        train = ChipSet(self.chips[0], self.scalings, augmentation, self.seed)
        valid = ChipSet(self.chips[1], self.scalings)
        size = min(batch_size, len(train))
        loaders = [
            # A last short batch would weigh more a chip, and batch norm needs company.
            DataLoader(train, bs=size, shuffle=True, drop_last=True),
            DataLoader(valid, bs=min(batch_size, max(1, len(valid)))),
        ]
        loaders[0].rng = random.Random(self.seed)
        return loaders

    @property
    def batch_size(self) -> int:
        """Chips a training batch."""
        return int(self.loaders[0].bs)

    @property
    def chip_size(self) -> int:
        """Side of a chip, px."""
        return int(self.chips[0][0].valid.shape[0])

    @property
    def train_dl(self) -> DataLoader:
        """The training loader, under arcgis.learn's name."""
        return self.loaders[0]

    @property
    def valid_dl(self) -> DataLoader:
        """The validation loader, under arcgis.learn's name."""
        return self.loaders[1]

    def show_batch(self, rows: int = 4) -> Figure:
        """Draw the first pairs of a training batch: input and target side by side."""
        chips = self.chips[0][:rows]
        return panel([self.pictures(chip) for chip in chips], ["Input", "Target"])

    def pictures(self, chip: Chip, *translated: NDArray[Any]) -> list[NDArray[np.uint8]]:
        """Pictures of a chip's input and target, and of target-like rasters, (rows, cols, 4)."""
        x, y = self.scalings
        images = [as_picture(chip.x, chip.valid, **_look(x))]
        images += [as_picture(image, chip.valid, **_look(y)) for image in (chip.y, *translated)]
        return images


def _look(scaling: Scaling) -> dict[str, Any]:
    """How values of a scaling are drawn: by palette, or stretched over its range."""
    if scaling.classes:
        return {"colors": {c.value: c.color for c in scaling.classes}}
    return {"limits": list(zip(scaling.low, scaling.high, strict=True))}


def prepare_data(
    path: str | Path,
    *,
    batch_size: int | None = None,
    val_split_pct: float | None = None,
    seed: int = 42,
    target: str = "auto",
    transforms: Augmentation | bool | None = None,
) -> DataBunch:
    """Read a folder of chips for training.

    Parameters
    ----------
    path : chip folder, written by `export_chips` or by ArcGIS Pro (Export Tiles with an
        additional raster).
    batch_size : chips a batch; None leaves it to the recipe.
    val_split_pct : share of chips to validate on, 0-1, for folders that come without a split;
        0.1 if None. A split saved with the chips wins.
    seed : of split, order and augmentation.
    target : "values", "classes", or "auto" to go by the target's palette.
    transforms : augmentation; False for none, None or True to leave it to the recipe.

    Returns
    -------
    DataBunch
        Scaled by its training part only.

    Raises
    ------
    ChipError
        If the folder is not one of chips, chips differ in size or bands, or another split is
        asked for than the one saved.
    RasterError
        If a chip cannot be read.
    """
    folder = ChipFolder.open(path)
    chips = {name: folder.read(name) for name in folder.names}
    _require_alike(folder, chips)
    parts, split = _parts(folder, chips, val_split_pct, seed)
    train, valid = ([chips[name] for name in part] for part in parts)
    if not train:
        raise ChipError(f"{path}: the split leaves no chip to train on; export again")
    infos = folder.bands()
    classes = infos[1].categorical if target == "auto" else target == "classes"
    valids = [chip.valid for chip in train]
    x = fit_scaling([chip.x for chip in train], valids, asdict(infos[0]), False)
    y = fit_scaling([chip.y for chip in train], valids, asdict(infos[1]), classes)
    frame = train[0].frame
    bidx = tuple((folder.own or {}).get("settings", {}).get("bidx") or ())
    origin = Origin(folder.path, bidx, frame.res, frame.crs_name, split)
    augmentation = Augmentation() if transforms is False else transforms
    return DataBunch(
        train,
        valid,
        (x, y),
        origin,
        batch_size=batch_size,
        augmentation=augmentation if isinstance(augmentation, Augmentation) else None,
        seed=seed,
    )


def _require_alike(folder: ChipFolder, chips: Mapping[str, Chip]) -> None:
    """Refuse chips that differ in size or bands."""
    first = chips[folder.names[0]]
    for name, chip in chips.items():
        if chip.x.shape != first.x.shape or chip.y.shape != first.y.shape:
            raise ChipError(
                f"{folder.path}: chip {name} is {chip.x.shape} and {chip.y.shape}, but "
                f"{first.name} is {first.x.shape} and {first.y.shape} (bands, rows, cols); "
                "export all chips alike"
            )


def _parts(
    folder: ChipFolder, chips: Mapping[str, Chip], share: float | None, seed: int
) -> tuple[tuple[list[str], list[str]], dict[str, Any]]:
    """Names of the training and validation chips, and how they were chosen."""
    saved = folder.split
    if saved is not None:
        if share is not None and abs(share - saved["val_pct"] / 100) > 1e-9:
            raise ChipError(
                f"{folder.path}: its chips were split when they were exported, "
                f"{saved['val_pct']:g} % for validation, which val_split_pct={share:g} would "
                "change; export again with that share"
            )
        summary = {key: saved[key] for key in ("method", "val_pct", "seed", "side", "buffer")}
        return (list(saved["train"]), list(saved["val"])), summary
    percent = 100 * (VAL_SHARE if share is None else share)
    windows = _windows([chip.frame for chip in chips.values()])
    size = max(chips[folder.names[0]].frame.shape)
    split = split_territory(windows, size, val_pct=percent, seed=seed)
    names = [
        [name for name, part in zip(chips, split.parts, strict=True) if part == side]
        for side in ("train", "val")
    ]
    summary = asdict(replace(split, parts=(), blocks=()))
    return (names[0], names[1]), {k: v for k, v in summary.items() if k not in ("parts", "blocks")}


def _windows(frames: Sequence[Frame]) -> list[Window]:
    """Where frames lie on the lattice of the first, px, shifted so that none is negative."""
    inverse = ~frames[0].transform
    places = np.array([inverse * (f.transform.c, f.transform.f) for f in frames])
    corners = np.rint(places - places.min(0)).astype(int).tolist()
    return [
        Window(col, row, frame.width, frame.height)
        for (col, row), frame in zip(corners, frames, strict=True)
    ]
