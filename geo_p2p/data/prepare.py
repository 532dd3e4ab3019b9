"""Read a chip folder into a `DataBunch`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

from geo_p2p.card import Scaling, fit_scaling
from geo_p2p.card.config import CHOICES
from geo_p2p.chips import Chip, ChipFolder, split_territory
from geo_p2p.data.bunch import DataBunch, Origin
from geo_p2p.data.samples import Augmentation
from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame

__all__ = ["prepare_data"]

VAL_SHARE = 0.1
"""Share of chips to validate on, 0-1, for folders that come without a split."""

SPLIT = ("method", "val_pct", "seed", "side", "buffer")
"""What a model card keeps of a split."""

Parts = tuple[list[str], list[str]]


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
        If the folder is not one of chips, chips differ in size or bands, another split is asked
        for than the one saved, or an argument is none that can be.
    ModelError
        If the target cannot be taken for classes.
    RasterError
        If a chip cannot be read.
    """
    _refuse_impossible(batch_size, target)
    folder = ChipFolder.open(path)
    chips = {name: folder.read(name) for name in folder.names}
    _require_alike(folder, chips)
    parts, split = _parts(folder, chips, val_split_pct, seed)
    train, valid = ([chips[name] for name in part] for part in parts)
    if not train:
        raise ChipError(f"{path}: the split leaves no chip to train on; export again")
    frame = train[0].frame
    bidx = tuple((folder.own or {}).get("settings", {}).get("bidx") or ())
    origin = Origin(folder.path, bidx, frame.res, frame.crs_name, split)
    augmentation = Augmentation() if transforms is False else transforms
    return DataBunch(
        train,
        valid,
        _scalings(folder, train, target),
        origin,
        batch_size=batch_size,
        augmentation=augmentation if isinstance(augmentation, Augmentation) else None,
        seed=seed,
    )


def _refuse_impossible(batch_size: int | None, target: str) -> None:
    if batch_size is not None and batch_size < 1:
        raise ChipError(f"batches of {batch_size} chips: give at least 1")
    if target not in CHOICES["target"]:
        raise ChipError(f"target {target!r}: choose one of {', '.join(CHOICES['target'])}")


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


def _scalings(folder: ChipFolder, train: Sequence[Chip], target: str) -> tuple[Scaling, Scaling]:
    """Fit the scalings of input and target to the training chips."""
    x, y = folder.bands()
    classes = y.categorical if target == "auto" else target == "classes"
    valids = [chip.valid for chip in train]
    return (
        fit_scaling([chip.x for chip in train], valids, asdict(x), False),
        fit_scaling([chip.y for chip in train], valids, asdict(y), classes),
    )


def _parts(
    folder: ChipFolder, chips: Mapping[str, Chip], share: float | None, seed: int
) -> tuple[Parts, dict[str, Any]]:
    """Names of the training and validation chips, and how they were chosen."""
    saved = folder.split
    if saved is not None:
        if share is not None and abs(share - saved["val_pct"] / 100) > 1e-9:
            raise ChipError(
                f"{folder.path}: its chips were split when they were exported, "
                f"{saved['val_pct']:g} % for validation, which val_split_pct={share:g} would "
                "change; export again with that share"
            )
        return (list(saved["train"]), list(saved["val"])), {key: saved[key] for key in SPLIT}
    percent = 100 * (VAL_SHARE if share is None else share)
    windows = _windows([chip.frame for chip in chips.values()])
    size = max(chips[folder.names[0]].frame.shape)
    split = split_territory(windows, size, val_pct=percent, seed=seed)
    train, valid = (
        [name for name, part in zip(chips, split.parts, strict=True) if part == side]
        for side in ("train", "val")
    )
    return (train, valid), {key: getattr(split, key) for key in SPLIT}


def _windows(frames: Sequence[Frame]) -> list[Window]:
    """Where frames lie on the lattice of the first, px, shifted so that none is negative."""
    inverse = ~frames[0].transform
    places = np.array([inverse * (f.transform.c, f.transform.f) for f in frames])
    corners = np.rint(places - places.min(0)).astype(int).tolist()
    return [
        Window(col, row, frame.width, frame.height)
        for (col, row), frame in zip(corners, frames, strict=True)
    ]
