"""The folder beside an output in which its blocks lie until the mosaic is made of them."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geo_p2p.errors import RasterError
from geo_p2p.grid import Block
from geo_p2p.raster.files import translated

__all__ = ["Parts"]

log = logging.getLogger(__name__)

PLAN = "plan.json"
OURS = (PLAN, "block_", ".block_")
"""Beginnings of the names in a folder of parts."""


@dataclass(frozen=True)
class Parts:
    """Blocks of one plan, a file each; a file that is there is whole, for it is moved there."""

    folder: Path

    @classmethod
    def of(cls, output: Path) -> "Parts":
        """Name the folder of an output."""
        return cls(output.with_name(f"{output.name}.parts"))

    def open(self, recipe: Mapping[str, Any]) -> None:
        """Make the folder, or go on with one of the same plan.

        Parameters
        ----------
        recipe : what decides the bytes of a block, as JSON gives it back.

        Raises
        ------
        RasterError
            If the place is taken by something else, or nothing can be written there.
        """
        folder = self.folder
        with translated(folder):
            if folder.exists():
                if _read(folder / PLAN) == recipe:
                    log.info("%s: going on with what an earlier run has finished", folder)
                    return
                _require_ours(folder)
                shutil.rmtree(folder)  # parts of another plan do not fit this one
            folder.mkdir()
            (folder / PLAN).write_text(json.dumps(recipe), encoding="utf-8")

    def file(self, block: Block) -> Path:
        """Where a block is written."""
        return self.folder / f"block_{block.row:05d}_{block.col:05d}.tif"

    def has(self, block: Block) -> bool:
        """Whether a block is finished."""
        return self.file(block).exists()

    def remove(self) -> None:
        """Remove the folder, once the mosaic is made."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(file: Path) -> Any:
    """The plan of a folder of parts; None if there is none, or none that was written whole."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _require_ours(folder: Path) -> None:
    """Refuse to replace a folder with anything in it that is not of a prediction."""
    foreign = sorted(p.name for p in folder.iterdir() if not p.name.startswith(OURS))
    if foreign:
        raise RasterError(
            f"{folder}: holds {foreign[0]}, which is not of a prediction; move it elsewhere, or "
            "choose another output"
        )
