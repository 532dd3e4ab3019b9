"""Translate many rasters, one output each; what fails holds up no other."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from geo_p2p.errors import GeoP2PError, RasterError
from geo_p2p.model_file import Translator
from geo_p2p.predict import Forecast, PredictConfig, Prediction, foresee
from geo_p2p.translate.one import output_of, placed, translate

__all__ = ["STEM", "Failure", "outputs_of", "plan_each", "translate_each"]

log = logging.getLogger(__name__)

STEM = "{stem}"
"""What stands for the name of a raster in a template of outputs."""


@dataclass(frozen=True)
class Failure:
    """A raster that was not translated, and why: one line."""

    raster: str
    error: str


def outputs_of(rasters: Sequence[tuple[str, ...]], dst: str | Path | None) -> list[Path]:
    """Name the output of each of many rasters.

    Parameters
    ----------
    rasters : the files of each.
    dst : a folder, for ``<stem>_translated.tif`` in it; a template with ``{stem}``; None for the
        working directory.

    Raises
    ------
    RasterError
        If it is the name of one file, or if two rasters would have the same output.
    """
    home = Path() if dst is None else Path(dst)
    names = [output_of(files[0]).name for files in rasters]
    if STEM in str(home):
        stems = [name.removesuffix("_translated.tif") for name in names]
        found = [Path(str(home).replace(STEM, stem)) for stem in stems]
    elif home.suffix and not home.is_dir():
        raise RasterError(
            f"{home}: one file for {len(rasters)} rasters; name a folder or a template such as "
            "out/{stem}.tif, or say --processing-mode mosaic"
        )
    else:
        found = [home / name for name in names]
    for path, count in Counter(found).items():
        if count > 1:
            same = ", ".join(r[0] for r, at in zip(rasters, found, strict=True) if at == path)
            raise RasterError(f"{path}: would be the output of {same}; translate them apart")
    return found


def translate_each(
    translator: Translator,
    rasters: Sequence[tuple[str, ...]],
    dst: str | Path | None,
    config: PredictConfig,
    *,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Prediction], list[Failure]]:
    """Translate rasters one after another.

    Parameters
    ----------
    translator : the model.
    rasters : the files of each; several stack as bands.
    dst : see `outputs_of`; a folder is made if need be.
    config, bidx, overwrite : see `geo_p2p.predict_raster`.
    progress : called with (raster, pixels of its output done, pixels in all).

    Returns
    -------
    What was done, and what failed.

    Raises
    ------
    RasterError
        If the outputs cannot be named, or their folder not be made.
    """
    outputs = outputs_of(rasters, dst)
    _make_folders({path.parent for path in outputs})
    done, failed = [], []
    for files, output in zip(rasters, outputs, strict=True):
        tell = None if progress is None else partial(progress, Path(files[0]).name)
        try:
            made = translate(
                *(translator, files, output, config),
                bidx=bidx,
                overwrite=overwrite,
                progress=tell,
            )
            done.append(made)
        except GeoP2PError as error:
            log.error("%s", error)
            failed.append(Failure(", ".join(files), str(error)))
    return done, failed


def plan_each(
    translator: Translator,
    rasters: Sequence[tuple[str, ...]],
    dst: str | Path | None,
    config: PredictConfig,
    *,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
) -> list[Forecast]:
    """Foresee what `translate_each` would do, and refuse what it would refuse."""
    outputs = outputs_of(rasters, dst)
    found = []
    for files, output in zip(rasters, outputs, strict=True):
        _require_folder(output.parent)
        source, _ = placed(translator, files, output, config, bidx)
        # Where the folder is still to be made, nothing can be in the way.
        there = output if output.parent.is_dir() else output.absolute().parent.parent / output.name
        plan = foresee(
            *(translator, source, there, config),
            overwrite=overwrite or there != output,
            precision=translator.precision,
        )
        found.append(replace(plan, output=output))
    return found


def _make_folders(folders: set[Path]) -> None:
    """Make the folders of the outputs, in folders that exist."""
    for folder in sorted(folders):
        _require_folder(folder)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RasterError(f"{folder}: cannot be made ({error.strerror})") from error


def _require_folder(folder: Path) -> None:
    """Refuse a folder that is not there and cannot be made."""
    if not folder.absolute().parent.is_dir():
        raise RasterError(f"{folder}: its folder does not exist; make it first")
