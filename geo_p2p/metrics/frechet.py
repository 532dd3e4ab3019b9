"""The Fréchet distance between the features of two sets of images."""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import GeoP2PError

Floats: TypeAlias = NDArray[np.float64]


class FeatureMoments:
    """Mean and covariance of features, gathered batch by batch.

    Examples
    --------
    >>> moments = FeatureMoments()
    >>> moments.update([[0.0, 1.0], [2.0, 1.0]])
    >>> moments.update([[4.0, 4.0]])
    >>> moments.mean.tolist(), moments.covariance.tolist()
    ([2.0, 2.0], [[4.0, 3.0], [3.0, 3.0]])
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(0)
        self._scatter: Floats = np.zeros((0, 0))

    def update(self, features: ArrayLike) -> None:
        """Count a batch.

        Parameters
        ----------
        features
            Shape (images, features), finite.

        Raises
        ------
        GeoP2PError
            If the shape is another, or not that of the batches before, or a feature is not
            finite. Nothing is counted then.
        """
        batch = np.asarray(features, dtype=np.float64)
        if batch.ndim != 2 or not batch.size:
            raise GeoP2PError(f"features must be (images, features), not {batch.shape}")
        if self.count and batch.shape[1] != len(self.mean):
            raise GeoP2PError(f"{batch.shape[1]} features, {len(self.mean)} expected")
        if not np.isfinite(batch).all():
            raise GeoP2PError("a feature is NaN or infinite: check the network that makes them")
        mean = batch.mean(axis=0)
        centred = batch - mean
        if not self.count:
            self.count, self.mean, self._scatter = len(batch), mean, centred.T @ centred
            return
        # Around each part's own mean (Chan et al. 1983): sums of squares would lose the digits.
        total, step = self.count + len(batch), mean - self.mean
        apart = np.outer(step, step) * (self.count * len(batch) / total)
        self._scatter = self._scatter + centred.T @ centred + apart
        self.mean = self.mean + step * (len(batch) / total)
        self.count = total

    @property
    def covariance(self) -> Floats:
        """Shape (features, features), divided by n - 1.

        Raises
        ------
        GeoP2PError
            If fewer than two images were counted.
        """
        if self.count < 2:
            raise GeoP2PError(f"a Fréchet distance takes 2 images at least, not {self.count}")
        covariance: Floats = self._scatter / (self.count - 1)
        return covariance


def fid(real: FeatureMoments, fake: FeatureMoments) -> float:
    """Return the Fréchet distance of two gaussians with the moments of the features.

    |m - n|^2 + trace(A + B - 2 (A B)^(1/2)), in the squared unit of the features. It is 0 for
    equal moments, falls with the number of images, and is comparable only for one network and one
    number of images.

    Raises
    ------
    GeoP2PError
        If either holds fewer than two images, or they differ in the number of features.

    References
    ----------
    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", NeurIPS 2017, https://arxiv.org/abs/1706.08500
    """
    a, b = real.covariance, fake.covariance
    if a.shape != b.shape:
        raise GeoP2PError(f"{len(a)} features of real images and {len(b)} of translations")
    # With R and S the roots of A and B, A B has the eigenvalues of (R S)(R S)^T: their roots are
    # the singular values of R S, real also where there are fewer images than features.
    shared = np.linalg.svd(_root(a) @ _root(b), compute_uv=False).sum()
    apart = np.square(real.mean - fake.mean).sum()
    return max(0.0, float(apart + np.trace(a) + np.trace(b) - 2 * shared))


def _root(covariance: Floats) -> Floats:
    """Return the symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    # Rounding leaves a trace where there is no variance, and a root makes much of it.
    values[values < values[-1] * len(values) * np.finfo(np.float64).eps] = 0
    root: Floats = (vectors * np.sqrt(values)) @ vectors.T
    return root
