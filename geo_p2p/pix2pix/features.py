"""The Fréchet distance of translations from targets, by a feature network of the user's."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from geo_p2p.card import Scaling
from geo_p2p.errors import ModelError
from geo_p2p.metrics import FeatureMoments, fid

__all__ = ["FeatureDistance", "Features"]

Features: TypeAlias = Callable[[Tensor], Tensor | ArrayLike]
"""A module or function: (images, channels, rows, cols) to (images, features)."""


class FeatureDistance:
    """FID of translated chips, summed chip by chip.

    Parameters
    ----------
    features : a module, run in evaluation mode on the device it lies on, or a function, given
        tensors on the CPU. It gets float32 in [-1, 1] as the generator makes them (classes as one
        channel each, in {0, 1}); invalid pixels hold the same fill in target and translation.
    target : scaling of the target.

    References
    ----------
    Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", https://arxiv.org/abs/1706.08500
    """

    def __init__(self, features: Features, target: Scaling) -> None:
        self._features = features
        self._target = target
        self._real, self._fake = FeatureMoments(), FeatureMoments()

    def update(self, image: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Count a chip: its translation and its target, (bands, rows, cols) in raster units.

        A chip without a valid pixel shows nothing of either, and is left out.

        Raises
        ------
        ModelError
            If the features are not one row an image.
        GeoP2PError
            If they are not finite, or not as many as before.
        """
        if not valid.any():
            return
        pair = np.stack([self._target.forward(each, valid) for each in (truth, image)])
        real, fake = self._run(torch.from_numpy(pair))
        self._real.update(real[None])
        self._fake.update(fake[None])

    def _run(self, images: Tensor) -> NDArray[Any]:
        """Return the features of a batch."""
        with torch.no_grad():
            if isinstance(self._features, nn.Module):
                out = _in_evaluation(self._features, images)
            else:
                out = self._features(images)
        rows = out.detach().cpu().double().numpy() if isinstance(out, Tensor) else np.asarray(out)
        if rows.ndim != 2 or len(rows) != len(images):
            raise ModelError(
                f"features: {len(images)} images gave an array of {rows.shape}; it must be "
                f"({len(images)}, features)"
            )
        return rows

    def result(self) -> dict[str, Any]:
        """Return the distance over all chips so far.

        Returns
        -------
        dict
            ``fid``, and ``fid_features``, their number. It is comparable only between models
            scored with the same features on the same chips.

        Raises
        ------
        GeoP2PError
            If fewer than two chips were counted.
        """
        return {"fid": fid(self._real, self._fake), "fid_features": len(self._real.mean)}


def _in_evaluation(network: nn.Module, images: Tensor) -> Any:
    """Run a module on its own device, and leave each part of it in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    weights = next(network.parameters(), None)
    network.eval()
    try:
        return network(images if weights is None else images.to(weights.device))
    finally:
        for module, training in modes:
            module.training = training
