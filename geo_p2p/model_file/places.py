"""Where models lie, and which one a user means."""

import os
from pathlib import Path

from geo_p2p.errors import ModelError
from geo_p2p.model_file.weights import WEIGHTS

__all__ = ["emd_of", "find_model", "model_folder"]

MODELS = "models"
"""Folder of the working directory that models are saved to and looked for by name."""


def model_folder(name_or_path: str | Path, home: Path | None = None) -> Path:
    """Folder that a model is saved to: a bare name lies under ``models`` in ``home``."""
    path = Path(name_or_path)
    return (home or Path()) / MODELS / path if path.name == str(name_or_path) else path


def emd_of(path: Path) -> Path:
    """Find the .emd of a model, by its folder or itself; a package is `opened` first."""
    if path.suffix.lower() in (".pth", ".pkl"):
        raise ModelError(
            f"{path}: {path.suffix} files are not read; give a model folder, .emd or .dlpk"
        )
    if path.is_file():
        if path.suffix.lower() != ".emd":
            raise ModelError(f"{path}: no model; give a model folder, .emd or .dlpk")
        return path
    if not path.is_dir():
        raise ModelError(f"{path}: no such model; train one first, or give its folder")
    found = sorted(path.glob("*.emd"))
    epochs = sorted(path.glob("checkpoints/epoch_*"))
    if epochs and not found:
        raise ModelError(f"{path}: a run, not a model; one of its checkpoints is {epochs[-1]}")
    if len(found) != 1:
        raise ModelError(f"{path}: holds {len(found)} .emd files, a model folder holds one")
    return found[0]


def find_model(name: str | Path | None) -> Path:
    """Find the model a user means.

    Parameters
    ----------
    name : a path, or the name of a model under ``./models``; None for ``$GEO_P2P_MODEL``, else
        the newest complete model under ``./models``.

    Raises
    ------
    ModelError
        If there is none.
    """
    named = name or os.environ.get("GEO_P2P_MODEL")
    if named:
        path = Path(named)
        home = Path(MODELS) / path
        return home if not path.exists() and home.exists() else path
    found = Path(MODELS).glob("[!.]*/*.emd")  # what is being saved begins with a dot
    complete = [emd for emd in found if emd.with_suffix(WEIGHTS).exists()]
    if not complete:
        raise ModelError(
            "no model named, and none under ./models: give one with --model, or train one first"
        )
    return max(complete, key=lambda emd: emd.stat().st_mtime).parent
