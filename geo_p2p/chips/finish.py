"""The end of an export: what was cut becomes a chip folder."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.chips.append import Former
from geo_p2p.chips.chip import ChipRecord
from geo_p2p.chips.cut import SIDES, VALID, GroupResult, read_group
from geo_p2p.chips.esri import write_esri_files
from geo_p2p.chips.own import write_own_files
from geo_p2p.chips.parting import part_chips, thin_out
from geo_p2p.chips.plan import Job
from geo_p2p.chips.split import Split
from geo_p2p.chips.stats import BandStats, percentiles_of
from geo_p2p.errors import ChipError

__all__ = ["finish", "require_chips"]

log = logging.getLogger(__name__)

PERCENTILES = (0.1, 1, 2, 25, 50, 75, 98, 99, 99.9)
"""Of the training chips' valid pixels, in percent."""


def finish(job: Job, former: Former | None = None) -> Split:
    """Split the chips, remove those that fall between the parts, and describe the rest.

    Can be said again after an interruption: it reads what the groups have left, and leaves it.

    Parameters
    ----------
    job : all of whose groups are done.
    former : folder that the chips are to be appended to: what shares ground with another part of
        it is left out.

    Raises
    ------
    ChipError
        If no chip was cut, or none can be appended.
    OSError
        If the folder cannot be written.
    """
    results = [read_group(job.folder, group) for group in job.groups]
    records, samples = _ordered(results)
    dropped = reduce(Counter.__add__, (result.dropped for result in results), Counter[str]())
    require_chips(job, len(records), dropped)
    places = [record.place for record in records]
    split = part_chips(job, places)
    if former is not None:
        split = former.leave_out(split, [place.frame(job.frames[place.scene]) for place in places])
    split = thin_out(split, records, job)
    folder = job.folder / "chips"
    for record, used in zip(records, split.used, strict=True):
        if not used:
            _remove(folder, record.name)
    train = np.array([part == "train" for part in split.parts])
    statistics = _statistics(job, records, samples, train)
    kept = [record for record, used in zip(records, split.used, strict=True) if used]
    write_own_files(folder, job, records, split, statistics)
    write_esri_files(folder, job, kept, (_total(kept, "x"), _total(kept, "y")))
    return split


def _ordered(
    results: Sequence[GroupResult],
) -> tuple[list[ChipRecord], tuple[NDArray[Any], NDArray[Any]]]:
    """All records by name, and their samples in the same order."""
    filled = [result for result in results if result.records]
    if not filled:
        return [], (np.zeros(0), np.zeros(0))
    records = [record for result in filled for record in result.records]
    order = sorted(range(len(records)), key=lambda i: records[i].name)
    x, y = (np.concatenate([result.samples[side] for result in filled])[order] for side in (0, 1))
    return [records[i] for i in order], (x, y)


def require_chips(job: Job, left: int, dropped: Counter[str]) -> None:
    """Tell what the filters have dropped; refuse to end without a chip.

    Parameters
    ----------
    job : that the chips are of.
    left : how many chips no filter has dropped.
    dropped : how many each filter has.

    Raises
    ------
    ChipError
        If none is left, naming the filters.
    """
    reasons = ", ".join(f"{number} by {name}" for name, number in dropped.most_common())
    if left:
        if reasons:
            log.info("%d chips dropped: %s", dropped.total(), reasons)
        return
    if set(dropped) <= {VALID}:
        raise ChipError(
            f"none of {dropped.total()} chips is valid on {job.config.min_valid:.0%} of its pixels "
            f"in both {job.x.name} and {job.y.name}; lower the valid share, or check that both "
            "hold data where they overlap"
        )
    raise ChipError(
        f"none of {dropped.total()} chips of {job.x.name} and {job.y.name} is left ({reasons}); "
        "ask for less"
    )


def _remove(folder: Path, name: str) -> None:
    """Remove a chip and what lies beside it."""
    for side in SIDES:
        for file in (folder / side).glob(f"{name}.*"):
            file.unlink()


def _total(records: Sequence[ChipRecord], side: str) -> BandStats:
    """Statistics of all chips together."""
    stats: list[BandStats] = [getattr(record, side) for record in records]
    return reduce(BandStats.merge, stats)


def _statistics(
    job: Job,
    records: Sequence[ChipRecord],
    samples: tuple[NDArray[Any], NDArray[Any]],
    train: NDArray[np.bool_],
) -> dict[str, Any]:
    """Describe the values of the training chips, band by band; of classes, count them."""
    trained = [record for record, is_train in zip(records, train, strict=True) if is_train]
    if not trained:
        return {}
    described: dict[str, Any] = {"chips": len(trained), "pixels_sampled": job.sample * len(trained)}
    for name, side, sample in (("input", "x", samples[0]), ("additional", "y", samples[1])):
        total = _total(trained, side)
        pooled = np.moveaxis(sample[train], 1, 0).reshape(sample.shape[1], -1)
        ends = [percentiles_of(band, PERCENTILES).tolist() for band in pooled]
        described[name] = [
            {**band, "percentiles": dict(zip(map(str, PERCENTILES), its, strict=True))}
            for band, its in zip(total.described(), ends, strict=True)
        ]
    if job.y.info.categorical:
        census: Counter[int] = Counter()
        for record in trained:
            census.update(record.census)
        described["census"] = {str(value): census[value] for value in sorted(census)}
    return described
