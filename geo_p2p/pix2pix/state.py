"""The state of a training: taken, put back, written and read; to the bit.

Chance needs no state of its own: order, augmentation and dropout of an epoch are drawn from the
seed and the number of the epoch alone.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from geo_p2p.errors import ModelError
from geo_p2p.model_file import read_tensors, write_tensors
from geo_p2p.pix2pix.plan import FitConfig
from geo_p2p.pix2pix.training import Training

__all__ = ["has_state", "put_weights", "read_state", "restore", "take", "write_state"]

TENSORS, NUMBERS = "state.safetensors", "state.json"
"""Files beside the weights of a model that can be trained on as if never interrupted."""

STEPS = "steps.average"
"""Name of the tensor that counts the steps of the mean."""

FORMAT = 1

log = logging.getLogger(__name__)


def take(training: Training) -> dict[str, Tensor]:
    """Copy all that steps change to the CPU: both networks, their optimisers, the mean."""
    return {name: value.detach().to("cpu", copy=True) for name, value in _tensors(training)}


def restore(training: Training, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `take` returned.

    Raises
    ------
    ModelError
        If it is of other networks.
    """
    try:
        for part, network in _networks(training).items():
            network.load_state_dict(_of(tensors, part))
        if training.average is not None:
            training.average.steps = int(tensors[STEPS])
    except (KeyError, RuntimeError) as error:  # torch lists every tensor, a line each
        raise ModelError("the state is that of other networks than its card describes") from error
    for part, optimiser in _optimisers(training).items():
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _of(tensors, part).items():
            index, _, kind = name.partition(".")
            state.setdefault(int(index), {})[kind] = value.clone()
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        optimiser.zero_grad()


def put_weights(training: Training, generator: nn.Module, discriminator: nn.Module) -> None:
    """Give a training the weights of other networks, and fresh optimisers.

    Raises
    ------
    ModelError
        If they are networks of another kind.
    """
    parts = {"generator": generator, "discriminator": discriminator, "average": generator}
    tensors = {
        f"{part}.{name}": value
        for part in _networks(training)
        for name, value in parts[part].state_dict().items()
    }
    restore(training, {**tensors, STEPS: torch.tensor(0)})


def write_state(training: Training, folder: Path) -> None:
    """Write beside the weights of a model what training needs to go on.

    What the folder holds already, the generator that is used and the discriminator, is left out.
    """
    held = _held(training)
    kept = {name: value for name, value in _tensors(training) if name.split(".")[0] not in held}
    write_tensors(kept, folder / TENSORS)
    (folder / NUMBERS).write_text(json.dumps(_numbers(training), indent=1), encoding="utf-8")


def has_state(folder: Path) -> bool:
    """Whether a model folder holds the state of its training."""
    return (folder / NUMBERS).is_file()


def read_state(training: Training, folder: Path) -> None:
    """Bring a training, whose two networks have the weights of the folder, to the state in it.

    Raises
    ------
    ModelError
        If the state is damaged, or of another version.
    """
    path = folder / NUMBERS
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
        if numbers["format"] != FORMAT:
            raise ModelError(f"{path}: written by another version of geo_p2p; update it")
        plan = numbers["plan"] and FitConfig(**numbers["plan"])
        history, before = list(numbers["history"]), int(numbers["before"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    held = _held(training)
    own = {name: value for name, value in _tensors(training) if name.split(".")[0] in held}
    restore(training, {**own, **read_tensors(folder / TENSORS)})
    training.history[:], training.before, training.plan = history, before, plan
    _compare(numbers["data"], _data(training))


def _networks(training: Training) -> dict[str, Any]:
    mean = {} if training.average is None else {"average": training.average.network}
    trained = training.learn.model
    return {"generator": trained, "discriminator": training.adversary.discriminator, **mean}


def _optimisers(training: Training) -> dict[str, Optimizer]:
    return {
        "generator_optimiser": training.learn.opt.opt,
        "discriminator_optimiser": training.adversary.optimiser,
    }


def _held(training: Training) -> set[str]:
    """The networks that a model folder holds in files of their own."""
    return {"discriminator", "generator" if training.average is None else "average"}


def _tensors(training: Training) -> Iterator[tuple[str, Tensor]]:
    """All that steps change, under names that begin with the part it belongs to."""
    for part, network in _networks(training).items():
        for name, value in network.state_dict().items():
            yield f"{part}.{name}", value
    if training.average is not None:
        yield STEPS, torch.tensor(training.average.steps)
    for part, optimiser in _optimisers(training).items():
        for index, values in optimiser.state_dict()["state"].items():
            for name, value in values.items():
                yield f"{part}.{index}.{name}", value


def _of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def _numbers(training: Training) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "before": training.before,
        "history": training.history,
        "plan": training.plan and asdict(training.plan),
        "data": _data(training),
    }


def _data(training: Training) -> dict[str, Any]:
    """What must be the same for a training to go on as if never interrupted."""
    data = training.data
    return {
        "training chips": len(data.chips[0]),
        "validation chips": len(data.chips[1]),
        "batch size": data.batch_size,
        "seed": data.seed,
        "augmentation": asdict(data.train_dl.dataset.augmentation),
    }


def _compare(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Say so if the data are others than those the training began with."""
    pairs = {name: (then.get(name), value) for name, value in now.items()}
    changed = [f"{name} {one}, now {two}" for name, (one, two) in pairs.items() if one != two]
    if changed:
        log.warning(
            "not the data this training began with (%s): it goes on, but not as it would have",
            "; ".join(changed),
        )
