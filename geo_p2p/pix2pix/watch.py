"""Plain words for what the curves of two adversaries say."""

import logging
from collections.abc import Sequence

from geo_p2p.pix2pix.plan import Row
from geo_p2p.pix2pix.training import Training

__all__ = ["Watch", "advice"]

EPOCHS = 3
"""Epochs in a row that must look alike before anything is said."""

SURE, STILL = 0.98, 1e-6
"""Accuracy from which the discriminator is never wrong; gradient below which nothing moves."""

log = logging.getLogger(__name__)

WORDS = {
    "the discriminator wins": "for %d epochs it has told nearly every translation from the truth, "
    "and the generator only gets worse at fooling it: what it says teaches nothing any more. Train "
    "it slower (a smaller ndf), or weigh the pixel loss more",
    "the discriminator has collapsed": "for %d epochs it has guessed, and does not learn: the "
    "training is plain regression now. Begin again with another seed or a smaller lr",
    "the generator stands still": "for %d epochs it has had no gradient: its output is saturated, "
    "or its weights are dead. Begin again with a smaller lr",
}
"""What is said, by what has happened."""


def advice(rows: Sequence[Row]) -> list[str]:
    """Name what goes wrong in the last epochs, in the words of `WORDS`.

    Parameters
    ----------
    rows : the history.
    """
    last = rows[-EPOCHS:]
    if len(last) < EPOCHS:
        return []
    real, fake, opinion, still, frozen = (
        [float(row.get(name) or 0) for row in last]
        for name in (
            *("d_accuracy_real", "d_accuracy_fake", "fake_d_real_class_loss"),
            *("gen_grad_norm", "disc_grad_norm"),
        )
    )
    found = []
    if min(*real, *fake) > SURE and opinion[-1] > opinion[0]:
        found.append("the discriminator wins")
    guesses = all(abs(r + f - 1) < 0.04 for r, f in zip(real, fake, strict=True))
    if guesses and max(frozen) < STILL:
        found.append("the discriminator has collapsed")
    if max(still) < STILL:
        found.append("the generator stands still")
    return found


class Watch:
    """Warns of what goes wrong, once each."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self._said: set[str] = set()

    def __call__(self) -> None:
        """Look at the epochs so far."""
        for what in advice(self.training.rows):
            if what not in self._said:
                self._said.add(what)
                log.warning("epoch %d: %s: " + WORDS[what], self.training.epochs, what, EPOCHS)
