"""Part the chips of a job: by what its settings say, and by what its target is like."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from geo_p2p.chips.chip import ChipRecord, Placed
from geo_p2p.chips.plan import Job
from geo_p2p.chips.sampling import balanced, quantile_strata, spread
from geo_p2p.chips.shapes import SLACK, read_column, read_shapes, warp_shapes
from geo_p2p.chips.split import (
    Split,
    autocorrelation_range,
    parts_in_polygons,
    split_territory,
)
from geo_p2p.errors import AlignmentError, ChipError

__all__ = ["part_chips", "thin_out"]

LOOKED_AT = 32
"""Places at which the target is read, to find how far its values are alike."""

QUARTERS = 4
"""Strata of targets that hold no classes."""


def part_chips(job: Job, chips: Sequence[Placed]) -> Split:
    """Split chips by the settings of their job.

    Raises
    ------
    ChipError
        If the ground is too small for what is asked, or polygons are not to be used.
    """
    config = job.config
    settings = config.parting(_range(job, chips) if config.split in ("blocks", "kfold") else 0.0)
    return split_territory(
        [chip.window for chip in chips],
        config.side,
        scenes=[chip.scene for chip in chips],
        frames=job.frames,
        angles=[chip.angle for chip in chips] if config.rotation_angle else None,
        labels=_labels(job, chips) if config.split == "polygons" else None,
        **asdict(settings),
    )


def _range(job: Job, chips: Sequence[Placed]) -> float:
    """Px within which values of the target are alike, by a few chips spread over the ground."""
    targets = {scene.name: scene.y for scene in job.scenes}
    read = [targets[chip.scene].read(chip.window) for chip in spread(chips, LOOKED_AT)]
    values, valids = zip(*read, strict=True)
    return autocorrelation_range(values, valids, classes=job.y.info.categorical)


def _labels(job: Job, chips: Sequence[Placed]) -> list[str]:
    """Part of each chip by the polygons it lies in, scene by scene."""
    config = job.config
    assert config.split_polygons is not None  # by the check of the settings
    words = read_column(config.split_polygons, config.split_field)
    labels = [""] * len(chips)
    for name, frame in job.frames.items():
        shapes = read_shapes(config.split_polygons, frame=frame)
        try:
            polygons = warp_shapes(shapes.parts, shapes.crs, frame)
        except (AlignmentError, ChipError) as error:
            raise ChipError(f"{config.split_polygons}: {error}") from error
        here = [i for i, chip in enumerate(chips) if chip.scene == name]
        found = parts_in_polygons(
            [chips[i].frame(frame).polygon for i in here],
            list(polygons),
            [words[feature] for feature in shapes.features.tolist()],
            slack=SLACK * min(frame.res),
        )
        for i, part in zip(here, found, strict=True):
            labels[i] = part
    return labels


def thin_out(split: Split, records: Sequence[ChipRecord], job: Job) -> Split:
    """Leave out training chips of strata that have more than the settings allow."""
    most = job.config.max_per_stratum
    if most is None:
        return split
    train = [i for i, part in enumerate(split.parts) if part == "train"]
    strata = _strata([records[i] for i in train], job)
    kept = {train[i] for i in balanced(strata, most, seed=job.config.seed)}
    parts = tuple(
        "" if part == "train" and i not in kept else part for i, part in enumerate(split.parts)
    )
    return replace(split, parts=parts)


def _strata(records: Sequence[ChipRecord], job: Job) -> list[int | None]:
    """The most frequent class of each chip, or the quarter that the mean of its target is in."""
    if job.y.info.categorical:
        return [max(r.census, key=lambda value: (r.census[value], -value)) for r in records]
    return quantile_strata([float(record.y.mean.mean()) for record in records], QUARTERS)
