"""Class maps: accuracy, intersection over union, confusion."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import GeoP2PError
from .common import LIBRARY, NOTHING, Core, checked, inside


class ClassScores:
    """Accuracy, IoU and the confusion matrix of a predicted class map against its truth.

    A class that is not among `values`, true or predicted, is never dropped: the matrix runs over
    the expected classes and those seen, so it counts as an error unless both maps agree.

    Parameters
    ----------
    values
        The class numbers one expects; they are in the result even where unseen.

    Examples
    --------
    >>> scores = ClassScores([1, 2])
    >>> scores.update([[[1, 1, 2, 7]]], [[[1, 2, 2, 2]]], [[True] * 4])
    >>> scores.result()["confusion"], scores.result()["classes"]
    ([[1, 0, 0], [1, 1, 1], [0, 0, 0]], [1, 2, 7])
    """

    MEASURES = ("accuracy", "miou")
    """Those of one number for a map, by their names in the result."""

    def __init__(self, values: Sequence[int]) -> None:
        self._values = {int(value) for value in values}
        self._pairs: Counter[tuple[int, int]] = Counter()  # (true class, predicted class)

    def blank(self) -> Self:
        """Return an accumulator of the same expected classes that has counted nothing."""
        return type(self)(sorted(self._values))

    def add(self, other: Self) -> None:
        """Count all that another accumulator has counted."""
        self._pairs.update(other._pairs)

    def update(
        self, predicted: ArrayLike, truth: ArrayLike, valid: ArrayLike, core: Core | None = None
    ) -> None:
        """Count the pixels of one window.

        Parameters
        ----------
        predicted, truth
            Shape (1, rows, cols), class numbers.
        valid
            Shape (rows, cols), True where both maps hold a class.
        core
            Row slice and column slice of the pixels to count. Default: all.

        Raises
        ------
        GeoP2PError
            If the shapes do not agree or a valid pixel is not a whole number.
        """
        predicted, truth, valid = checked(predicted, truth, valid)
        if len(truth) != 1:
            raise GeoP2PError(f"a class map has one band, not {len(truth)}")
        counted = inside(valid, core)
        pairs = np.stack([_whole_numbers(image[0][counted]) for image in (truth, predicted)])
        seen, index = np.unique(pairs, return_inverse=True)
        rows, cols = index.reshape(pairs.shape)
        counts = np.bincount(rows * len(seen) + cols)
        for code in np.flatnonzero(counts).tolist():
            row, col = divmod(code, len(seen))
            self._pairs[int(seen[row]), int(seen[col])] += int(counts[code])

    def result(self) -> dict[str, Any]:
        """Return the measures over all windows so far, as plain JSON data.

        Returns
        -------
        dict
            ``accuracy``
                Share of the pixels whose class is right, 0 to 1.
            ``miou``
                Mean of ``iou`` over the classes present in truth or prediction, expected or not.
            ``classes``, ``iou``, ``confusion``
                Class numbers, ascending; intersection over union of each (None where the class is
                in neither map); pixel counts, one row a true class, one column a predicted class.
            ``unexpected``, ``pixels``, ``made``
                Classes seen that are not in `values`; pixels counted; how the numbers were made.

        Raises
        ------
        GeoP2PError
            If no valid pixel was counted.
        """
        if not self._pairs:
            raise GeoP2PError(NOTHING)
        seen = {value for pair in self._pairs for value in pair}
        classes = sorted(seen | self._values)
        confusion = np.array([[self._pairs[t, p] for p in classes] for t in classes])
        hits = confusion.diagonal()
        unions = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
        iou = [hit / union if union else None for hit, union in zip(hits, unions, strict=True)]
        present = [float(each) for each in iou if each is not None]
        return {
            "accuracy": float(hits.sum() / confusion.sum()),
            "miou": sum(present) / len(present),
            "classes": classes,
            "iou": [None if each is None else float(each) for each in iou],
            "confusion": confusion.tolist(),
            "unexpected": sorted(seen - self._values),
            "pixels": self._pairs.total(),
            "made": {
                "library": LIBRARY,
                "miou": "mean over the classes present in truth or prediction",
            },
        }


def _whole_numbers(values: NDArray[Any]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):  # NaN becomes some integer, which differs from NaN
        numbers = values.astype(np.int64)
    if not np.array_equal(numbers, values):
        raise GeoP2PError("a class map holds whole numbers wherever it is valid")
    return numbers
