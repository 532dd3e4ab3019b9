"""Make the mosaic of blocks that lie in one folder or in several."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

from rasterio.windows import Window

from geo_p2p.card import confidence_path
from geo_p2p.errors import RasterError
from geo_p2p.predict.disagreement import disagreement_in
from geo_p2p.predict.layout import Layout
from geo_p2p.predict.notes import beside
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import STRANGE
from geo_p2p.predict.recipes import differences
from geo_p2p.predict.rounding import Rounding
from geo_p2p.predict.shards import Shard
from geo_p2p.raster import check_options, refuse_to_clobber, write_mosaic

__all__ = ["Prediction", "mosaic", "publish"]

log = logging.getLogger(__name__)

Strange = tuple[int, int, int, int, float]

TOLD = 100
"""Blocks at most that an output's tags list of those unlike what was trained on."""

LOSSLESS = ("NONE", "LZW", "DEFLATE", "ZSTD", "LZMA")
"""Compressions that any numbers can have."""

OF_VALUES = frozenset(
    {
        *("COMPRESS", "LEVEL", "PREDICTOR", "QUALITY", "NBITS", "ADD_ALPHA"),
        *("OVERVIEW_COMPRESS", "OVERVIEW_PREDICTOR", "OVERVIEW_QUALITY"),
        *("MAX_Z_ERROR", "MAX_Z_ERROR_OVERVIEW"),
        *("JXL_LOSSLESS", "JXL_EFFORT", "JXL_DISTANCE", "JXL_ALPHA_DISTANCE"),
        *("RESAMPLING", "OVERVIEW_RESAMPLING", "WARP_RESAMPLING"),
    }
)
"""Options of GDAL's COG driver that hang on what the values are."""

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
    pixels; None if tiles are exact). ``confidence`` is the second file, if one was asked for;
    ``outside`` tells of the blocks that are not like what was trained on, the strangest first: row
    and column of their first pixel, rows and columns, px of the output, and the share of their
    valid pixels beyond the range of the training input, 0-1.
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
    confidence: Path | None = None
    outside: tuple[Strange, ...] = ()


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
    if layout.certainty is not None:
        refuse_to_clobber(confidence_path(dst), overwrite)
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
    rounding = _rounding(folders)
    more = rounding.tags() if rounding else {}
    if lost:
        more["GEO_P2P_LOST"] = str(lost)
    outside = _outside(folders, layout)
    tags = {**layout.tags, **more, **_told(outside, dst, len(files))}
    chosen = {**layout.options, **(options or {})}
    second = _publish_certainty(files, layout, dst, tags, overwrite=overwrite, options=chosen)
    write_mosaic(
        files, dst, layout.frame, layout.bands, overwrite=overwrite, options=chosen, tags=tags
    )
    height, width = layout.frame.shape
    done = Prediction(dst, width, height, len(files), 0.0, layout.tile_safe, lost, rounding)
    differ = disagreement_in(layout.tags)
    return replace(done, disagreement=differ, confidence=second, outside=outside)


def _publish_certainty(
    files: Sequence[tuple[Path, Window]],
    layout: Layout,
    dst: Path,
    tags: Mapping[str, str],
    *,
    overwrite: bool,
    options: Mapping[str, str],
) -> Path | None:
    """Make the second mosaic, if there is one; return where it is."""
    if layout.certainty is None:
        return None
    return write_mosaic(
        [(beside(path), window) for path, window in files],
        confidence_path(dst),
        layout.frame,
        layout.certainty,
        overwrite=overwrite,
        options=_for_numbers(options),
        tags={**tags, **layout.certainty_tags},
    )


def _for_numbers(options: Mapping[str, str]) -> dict[str, str]:
    """Of the options of a mosaic those that its second file can have, too.

    What packs a picture, JPEG for one, may not suit numbers of another type.
    """
    given = {name.upper(): value for name, value in options.items()}
    kept = {name: value for name, value in given.items() if name not in OF_VALUES}
    if given.get("COMPRESS", "").upper() in LOSSLESS:
        kept |= {name: given[name] for name in ("COMPRESS", "LEVEL") if name in given}
    return kept


def _rounding(folders: Sequence[Parts]) -> Rounding | None:
    """What the precision costs on the first block of which that is known."""
    known = [each for folder in folders for each in folder.roundings().items()]
    return min(known, key=itemgetter(0))[1] if known else None


def _outside(folders: Sequence[Parts], layout: Layout) -> tuple[Strange, ...]:
    """The blocks that are not like what was trained on, the strangest first."""
    shares: dict[str, float] = {}
    for folder in folders:
        shares |= folder.strange()
    found = [
        (at.row_off, at.col_off, at.height, at.width, round(shares[Parts.name(*place)], 4))
        for place, at in layout.blocks.items()
        if Parts.name(*place) in shares
    ]
    return tuple(sorted(found, key=lambda strange: -strange[-1]))


def _told(outside: tuple[Strange, ...], dst: Path, blocks: int) -> dict[str, str]:
    """Warn of strange blocks, and return what the output's tags say of them."""
    if not outside:
        return {}
    log.warning(
        "%s: in %d of %d blocks more than %.0f %% of the pixels lie beyond what the model was "
        "trained on, in the one at row %d, column %d of the output %.0f %%: look at them first",
        *(dst, len(outside), blocks, 100 * STRANGE, *outside[0][:2], 100 * outside[0][-1]),
    )
    listed = {"blocks": len(outside), "strangest": outside[:TOLD]}
    return {"GEO_P2P_OUTSIDE": json.dumps(listed)}


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
