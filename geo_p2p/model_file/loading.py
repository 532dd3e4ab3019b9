"""Read a model from disk."""

import json
from functools import partial
from pathlib import Path

import torch
from torch import nn

from geo_p2p.card import ModelCard
from geo_p2p.errors import ModelError
from geo_p2p.model_file.package import opened
from geo_p2p.model_file.places import emd_of
from geo_p2p.model_file.translator import Translator
from geo_p2p.model_file.weights import DISCRIMINATOR, WEIGHTS, load_weights
from geo_p2p.networks import Generator, build_generator

__all__ = ["load_card", "load_discriminator", "load_generator", "load_model"]


def load_card(path: str | Path) -> ModelCard:
    """Read the card of a model folder, .emd or .dlpk file.

    Raises
    ------
    ModelError
        If there is none, or it is not of a model of ours.
    """
    with opened(path) as place:
        return _read_card(emd_of(place))


def _read_card(emd: Path) -> ModelCard:
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
    path : the model's folder, .emd or .dlpk file.
    device, precision : see `Translator`.

    Raises
    ------
    ModelError
        If it is missing, incomplete, damaged, or not ours.
    """
    with opened(path) as place:
        card = load_card(place)
        translator = Translator(load_generator(place, card), card, device, precision)
    # The precision that "auto" has come to: it is part of what the model makes.
    translator.reload = partial(load_model, Path(path).absolute(), device, translator.precision)
    return translator


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
    load_weights(generator, emd_of(Path(path)).with_suffix(WEIGHTS))
    return generator


def load_discriminator(path: str | Path, discriminator: nn.Module) -> None:
    """Read the weights of a model's discriminator.

    Raises
    ------
    ModelError
        If they are missing or do not fit.
    """
    load_weights(discriminator, emd_of(Path(path)).with_suffix(DISCRIMINATOR))
