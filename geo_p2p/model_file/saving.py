"""Write a model to disk: whole, or not at all."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from torch import nn

from geo_p2p.card import ModelCard
from geo_p2p.errors import ModelError
from geo_p2p.model_file.loading import load_card
from geo_p2p.model_file.weights import DISCRIMINATOR, WEIGHTS, write_tensors
from geo_p2p.networks import Generator

__all__ = ["save_model"]


def save_model(
    folder: Path,
    generator: Generator,
    card: ModelCard,
    discriminator: nn.Module | None = None,
    add: Callable[[Path], None] | None = None,
) -> Path:
    """Write a model; the folder appears, or is replaced, only when it is whole.

    Parameters
    ----------
    folder : of the model; its name is the model's.
    generator : whose weights to write.
    card : its card.
    discriminator : written beside it, so that training can go on; not needed for prediction.
    add : called with the folder before it gets its place, to put in what else belongs there.

    Returns
    -------
    The folder.

    Raises
    ------
    ModelError
        If the folder exists and is not a model's, or cannot be written.
    """
    name, place = folder.name, folder.resolve()
    if folder.exists() and not _is_model(folder):
        raise ModelError(f"{folder}: exists and is not a model folder; choose another name")
    partial = place.with_name(f".{name}.{os.getpid()}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process of the same number
        partial.mkdir(parents=True)
        write_tensors(generator.state_dict(), partial / f"{name}{WEIGHTS}")
        if discriminator is not None:
            write_tensors(discriminator.state_dict(), partial / f"{name}{DISCRIMINATOR}")
        emd = json.dumps(card.to_emd(name, f"{name}{WEIGHTS}"), indent=2)
        (partial / f"{name}.emd").write_text(emd, encoding="utf-8")
        if add is not None:
            add(partial)
        _sync(*partial.rglob("*"), partial)
        _swap(partial, place)
        _sync(place.parent)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _is_model(folder: Path) -> bool:
    """Whether this is a folder with a model of ours; a chip folder holds an .emd too."""
    try:
        load_card(folder)
    except ModelError:
        return False
    return folder.is_dir()


def _sync(*paths: Path) -> None:
    """Wait until files and folders are on the disk: a rename may reach it before they do."""
    if os.name == "nt":  # which opens no folders
        return
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _swap(partial: Path, folder: Path) -> None:
    """Put a finished folder in the place of the one that is there."""
    former = partial.with_suffix(".former")
    if not folder.exists():
        partial.replace(folder)
        return
    folder.replace(former)
    try:
        partial.replace(folder)
    except OSError:
        former.replace(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)
