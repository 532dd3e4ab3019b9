"""Read pairs, whatever lies on disk, into a `DataBunch`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from geo_p2p.card import Scaling, fit_scaling
from geo_p2p.card.config import CHOICES
from geo_p2p.chips import Chip, Pairs, ReadConfig, open_pairs
from geo_p2p.chips.images import named
from geo_p2p.chips.layout import Where
from geo_p2p.chips.live import SETTINGS
from geo_p2p.data.bunch import DataBunch, Origin
from geo_p2p.data.parts import part
from geo_p2p.data.samples import Augmentation
from geo_p2p.data.shelf import Shelf
from geo_p2p.errors import ChipError
from geo_p2p.raster import PIXELS

__all__ = ["DataConfig", "prepare_data"]

IGNORED = ("collate_fn", "num_workers")
"""Settings of arcgis.learn that mean nothing here: loaders need neither."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataConfig:
    """Settings of `prepare_data` beside how pairs are read (`geo_p2p.chips.ReadConfig`).

    Parameters
    ----------
    class_mapping : class numbers of the target to keep, and their names: {1: "water"}; pixels of
        other numbers count as invalid. The target then holds classes.
    val_split_pct : share of chips to validate on, 0-1, for sets that come without a split; 0.1 if
        None. A split saved with the chips wins.
    batch_size : chips a batch; None leaves it to the recipe.
    transforms : augmentation; False for none, None or True to leave it to the recipe.
    seed : of split, order and augmentation.
    target : "values", "classes", or "auto" to go by the target's palette.
    working_dir : folder for what comes of the training, models/ for one; None leaves it open.

    Raises
    ------
    ChipError
        For a setting nothing can have.
    """

    class_mapping: Mapping[int, str] | None = None
    val_split_pct: float | None = None
    batch_size: int | None = None
    transforms: Augmentation | bool | None = None
    seed: int = 42
    target: str = "auto"
    working_dir: str | Path | None = None

    def __post_init__(self) -> None:
        """Refuse what nothing can have."""
        if self.batch_size is not None and self.batch_size < 1:
            raise ChipError(f"batches of {self.batch_size} chips: give at least 1")
        if self.target not in CHOICES["target"]:
            raise ChipError(f"target {self.target!r}: choose one of {', '.join(CHOICES['target'])}")
        share = self.val_split_pct
        if share is not None and not 0 <= share < 1:
            raise ChipError(f"val_split_pct {share}: a share, give 0 up to, not including, 1")
        if self.working_dir is not None and Path(self.working_dir).is_file():
            raise ChipError(f"{self.working_dir}: a file; working_dir is a folder")
        if self.class_mapping is not None:
            self._check_classes()

    def _check_classes(self) -> None:
        if self.target == "values" or not self.class_mapping:
            raise ChipError(
                "class_mapping names classes: give at least one, and no target='values'"
            )
        try:
            plain = {int(value): str(name) for value, name in self.class_mapping.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ChipError(
                f"class_mapping: class numbers and names, like {{1: 'water'}} ({error})"
            ) from error
        object.__setattr__(self, "class_mapping", plain)


def prepare_data(
    path: Where,
    class_mapping: Mapping[int, str] | None = None,
    chip_size: int | None = None,
    val_split_pct: float | None = None,
    batch_size: int | None = None,
    transforms: Augmentation | bool | None = None,
    **settings: Any,
) -> DataBunch:
    """Read pairs for training: exported chips, plain pictures, or two rasters.

    Names and order of the arguments are those of arcgis.learn. Nothing is written into the folder,
    and where arcgis.learn is wrong this is not: pairs go by name and not by position; the split
    and the order follow the seed, and keep apart what overlaps; scaling counts valid pixels of the
    training part only, and one hot pixel does not flatten it; sizes need no multiple of 256.

    Parameters
    ----------
    path : a folder of chips or pictures, a list of several, a raster with ``additional``, or a
        tuple of two folders or rasters: see `geo_p2p.chips.open_pairs`.
    class_mapping, val_split_pct, batch_size, transforms : see `DataConfig`.
    chip_size : see `geo_p2p.chips.ReadConfig`.
    **settings : seed, target and working_dir of `DataConfig`; additional, direction, stride,
        resize_to, dataset_type and fold of `geo_p2p.chips.ReadConfig`; for two rasters also bidx,
        additional_bidx, mask, min_valid, resampling, split and buffer of
        `geo_p2p.chips.ExportConfig`. collate_fn and num_workers of arcgis.learn are accepted and
        not used.

    Returns
    -------
    DataBunch
        Scaled by its training part only; chips are decoded once and kept in their own type.

    Raises
    ------
    ChipError
        If there are no pairs, images lack their partner, cannot be read or differ in size or
        bands, another split is asked for than the one saved, or an argument is none that can be.
    ModelError
        If the target cannot be taken for classes.
    RasterError
        If one of two rasters cannot be read.
    """
    settings = {
        **{name: value for name, value in settings.items() if name not in IGNORED},
        **{"class_mapping": class_mapping, "chip_size": chip_size, "transforms": transforms},
        **{"val_split_pct": val_split_pct, "batch_size": batch_size},
    }
    config, reading = _configs(settings)
    pairs = open_pairs(path, reading)

    def read(names: Sequence[str]) -> dict[str, Chip]:
        chips = _limited(_read(pairs, names), config.class_mapping)
        _require_alike(pairs, chips)
        return chips

    parts, chips = part(pairs, read, config.val_split_pct, config.seed)
    train, valid = (_seen(chips, names) for names in (parts.train, parts.val))
    if not train:
        raise ChipError(
            f"{pairs.path}: the split leaves no chip to train on; export again, or add pairs"
        )
    augmentation = Augmentation() if config.transforms is False else config.transforms
    return DataBunch(
        train,
        valid,
        _scalings(pairs, train, config),
        _origin(pairs, train[0], parts.split, config),
        batch_size=config.batch_size,
        augmentation=augmentation if isinstance(augmentation, Augmentation) else None,
        seed=config.seed,
    )


def _configs(settings: Mapping[str, Any]) -> tuple[DataConfig, ReadConfig]:
    """Sort settings by whom they concern.

    Raises
    ------
    ChipError
        Naming those that concern nobody.
    """
    ours = {field.name for field in fields(DataConfig)}
    reading = {field.name for field in fields(ReadConfig)} - {"export"}
    unknown = settings.keys() - ours - reading - set(SETTINGS)
    if unknown:
        known = sorted({*ours, *reading, *SETTINGS})
        raise ChipError(
            f"prepare_data knows no {', '.join(sorted(unknown))}; it knows {', '.join(known)}"
        )
    config = DataConfig(**{name: settings[name] for name in ours & settings.keys()})
    export = {name: settings[name] for name in SETTINGS if name in settings}
    if config.val_split_pct is not None:
        export["val_pct"] = 100 * config.val_split_pct
    plain = {name: settings[name] for name in reading & settings.keys()}
    return config, ReadConfig(**plain, export={**export, "seed": config.seed})


def _read(pairs: Pairs, names: Sequence[str]) -> dict[str, Chip]:
    """Decode pairs, once each, and keep them where there is room.

    Raises
    ------
    ChipError
        Saying what is wrong with the first that is, and naming all others; or that there is no
        room.
    """
    chips, wrong = {}, {}
    shelf = Shelf(len(names))
    for name in names:
        try:
            chips[name] = shelf.keep(pairs.read(name))
        except ChipError as error:
            wrong[name] = error
    if wrong:
        name, first = next(iter(wrong.items()))
        others = [other for other in wrong if other != name]
        more = f"; {len(others)} more are wrong: {named(others)}" if others else ""
        raise ChipError(f"{first}{more}") from first
    return chips


def _limited(chips: Mapping[str, Chip], classes: Mapping[int, str] | None) -> dict[str, Chip]:
    """Call pixels of other classes than those asked for invalid."""
    if classes is None:
        return dict(chips)
    return {
        name: replace(chip, valid=chip.valid & np.isin(chip.y[0], list(classes)))
        for name, chip in chips.items()
    }


def _seen(chips: Mapping[str, Chip], names: Sequence[str]) -> list[Chip]:
    """Chips on which there is anything to learn: a class_mapping can leave none of their pixels."""
    kept = [chips[name] for name in names if chips[name].valid.any()]
    if len(kept) < len(names):
        blank = [name for name in names if not chips[name].valid.any()]
        log.warning("%d chips hold no valid pixel and are left out: %s", len(blank), named(blank))
    return kept


def _require_alike(pairs: Pairs, chips: Mapping[str, Chip]) -> None:
    """Refuse chips that differ in size, bands or type."""
    if not chips:
        return
    (_, first), *_ = chips.items()
    odd = [name for name, chip in chips.items() if _kind(chip) != _kind(first)]
    if odd:
        more = f" (so are {named(odd[1:])})" if odd[1:] else ""
        raise ChipError(
            f"{pairs.path}: chip {odd[0]} is {_kind(chips[odd[0]])}{more}, but {first.name} is "
            f"{_kind(first)} (bands, rows, cols); export all chips alike"
        )


def _kind(chip: Chip) -> str:
    """Shapes and types of a pair, for people."""
    return f"{chip.x.shape} {chip.x.dtype} and {chip.y.shape} {chip.y.dtype}"


def _scalings(pairs: Pairs, train: Sequence[Chip], config: DataConfig) -> tuple[Scaling, Scaling]:
    """Fit the scalings of input and target to the training chips."""
    x, y = pairs.bands()
    mapping = config.class_mapping or {}
    auto = y.categorical or bool(mapping)
    classes = auto if config.target == "auto" else config.target == "classes"
    target = {**asdict(y), "classes": {**y.classes, **mapping}}
    valids = [chip.valid for chip in train]
    return (
        fit_scaling([chip.x for chip in train], valids, asdict(x), False),
        fit_scaling([chip.y for chip in train], valids, target, classes),
    )


def _origin(pairs: Pairs, first: Chip, split: Mapping[str, Any], config: DataConfig) -> Origin:
    """What a model card keeps of the pairs."""
    place = None if config.working_dir is None else Path(config.working_dir)
    frame = first.frame
    placed = frame.crs != PIXELS
    res, crs = (frame.res, frame.crs_name) if placed else (None, "")
    return Origin(pairs.path, pairs.bidx[0], res, crs, split, place)
