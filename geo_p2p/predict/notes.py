"""What lies beside a block in the folder of parts: notes of a line, and a second file."""

import json
import uuid
from pathlib import Path
from typing import Any

from geo_p2p.raster.files import translated

__all__ = ["beside", "drop_note", "read_notes", "write_note"]


def beside(block: Path) -> Path:
    """Where it is written how far off the block in a file may be."""
    return block.with_name(block.name.replace("block_", "confidence_", 1))


def write_note(block: Path, kind: str, told: Any) -> None:
    """Write down what JSON can hold beside a block, whole or not at all.

    Raises
    ------
    RasterError
        If nothing can be written there.
    """
    note = _note(block, kind)
    # Two threads, or processes of one number on two machines, may be at the same block.
    partial = note.with_name(f".{note.name}.{uuid.uuid4().hex}.part")
    with translated(block.parent):
        partial.write_text(json.dumps(told), encoding="utf-8")
        partial.replace(note)


def drop_note(block: Path, kind: str) -> None:
    """Remove such a note, if there is one."""
    _note(block, kind).unlink(missing_ok=True)


def read_notes(folder: Path, kind: str) -> dict[str, Any]:
    """All notes of a kind, by name of the block's file."""
    found = {}
    for note in folder.glob(f"{kind}_*.json"):
        block = f"block_{note.name.removeprefix(f'{kind}_').removesuffix('.json')}.tif"
        found[block] = json.loads(note.read_text(encoding="utf-8"))
    return found


def _note(block: Path, kind: str) -> Path:
    return block.with_name(f"{kind}_{block.stem.removeprefix('block_')}.json")
