"""Cut one group of tiles: read once, filter, write. Any process can, and nothing else is needed.

A group ends with its file of records, which is written last and at once: a group that has one is
done, and one that has none is cut again.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from geo_p2p.raster import Frame, encode

__all__ = ["SIDES", "GroupResult", "cut_group", "read_chips", "read_group"]

SIDES = ("images", "images2")
"""Folders of the chips of the input and of the additional raster."""

VALID = "valid share"
"""Name of the filter that drops chips of which too little is valid."""

Image = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values (bands, rows, cols) and valid (rows, cols)."""


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
    scene = job.scenes[group.scene].name
    dropped: Counter[str] = Counter()
    records: list[ChipRecord] = []
    samples: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    for chip, images, window, angle in read_chips(job, group):
        if verdict := fault_of(chip, job.config):
            dropped[verdict] += 1
            continue
        _write(job, chip, images)
        x, y = (BandStats.of(*image) for image in images)
        census = _census(job, images[1])
        share = float(chip.valid.mean())
        records.append(ChipRecord(chip.name, scene, window, angle, share, x, y, census))
        for side, image in zip(samples, images, strict=True):
            side.append(_sampled(*image, job.sample))
    return GroupResult(dropped, records, _stacked(samples))


def fault_of(chip: Chip, config: ExportConfig) -> str:
    """Name of the filter that drops a chip; "" for none."""
    share = float(chip.valid.mean())
    if share < config.min_valid or not share:
        return VALID
    return config.content.judge(chip).by


def read_chips(job: Job, group: Group) -> Iterator[tuple[Chip, tuple[Image, Image], Window, float]]:
    """Read the chips of a group: the pair, what either side holds, its window and its angle."""
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
                yield (
                    Chip(padded[0][0], padded[1][0], valid, place, name),
                    padded,
                    tile.window,
                    angle,
                )


def _part(image: Image, whole: Window, tile: Tile) -> Image:
    """Cut a tile out of what was read for its group."""
    values, valid = image
    at = overlap_of(whole, tile.window)
    return np.ascontiguousarray(values[:, *at]), valid[at]


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


def _write(job: Job, chip: Chip, images: tuple[Image, Image]) -> None:
    """Write both images of a pair with what belongs beside them."""
    for side, (values, valid) in zip(SIDES, images, strict=True):
        folder = job.folder / "chips" / side
        for suffix, content in encode(job.config.image_format, values, valid, chip.frame).items():
            (folder / f"{chip.name}{suffix}").write_bytes(content)


def _census(job: Job, image: Image) -> dict[int, int]:
    """Count the valid pixels of each class of a target that holds classes."""
    if not job.y.info.categorical:
        return {}
    values = image[0][0][image[1]]
    if values.dtype in (np.uint8, np.uint16):  # ten times as fast as sorting them
        counts = np.bincount(values)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(map(int, found), counts.tolist(), strict=True))


def _sampled(values: NDArray[Any], valid: NDArray[np.bool_], count: int) -> NDArray[Any]:
    """Take ``count`` of the valid pixels, spread evenly: (bands, count)."""
    places = np.flatnonzero(valid)
    chosen = places[np.linspace(0, len(places) - 1, count).astype(int)]
    picked: NDArray[Any] = values.reshape(len(values), -1)[:, chosen]
    return picked


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
