"""The folder beside an output in which its blocks lie until the mosaic is made of them."""

import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geo_p2p.errors import RasterError
from geo_p2p.grid import Block
from geo_p2p.predict.layout import Layout
from geo_p2p.predict.locks import Lock, locked
from geo_p2p.predict.notes import beside, drop_note, read_notes, write_note
from geo_p2p.predict.rounding import Rounding
from geo_p2p.predict.shards import Shard
from geo_p2p.raster.files import translated

__all__ = ["Parts"]

log = logging.getLogger(__name__)

PLAN, LOCK = "plan.json", "run.lock"
OURS = (
    PLAN,
    LOCK,
    "block_",
    ".block_",
    ".plan.json.",
    "shard_",
    "lost_",
    ".lost_",
    "confidence_",
    ".confidence_",
    "strange_",
    ".strange_",
    "rounding",  # rounding.json too, of earlier versions
    ".rounding",
)
"""Beginnings of the names in a folder of parts."""


@dataclass(frozen=True)
class Parts:
    """Blocks of one plan, a file each; a file that is there is whole, for it is moved there.

    ``plan.json`` holds the recipe, which decides the bytes of a block, and the layout, which is
    all that the mosaic needs besides. Beside a block that was made without pixels that could not be
    read lies a note, which says how many of its own were given up: it is run again next time.
    """

    folder: Path

    @classmethod
    def of(cls, output: Path) -> "Parts":
        """Name the folder of an output."""
        return cls(output.with_name(f"{output.name}.parts"))

    # ------------------------------------------------------------------ who is at work

    @contextmanager
    def held(self, shard: Shard | None = None) -> Iterator[None]:
        """Hold the folder, which is made if need be: nobody else makes these blocks meanwhile.

        Parameters
        ----------
        shard : hold only its share, beside other shards; None for all of it.

        Raises
        ------
        RasterError
            If somebody else holds it, or nothing can be written there.
        """
        with ExitStack() as stack:
            with translated(self.folder):
                self._require_ours()
                made = not self.folder.exists()
                self.folder.mkdir(exist_ok=True)
                if made:
                    stack.callback(self._remove_if_empty)
                self._hold(stack, self.folder / LOCK, shard is not None)
                if shard is not None:
                    name = f"shard_{shard.number}_of_{shard.count}.lock"
                    self._hold(stack, self.folder / name, shared=False)
            yield

    def _hold(self, stack: ExitStack, path: Path, shared: bool) -> None:
        """Take a lock until the stack unwinds, and sign it where it is for one alone."""
        if not stack.enter_context(locked(path, shared)):
            holder = Lock(path).holder
            of = f" ({holder})" if holder else ""
            raise RasterError(
                f"{self.folder}: another run is at work on it{of}; wait for it, or name another "
                "output"
            )

    def _remove_if_empty(self) -> None:
        """Leave no empty folder after a refusal."""
        with suppress(OSError):
            self.folder.rmdir()

    def _require_ours(self) -> None:
        """Refuse a folder with anything in it that is not of a prediction."""
        names = sorted(p.name for p in self.folder.iterdir()) if self.folder.exists() else []
        foreign = [name for name in names if not name.startswith(OURS)]
        if foreign:
            raise RasterError(
                f"{self.folder}: holds {foreign[0]}, which is not of a prediction; move it "
                "elsewhere, or choose another output"
            )

    # ------------------------------------------------------------------ which plan

    @property
    def document(self) -> dict[str, Any]:
        """The plan that is kept here, {"recipe": ..., "layout": ...}; empty if there is none."""
        with suppress(OSError, ValueError):
            kept = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
            if isinstance(kept, dict) and kept.keys() >= {"recipe", "layout"}:
                return kept
        return {}

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytes of the blocks that lie here; empty if there is no plan."""
        recipe: dict[str, Any] = self.document.get("recipe", {})
        return recipe

    @property
    def layout(self) -> Layout:
        """What the mosaic is made of; there is a plan."""
        return Layout.from_json(self.document["layout"])

    def begin(self, recipe: Mapping[str, Any], layout: Layout) -> bool:
        """Lay down a plan, or go on with the same one; the folder is held.

        Parameters
        ----------
        recipe : what decides the bytes of a block, as JSON gives it back.
        layout : what the mosaic needs besides.

        Returns
        -------
        False if there is another plan by now: another shard was quicker.

        Raises
        ------
        RasterError
            If nothing can be written there.
        """
        earlier, file = self.document, self.folder / PLAN
        if earlier and earlier["recipe"] != recipe:
            return False
        with translated(self.folder):
            # Not by the number of the process: in containers all shards may have the same.
            partial = self.folder / f".{PLAN}.{uuid.uuid4().hex}.part"
            document = {"recipe": dict(recipe), "layout": layout.to_json()}
            partial.write_text(json.dumps(document), encoding="utf-8")
            if earlier:
                partial.replace(file)
            else:
                _place(partial, file)
            partial.unlink(missing_ok=True)
        return self.recipe == recipe

    def clear(self) -> None:
        """Remove the plan and all blocks; the folder is held by this process alone."""
        with translated(self.folder):
            # The plan last: blocks without one would be of nobody knows what.
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == PLAN):
                if path.name != LOCK:
                    path.unlink()

    def sweep(self, output: Path) -> None:
        """Remove what killed runs have left half-written; the folder is held by this one alone."""
        halves = list(self.folder.glob(".*.part*"))
        name = re.compile(rf"\.{re.escape(output.name)}\.\d+\.part.*")
        halves += [path for path in output.parent.iterdir() if name.fullmatch(path.name)]
        for path in halves:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder, once the mosaic is made."""
        with suppress(RasterError):
            self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def roundings(self) -> dict[str, Rounding]:
        """What the model's precision was found to cost on some blocks, by name of the file."""
        return {
            name: Rounding(**told) for name, told in read_notes(self.folder, "rounding").items()
        }

    def note_rounding(self, block: Block, found: Rounding) -> None:
        """Write down what the precision costs, for those who go on and for the mosaic."""
        write_note(self.file(block), "rounding", asdict(found))

    # ------------------------------------------------------------------ which blocks

    def file(self, block: Block) -> Path:
        """Where a block is written."""
        return self.folder / self.name(block.row, block.col)

    def certainty(self, block: Block) -> Path:
        """Where it is written how far off a block may be."""
        return beside(self.file(block))

    @staticmethod
    def name(row: int, col: int) -> str:
        """Name of the file of the block in a row and column of the plan."""
        return f"block_{row:05d}_{col:05d}.tif"

    def written(self) -> set[str]:
        """Names of the files of the blocks that are there."""
        return {path.name for path in self.folder.glob("block_*.tif")}

    def finished(self) -> set[str]:
        """Names of the files of the blocks that need not be run again."""
        return self.written() - self.lost().keys()

    @property
    def used(self) -> bool:
        """Whether anything of a run lies here."""
        return (self.folder / PLAN).exists() or any(self.folder.glob("block_*.tif"))

    def forget(self, blocks: list[Block]) -> None:
        """Remove blocks, so that they are run again."""
        for block in blocks:
            self.file(block).unlink(missing_ok=True)

    def note_strange(self, block: Block, share: float) -> None:
        """Write down which share of a block is not like what was trained on; nothing for 0.

        For those who go on, and for the mosaic.
        """
        if share:
            write_note(self.file(block), "strange", share)
        else:
            drop_note(self.file(block), "strange")

    def strange(self) -> dict[str, float]:
        """Shares of blocks that are not like what was trained on, by name of the file."""
        return read_notes(self.folder, "strange")

    def note(self, block: Block, lost: int) -> None:
        """Keep in mind, before a block is written, that the raster could not be read there.

        Parameters
        ----------
        block : one that such pixels have a part in.
        lost : how many of its own pixels are given up; 0 if they only lie around it.
        """
        write_note(self.file(block), "lost", lost)

    def settle(self, block: Block) -> None:
        """Drop the note of a block that is written whole."""
        drop_note(self.file(block), "lost")

    def lost(self) -> dict[str, int]:
        """Pixels that were given up in blocks that pixels are missing for, by name of the file."""
        return read_notes(self.folder, "lost")


def _place(partial: Path, file: Path) -> None:
    """Move a file to its place, unless another process has put one there before."""
    try:
        os.link(partial, file)
    except FileExistsError:
        return
    except OSError:  # of a file system without links
        partial.replace(file)
