"""Make the mosaic of blocks that lie in one folder or in several."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rasterio.windows import Window

from geo_p2p.errors import RasterError
from geo_p2p.predict.layout import Layout
from geo_p2p.predict.parts import Parts, differences
from geo_p2p.predict.rounding import Rounding
from geo_p2p.predict.settle import disagreement_of
from geo_p2p.predict.shards import Shard
from geo_p2p.raster import check_options, refuse_to_clobber, write_mosaic

__all__ = ["Prediction", "mosaic", "publish"]

log = logging.getLogger(__name__)

NAMED = 5
"""Blocks that are named where many are missing."""


@dataclass(frozen=True)
class Prediction:
    """What a prediction did.

    ``output`` is the mosaic, or the folder of parts where only a shard was run; ``width`` and
    ``height`` its px, ``blocks`` how many the plan (or the shard) has, ``mpx_per_s`` output pixels
    over the wall time of the blocks run now (0 if none was left), ``lost`` the px of the output
    that are nodata because the raster could not be read there, ``rounding`` what the precision of
    the network costs (None if it is no network, or nothing was measured), ``disagreement`` what two
    tiles that are blended differ by on average, in units of the output (of classes the share of
    pixels; None if exact).
    """

    output: Path
    width: int
    height: int
    blocks: int
    mpx_per_s: float
    tile_safe: bool
    lost: int = 0
    rounding: Rounding | None = None
    disagreement: float | None = None


def mosaic(
    parts: str | Path | Sequence[str | Path],
    dst: str | Path,
    *,
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
    remove: bool = False,
) -> Prediction:
    """Finish a run whose blocks were done by several shards: the last step.

    Neither the model nor the raster is needed. It can be repeated: the same blocks give the same
    file.

    Parameters
    ----------
    parts : the folder of parts (``OUTPUT.parts``), or several of one plan, from machines that do
        not share one.
    dst : where the mosaic shall appear.
    overwrite : whether to replace a file of that name.
    options : creation options of the Cloud Optimized GeoTIFF, over those of the plan.
    remove : whether to remove the parts once the mosaic is there.

    Raises
    ------
    RasterError
        If a folder holds no plan or another one, if blocks are missing (with the shards they
        belong to), if a shard is at work, or if the mosaic cannot be written.
    """
    several = [parts] if isinstance(parts, str | Path) else parts
    folders = [Parts(Path(each)) for each in several]
    layout, dst = _common(folders), Path(dst)
    refuse_to_clobber(dst, overwrite)
    check_options(layout.bands, options)
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(folder.held())
        done = publish(folders, layout, dst, overwrite=overwrite, options=options)
        if remove:
            for folder in folders:
                folder.remove()
    return done


def publish(
    folders: Sequence[Parts],
    layout: Layout,
    dst: Path,
    *,
    overwrite: bool = False,
    options: Mapping[str, str] | None = None,
) -> Prediction:
    """Make the mosaic of blocks that are all there; the folders are held.

    Raises
    ------
    RasterError
        If blocks are missing, or the mosaic cannot be written.
    """
    files, notes = _files(folders, layout)
    lost = sum(notes.values())
    if lost:
        log.warning(
            "%s: %d px in %d of %d blocks are nodata, because the raster could not be read there",
            dst,
            lost,
            sum(px > 0 for px in notes.values()),
            len(files),
        )
    rounding = next(filter(None, (folder.rounding for folder in folders)), None)
    more = rounding.tags() if rounding else {}
    if lost:
        more["GEO_P2P_LOST"] = str(lost)
    write_mosaic(
        files,
        dst,
        layout.frame,
        layout.bands,
        overwrite=overwrite,
        options={**layout.options, **(options or {})},
        tags={**layout.tags, **more},
    )
    height, width = layout.frame.shape
    differ = disagreement_of(layout.tags)
    safe = layout.tile_safe
    return Prediction(dst, width, height, len(files), 0.0, safe, lost, rounding, differ)


def _common(folders: Sequence[Parts]) -> Layout:
    """Return the layout of parts, of one and the same plan."""
    documents = [folder.document for folder in folders]
    for folder, document in zip(folders, documents, strict=True):
        if not document:
            raise RasterError(
                f"{folder.folder}: holds no plan of a prediction; name the folder OUTPUT.parts "
                "that --shard has written"
            )
        if document["recipe"] != documents[0]["recipe"]:
            other = differences(documents[0]["recipe"], document["recipe"])
            raise RasterError(
                f"{folder.folder}: is not of the plan of {folders[0].folder}: {other}; name only "
                "parts of one run"
            )
    layouts = [folder.layout for folder in folders]
    shared = [layout for layout in layouts if layout.shards is not None]
    return (shared or layouts)[0]


def _files(
    folders: Sequence[Parts], layout: Layout
) -> tuple[list[tuple[Path, Window]], dict[Path, int]]:
    """Where each block lies and goes, and the notes beside those of which there is no whole one."""
    there: dict[str, Path] = {}
    notes: dict[Path, int] = {}
    for parts in folders:
        lost = parts.lost()
        for name in parts.written():
            path = parts.folder / name
            if name not in there or (there[name] in notes and name not in lost):
                notes.pop(there.get(name, path), None)
                there[name] = path
                if name in lost:
                    notes[path] = lost[name]
    names = {place: Parts.name(*place) for place in layout.blocks}
    missing = [place for place, name in names.items() if name not in there]
    if missing:
        raise RasterError(_missing(folders, layout, missing))
    return [(there[names[place]], window) for place, window in layout.blocks.items()], notes


def _missing(folders: Sequence[Parts], layout: Layout, missing: Sequence[tuple[int, int]]) -> str:
    """Say which blocks are missing, and who was to make them."""
    where = ", ".join(str(folder.folder) for folder in folders)
    named = ", ".join(Parts.name(*place) for place in missing[:NAMED])
    more = ", ..." if len(missing) > NAMED else ""
    text = f"{where}: {len(missing)} of {len(layout.blocks)} blocks are missing"
    if layout.shards is None:
        return f"{text} ({named}{more}); say the same again to predict-raster"
    order = {place: number for number, place in enumerate(layout.blocks)}
    numbers = sorted({order[place] % layout.shards + 1 for place in missing})
    shards = ", ".join(str(Shard(number, layout.shards)) for number in numbers)
    return f"{text}, of shards {shards} ({named}{more}); run those again, or wait for them"
