"""A trained model on disk: a folder with an .emd card and safetensors weights; no pickle."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
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
        """SHA-256 over weights, card and precision, in hexadecimal."""
        digest = hashlib.sha256(self.precision.encode())
        digest.update(json.dumps(self.card.to_emd("", ""), sort_keys=True).encode())
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
            # On a CPU a batch gains nothing, and one by one a tile's sums do not depend on it.
            parts = batch.split(1) if self.device.type == "cpu" else (batch,)
            output = torch.cat([self.generator(part) for part in parts])
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
    name = folder.name
    if folder.exists() and not list(folder.glob("*.emd")):
        raise ModelError(f"{folder}: exists and is not a model folder; choose another name")
    partial = folder.with_name(f".{name}.{os.getpid()}.part")
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        _save_weights(generator, partial / f"{name}.safetensors")
        if discriminator is not None:
            _save_weights(discriminator, partial / f"{name}.discriminator.safetensors")
        emd = json.dumps(card.to_emd(name, f"{name}.safetensors"), indent=2)
        (partial / f"{name}.emd").write_text(emd, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _save_weights(network: nn.Module, path: Path) -> None:
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Read weights into a network.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or of another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: weights that cannot be used ({reason})") from error


@dataclass(frozen=True)
class _Files:
    """Where the parts of a model lie."""

    emd: Path

    @property
    def weights(self) -> Path:
        return self.emd.with_suffix(".safetensors")

    @property
    def discriminator(self) -> Path:
        return self.emd.with_suffix(".discriminator.safetensors")


def load_card(path: str | Path) -> ModelCard:
    """Read the card of a model folder or .emd file.

    Raises
    ------
    ModelError
        If there is none, or it is not of a model of ours.
    """
    emd = _files(Path(path)).emd
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
        generator = build_generator(card.network, **card.arguments)
    except TypeError as error:
        raise ModelError(f"{path}: its card does not describe a {card.network}") from error
    load_weights(generator, _files(Path(path)).weights)
    return generator


def load_discriminator(path: str | Path, discriminator: nn.Module) -> None:
    """Read the weights of a model's discriminator.

    Raises
    ------
    ModelError
        If they are missing or do not fit.
    """
    load_weights(discriminator, _files(Path(path)).discriminator)


def model_folder(name_or_path: str | Path) -> Path:
    """Folder that a model is saved to: a bare name lies under ``./models``."""
    path = Path(name_or_path)
    return Path(MODELS) / path if path.name == str(name_or_path) else path


def _files(path: Path) -> _Files:
    """Find the .emd of a model."""
    if path.suffix.lower() in (".dlpk", ".pth", ".pkl"):
        raise ModelError(f"{path}: {path.suffix} files are not read; give a model folder or .emd")
    if path.is_file():
        return _Files(path)
    if not path.is_dir():
        raise ModelError(f"{path}: no such model; train one first, or give its folder")
    found = sorted(path.glob("*.emd"))
    if len(found) != 1:
        raise ModelError(f"{path}: holds {len(found)} .emd files, a model folder holds one")
    return _Files(found[0])


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
    complete = [emd for emd in Path(MODELS).glob("*/*.emd") if _Files(emd).weights.exists()]
    if not complete:
        raise ModelError(
            "no model named, and none under ./models: give one with --model, or train one first"
        )
    return max(complete, key=lambda emd: emd.stat().st_mtime).parent
