"""The `DataBunch`: training and validation chips as fastai's loaders."""

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p import processes
from geo_p2p.card import InputRange, Scaling, range_seen
from geo_p2p.chips import Chip
from geo_p2p.data.samples import Augmentation, ChipSet
from geo_p2p.errors import ModelError
from geo_p2p.report import Figure, as_picture, panel

with warnings.catch_warnings():
    # fastai decorates code that is never run here with what torch has deprecated, and says so
    # three times to whoever starts a training. `pix2pix` comes by here before it loads the rest.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

__all__ = ["DataBunch", "Origin"]

BATCH = 8
"""Chips a batch, until a recipe or the user says otherwise."""


@dataclass(frozen=True)
class Origin:
    """Where chips come from: what a model card keeps of them.

    Parameters
    ----------
    path : where the pairs lie.
    bands : band numbers of the input raster, from 1; empty for all of them.
    pixel_size : of the input raster, CRS units (x, y); None where pictures have no place.
    crs : name of that CRS; empty where there is none.
    split : how training and validation were parted.
    working_dir : folder for what comes of the training; None leaves it open.
    """

    path: Path
    bands: tuple[int, ...] = ()
    pixel_size: tuple[float, float] | None = None
    crs: str = ""
    split: Mapping[str, Any] = field(default_factory=dict)
    working_dir: Path | None = None


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
        super().__init__(
            *self._loaders(batch_size or BATCH, augmentation),
            path=origin.working_dir or origin.path,
        )

    def configure(self, batch_size: int, augmentation: Augmentation) -> None:
        """Let a recipe decide what the user left open.

        Raises
        ------
        ModelError
            If a batch cannot be divided among the processes that train together.
        """
        asked_size, asked_augmentation = self.asked
        count, size = processes.count(), asked_size or batch_size
        if size % count or len(self.chips[0]) < count:
            raise ModelError(
                f"{count} processes cannot share batches of {size} of {len(self.chips[0])} chips: "
                f"take a multiple of {count} (--batch-size), or start fewer"
            )
        self.loaders = self._loaders(asked_size or batch_size, asked_augmentation or augmentation)

    def adopt(self, scalings: tuple[Scaling, Scaling]) -> None:
        """Scale as a trained model does, to go on with its training."""
        self.scalings = scalings
        self.loaders = self._loaders(self.batch_size, self.asked[1])

    def _loaders(self, batch_size: int, augmentation: Augmentation | None) -> list[DataLoader]:
        train = ChipSet(self.chips[0], self.scalings, augmentation, self.seed, shared=True)
        valid = ChipSet(self.chips[1], self.scalings)
        # fastai draws a seed for every loader from Python's random numbers, which are the user's.
        state = random.getstate()
        loaders = [
            # A last short batch would weigh more a chip, and batch norm needs company.
            _loader(train, _divided(batch_size, len(train)), shuffle=True, drop_last=True),
            _loader(valid, min(batch_size, max(1, len(valid)))),
        ]
        random.setstate(state)
        loaders[0].rng = random.Random(self.seed)
        return loaders

    def begin_epoch(self, number: int) -> None:
        """Draw order and augmentation of the training chips by the number of the epoch alone.

        What was drawn before has no part in it, so that a training that goes on somewhere else
        sees the same batches.
        """
        self.train_dl.rng = random.Random(f"{self.seed} {number}")
        self.train_dl.dataset.begin_epoch(number)

    @cached_property
    def seen(self) -> InputRange:
        """What the input of the training chips is like."""
        train = self.chips[0]
        return range_seen([chip.x for chip in train], [chip.valid for chip in train])

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
        """Draw the first training pairs, as they are on disk: input and target side by side."""
        chips = self.chips[0][:rows]
        return panel([self.pictures(chip) for chip in chips], ["Input", "Target"])

    def pictures(self, chip: Chip, *translated: NDArray[Any]) -> list[NDArray[np.uint8]]:
        """Pictures of a chip's input and target, and of target-like rasters, (rows, cols, 4)."""
        x, y = self.scalings
        images = [as_picture(chip.x, chip.valid, **_look(x))]
        images += [as_picture(image, chip.valid, **_look(y)) for image in (chip.y, *translated)]
        return images


def _divided(batch_size: int, chips: int) -> int:
    """Size of a batch of all processes together, each of which takes as many of its chips."""
    count = processes.count()
    return max(1, min(batch_size, chips) // count) * count


def _loader(chips: ChipSet, batch_size: int, **how: Any) -> DataLoader:
    """Load batches: put together where the chips are, varied where the network is."""
    return DataLoader(
        chips,
        bs=batch_size,
        create_item=lambda index: index,
        # Not the methods themselves: fastai would make them methods of the loader.
        create_batch=lambda indices: chips.batch(indices),
        after_batch=lambda batch: chips.varied(batch),
        **how,
    )


def _look(scaling: Scaling) -> dict[str, Any]:
    """How values of a scaling are drawn: by palette, or stretched over its range."""
    if scaling.classes:
        return {"colors": {c.value: c.color for c in scaling.classes}}
    return {"limits": list(zip(scaling.low, scaling.high, strict=True))}
