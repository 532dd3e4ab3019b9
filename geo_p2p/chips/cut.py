"""Cut one group of tiles: read once, filter, write. Any process can, and nothing else is needed.

A group ends with its file of records, which is written last and at once: a group that has one is
done, and one that has none is cut again.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.chip import Chip, ChipRecord, Scene
from geo_p2p.chips.plan import Group, Job, Tile, hull_of
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.stats import BandStats
from geo_p2p.errors import AlignmentError
from geo_p2p.grid import overlap_of
from geo_p2p.raster import Frame, encode_many

__all__ = ["SIDES", "GroupResult", "cut_group", "read_chips", "read_group"]

SIDES = ("images", "images2")
"""Folders of the chips of the input and of the additional raster."""

AT_ONCE = 1 << 25
"""Bytes of pixels that are encoded together."""

VALID = "valid share"
"""Name of the filter that drops chips of which too little is valid."""

Image = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values (bands, rows, cols) and valid (rows, cols)."""


class Cut(NamedTuple):
    """A chip, what either raster holds of it, and where it comes from.

    Parameters
    ----------
    chip : the pair.
    images : the same, with what is valid of either side.
    window : px of the scene's input raster, before the chip is turned.
    angle : degrees it is turned by, counter-clockwise.
    """

    chip: Chip
    images: tuple[Image, Image]
    window: Window
    angle: float


@dataclass(frozen=True)
class GroupResult:
    """What came of a group.

    Parameters
    ----------
    dropped : how many chips each filter has dropped.
    records : those that were cut.
    samples : of either side, (chips, bands, n): some of the valid pixels of each.
    """

    dropped: Counter[str]
    records: list[ChipRecord]
    samples: tuple[NDArray[Any], NDArray[Any]]


def group_file(folder: Path, group: Group) -> Path:
    """Where the records of a group are."""
    return folder / f"group_{group.number:06d}.json"


def read_group(folder: Path, group: Group) -> GroupResult:
    """Read what came of a group that is done."""
    file = group_file(folder, group)
    plain = json.loads(file.read_text(encoding="utf-8"))
    with np.load(file.with_suffix(".npz")) as samples:
        return GroupResult(
            Counter(plain["dropped"]),
            [ChipRecord.from_json(each) for each in plain["records"]],
            (samples["x"], samples["y"]),
        )


def cut_group(job: Job, group: Group) -> int:
    """Cut a group.

    Parameters
    ----------
    job : what to cut, and how.
    group : which of its tiles.

    Returns
    -------
    How many tiles it has.

    Raises
    ------
    RasterError
        If a raster cannot be read there.
    OSError
        If the chips cannot be written.
    """
    with rasterio.Env():  # once, and not for every call of rasterio
        result = _cut(job, group)
    _save(job.folder, group, result)
    return group.count


def _cut(job: Job, group: Group) -> GroupResult:
    """Read the chips of a group, and write those that no filter drops."""
    dropped: Counter[str] = Counter()
    records: list[ChipRecord] = []
    samples: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    for batch in _batches(job, group, dropped):
        _write(job, batch)
        for cut in batch:
            records.append(_record(job, group, cut))
            for side, image in zip(samples, cut.images, strict=True):
                side.append(_sampled(*image, job.sample))
    return GroupResult(dropped, records, _stacked(samples))


def _batches(job: Job, group: Group, dropped: Counter[str]) -> Iterator[list[Cut]]:
    """Read the chips of a group by the handful; count those that filters drop."""
    batch: list[Cut] = []
    size = 0
    for cut in read_chips(job, group):
        if verdict := fault_of(cut.chip, job.config):
            dropped[verdict] += 1
            continue
        batch.append(cut)
        size += cut.chip.x.nbytes + cut.chip.y.nbytes
        if size >= AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _record(job: Job, group: Group, cut: Cut) -> ChipRecord:
    """What is known of a chip."""
    scene, share = job.scenes[group.scene].name, share_of(cut.chip.valid)
    census = _census(job, cut.images[1])
    x, y = BandStats.of(*cut.images[0]), _counted(census, cut.images[1])
    return ChipRecord(cut.chip.name, scene, cut.window, cut.angle, share, x, y, census)


def fault_of(chip: Chip, config: ExportConfig) -> str:
    """Name of the filter that drops a chip; "" for none."""
    share = share_of(chip.valid)
    if share < config.min_valid or not share:
        return VALID
    return config.content.judge(chip).by


def share_of(valid: NDArray[np.bool_]) -> float:
    """The share of pixels that are valid, 0-1."""
    return int(np.count_nonzero(valid)) / valid.size


def read_chips(job: Job, group: Group) -> Iterator[Cut]:
    """Read the chips of a group; those that are not turned are views of what is read at once."""
    scene, tiles = job.scenes[group.scene], list(job.tiles_of(group))
    whole = hull_of(tiles)
    both = scene.x.read(whole), scene.y.read(whole)
    angles = job.config.angles
    for tile in tiles:
        for turn, angle in enumerate(angles):
            name = f"{job.config.start_index + tile.index * len(angles) + turn:012d}"
            frame = scene.x.frame.crop(tile.window)
            if angle:
                frame = frame.rotated(angle)
                images = _turned(scene, frame)
            else:
                images = _part(both[0], whole, tile), _part(both[1], whole, tile)
            if images is not None:
                padded = _padded(images[0], job), _padded(images[1], job)
                valid = padded[0][1] & padded[1][1]
                height, width = valid.shape
                place = Frame(height, width, frame.transform, frame.crs)
                chip = Chip(padded[0][0], padded[1][0], valid, place, name)
                yield Cut(chip, padded, tile.window, angle)


def _part(image: Image, whole: Window, tile: Tile) -> Image:
    """Cut a tile out of what was read for its group."""
    values, valid = image
    at = overlap_of(whole, tile.window)
    return values[:, *at], valid[at]


def _turned(scene: Scene, frame: Frame) -> tuple[Image, Image] | None:
    """Read a chip that is turned, from either raster itself: no second interpolation.

    None where one of them shares no ground with it.
    """
    try:
        return scene.x.warped(frame).read(), scene.y.warped(frame).read()
    except AlignmentError:
        return None


def _padded(image: Image, job: Job) -> Image:
    """Bring a chip of a raster smaller than chips to their size, by invalid pixels."""
    values, valid = image
    rows, cols = (n - m for n, m in zip(job.config.shape, valid.shape, strict=True))
    if not rows and not cols:
        return image
    return np.pad(values, ((0, 0), (0, rows), (0, cols))), np.pad(valid, ((0, rows), (0, cols)))


def _write(job: Job, batch: Sequence[Cut]) -> None:
    """Write both images of some pairs with what belongs beside them."""
    for number, side in enumerate(SIDES):
        folder = job.folder / "chips" / side
        images = [(*cut.images[number], cut.chip.frame) for cut in batch]
        for cut, files in zip(batch, encode_many(job.config.image_format, images), strict=True):
            for suffix, content in files.items():
                (folder / f"{cut.chip.name}{suffix}").write_bytes(content)


def _census(job: Job, image: Image) -> dict[int, int]:
    """Count the valid pixels of each class of a target that holds classes."""
    if not job.y.info.categorical:
        return {}
    (values, *_), valid = image
    values = values.ravel() if share_of(valid) == 1 else values[valid]
    if values.dtype in (np.uint8, np.uint16):  # ten times as fast as sorting them
        counts = np.bincount(values)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(map(int, found), counts.tolist(), strict=True))


def _counted(census: Mapping[int, int], image: Image) -> BandStats:
    """Statistics of a target; where its one band is counted already, by its classes."""
    return BandStats.of_census(census) if census and len(image[0]) == 1 else BandStats.of(*image)


def _sampled(values: NDArray[Any], valid: NDArray[np.bool_], count: int) -> NDArray[Any]:
    """Take ``count`` of the valid pixels, spread evenly: (bands, count)."""
    flat: NDArray[Any] = values.reshape(len(values), -1)
    places = np.flatnonzero(valid) if share_of(valid) < 1 else None
    if places is None:
        return flat.take(_spread(valid.size, count), 1)
    return flat.take(places[_spread(len(places), count)], 1)


@functools.lru_cache(8)
def _spread(length: int, count: int) -> NDArray[np.intp]:
    """Some of the indices of a sequence, from its first to its last."""
    return np.linspace(0, length - 1, count).astype(np.intp)


def _stacked(
    samples: tuple[list[NDArray[Any]], list[NDArray[Any]]],
) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = (np.stack(side) if side else np.zeros((0, 0, 0)) for side in samples)
    return x, y


def _save(folder: Path, group: Group, result: GroupResult) -> None:
    """Write what is known of a group; the records last, because they say that it is done."""
    file = group_file(folder, group)
    np.savez(file.with_suffix(".npz"), x=result.samples[0], y=result.samples[1])
    records = [record.to_json() for record in result.records]
    part = file.with_suffix(".part")
    plain = {"dropped": dict(result.dropped), "records": records}
    part.write_text(json.dumps(plain, allow_nan=False), encoding="utf-8")
    part.replace(file)
