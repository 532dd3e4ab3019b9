"""How large a batch may be, before anything is trained."""

from typing import NamedTuple

from geo_p2p.device import free_memory
from geo_p2p.errors import ModelError
from geo_p2p.pix2pix.memory import largest_batch
from geo_p2p.pix2pix.trainable import Trainable

__all__ = ["BatchSizes", "estimate_batch_size"]

SHARE = 0.8
"""Share of the free memory that a recommended batch takes at most."""


class BatchSizes(NamedTuple):
    """Chips a step: a power of two with room to spare, and the most there is room for."""

    recommended_batchsize: int
    max_batchsize: int


def estimate_batch_size(model: Trainable, mode: str = "train") -> BatchSizes:
    """Estimate how many chips a training step has room for, on the device of the model.

    A small batch goes through both networks once, and what they keep of it for the way back is
    counted; weights and statistics stay as they are. The name is arcgis.learn's.

    Parameters
    ----------
    model : with data.
    mode : "train"; prediction chooses its blocks by itself.

    Returns
    -------
    Both are 0 where there is no room for a single chip.

    Raises
    ------
    ModelError
        For another mode, or a model without data.
    """
    if mode != "train":
        raise ModelError(f"mode is {mode!r}: only 'train' is estimated; predictions need no batch")
    training = model._require_training()
    free = free_memory(training.device)
    chips = len(training.data.chips[0])
    largest = min(chips, largest_batch(training, free))
    roomy = min(chips, largest_batch(training, SHARE * free))
    return BatchSizes(1 << (roomy.bit_length() - 1) if roomy else 0, largest)
