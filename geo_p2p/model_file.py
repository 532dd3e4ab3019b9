"""A trained model on disk: a folder with an .emd card and safetensors weights; no pickle."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from geo_p2p.card import ModelCard
from geo_p2p.device import choose_device, choose_precision, exact_arithmetic, precision_name
from geo_p2p.errors import ModelError
from geo_p2p.networks import Generator, build_generator

__all__ = [
    "Translator",
    "find_model",
    "load_card",
    "load_discriminator",
    "load_generator",
    "load_model",
    "model_folder",
    "save_model",
]

MODELS = "models"
"""Folder of the working directory that models are saved to and looked for by name."""

WEIGHTS = ".safetensors"
DISCRIMINATOR = ".discriminator.safetensors"
"""Ends of the files beside ``<name>.emd``."""


class Translator:
    """A generator with its card, ready to be run on tiles: the `Model` that `predict` asks for.

    Parameters
    ----------
    generator : with its weights; moved to the device and put into eval mode.
    card : its card.
    device : name of a device, or "auto".
    precision : "fp32", "bf16" or "auto".
    """

    def __init__(
        self,
        generator: nn.Module,
        card: ModelCard,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.card = card
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device, card.target.dtype)
        self.generator = generator.to(self.device).eval()
        # By hand and not by train(): the statistics stay those of training.
        for module in self.generator.modules():
            if isinstance(module, nn.Dropout):
                module.train(card.test_dropout)

    @property
    def precision(self) -> str:
        """Name of the number format the inner layers run in."""
        return precision_name(self.dtype)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, precision and what the card says of their use, in hexadecimal.

        Scores and provenance do not count: they change nothing in what the model makes.
        """
        digest = hashlib.sha256(self.precision.encode())
        card = replace(self.card, metrics={}, provenance={})
        digest.update(json.dumps(card.to_emd("", ""), sort_keys=True).encode())
        for name, tensor in sorted(self.generator.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Translate tiles.

        Parameters
        ----------
        tiles : (batch, channels, rows, cols) in [-1, 1]; sides are multiples of the stride.
        seed : of the dropout, if the card keeps it on.

        Returns
        -------
        (batch, channels, rows, cols) in [-1, 1], or class scores.
        """
        batch = torch.from_numpy(tiles).to(self.device)
        forked = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(forked), exact_arithmetic(self.device, self.dtype):
            torch.manual_seed(seed)
            # One by one: the sums of a tile must not depend on how many others came with it, and
            # a tile large enough to be worth its halo fills the device.
            output = torch.cat([self.generator(tile[None]) for tile in batch])
        result: NDArray[np.float32] = output.float().cpu().numpy()
        return result


def save_model(
    folder: Path,
    generator: Generator,
    card: ModelCard,
    discriminator: nn.Module | None = None,
) -> Path:
    """Write a model; the folder appears, or is replaced, only when it is whole.

    Parameters
    ----------
    folder : of the model; its name is the model's.
    generator : whose weights to write.
    card : its card.
    discriminator : written beside it, so that training can go on; not needed for prediction.

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
        _save_weights(generator, partial / f"{name}{WEIGHTS}")
        if discriminator is not None:
            _save_weights(discriminator, partial / f"{name}{DISCRIMINATOR}")
        emd = json.dumps(card.to_emd(name, f"{name}{WEIGHTS}"), indent=2)
        (partial / f"{name}.emd").write_text(emd, encoding="utf-8")
        _swap(partial, place)
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


def _save_weights(network: nn.Module, path: Path) -> None:
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, path)


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: weights that cannot be read ({reason})") from error
    except RuntimeError as error:  # torch lists every tensor, a line each
        raise ModelError(f"{path}: weights of another network than its card describes") from error


def load_card(path: str | Path) -> ModelCard:
    """Read the card of a model folder or .emd file.

    Raises
    ------
    ModelError
        If there is none, or it is not of a model of ours.
    """
    emd = _emd_of(Path(path))
    try:
        return ModelCard.from_emd(json.loads(emd.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"{emd}: cannot be read ({error})") from error
    except ModelError as error:
        raise ModelError(f"{emd}: {error}") from error


def load_model(path: str | Path, device: str = "auto", precision: str = "auto") -> Translator:
    """Load a model to translate with; its chips are not needed.

    Parameters
    ----------
    path : the model's folder, or its .emd file.
    device, precision : see `Translator`.

    Raises
    ------
    ModelError
        If it is missing, incomplete, damaged, or not ours.
    """
    card = load_card(path)
    return Translator(load_generator(path, card), card, device, precision)


def load_generator(path: str | Path, card: ModelCard) -> Generator:
    """Make the generator that a card describes, with the weights beside it.

    Raises
    ------
    ModelError
        If card and weights do not fit, or the weights are damaged.
    """
    try:
        with torch.random.fork_rng([]):  # torch's default weights cost random numbers
            generator = build_generator(card.network, **card.arguments)
    except (ModelError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its card describes no generator of ours ({error})") from error
    _load_weights(generator, _emd_of(Path(path)).with_suffix(WEIGHTS))
    return generator


def load_discriminator(path: str | Path, discriminator: nn.Module) -> None:
    """Read the weights of a model's discriminator.

    Raises
    ------
    ModelError
        If they are missing or do not fit.
    """
    _load_weights(discriminator, _emd_of(Path(path)).with_suffix(DISCRIMINATOR))


def model_folder(name_or_path: str | Path, home: Path | None = None) -> Path:
    """Folder that a model is saved to: a bare name lies under ``models`` in ``home``."""
    path = Path(name_or_path)
    return (home or Path()) / MODELS / path if path.name == str(name_or_path) else path


def _emd_of(path: Path) -> Path:
    """Find the .emd of a model, by its folder or itself."""
    if path.suffix.lower() in (".dlpk", ".pth", ".pkl"):
        raise ModelError(f"{path}: {path.suffix} files are not read; give a model folder or .emd")
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelError(f"{path}: no such model; train one first, or give its folder")
    found = sorted(path.glob("*.emd"))
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
