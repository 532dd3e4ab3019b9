"""Several discriminators of patches, each looking at the pair from twice as far."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..card import FILL
from .layers import at_least
from .patchgan import PatchGAN

__all__ = ["MultiScale", "halved"]


class MultiScale(nn.Module):
    """PatchGANs on a pair and on its halved copies: the same patch is 70, 140, 280 px of ground.

    Parameters
    ----------
    in_channels
        Bands of condition and image together.
    scales
        PatchGANs, 1 or more; the first sees the pair as it is.
    **arguments
        Of each `PatchGAN`.

    Attributes
    ----------
    arguments : dict
        What the class was called with, ready for JSON; `build_discriminator` takes it back.
    smallest : int
        Shortest side it can judge, px.

    Raises
    ------
    ModelError
        Arguments that make no `PatchGAN`; scales below 1.

    References
    ----------
    T.-C. Wang et al., High-Resolution Image Synthesis and Semantic Manipulation with Conditional
    GANs, CVPR 2018, https://arxiv.org/abs/1711.11585.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        scales: int = 2,
        layers: int = 3,
        ndf: int = 64,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        at_least(1, scales=scales)
        one: dict[str, Any] = {"layers": layers, "ndf": ndf, "norm": norm}
        self.arguments = {"in_channels": in_channels, "scales": scales, **one}
        judges = [PatchGAN(in_channels, **one) for _ in range(scales)]
        self.scales = nn.ModuleList(judges)
        # An odd side is halved upwards: the least that leaves one verdict at the last scale.
        self.smallest: int = 2 ** (scales - 1) * (judges[-1].smallest - 1) + 1

    def forward(
        self, condition: Tensor, image: Tensor, valid: Tensor | None = None
    ) -> list[list[Tensor]]:
        """Judge an image beside the condition it belongs to, at every scale.

        Parameters
        ----------
        condition
            (batch, bands of the input, rows, cols).
        image
            (batch, bands of the target, rows, cols).
        valid
            (batch, 1, rows, cols) bool; what is not has been filled. None if all is.

        Returns
        -------
        list of list of Tensor
            For each scale what each layer makes of the pair; the scores last.

        Raises
        ------
        ModelError
            See `PatchGAN`.
        """
        found = []
        for number, judge in enumerate(self.scales):
            if number:
                if valid is None:
                    valid = image.new_ones(len(image), 1, *image.shape[2:], dtype=torch.bool)
                condition, image, valid = halved(condition, image, valid)
            assert isinstance(judge, PatchGAN)
            found.append(judge.activations(condition, image))
        return found


def halved(condition: Tensor, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Halve a pair by means over 3x3 pixels, and fill what an invalid pixel has a part in.

    Without that, the border of a hole would be a blend with the fill, of a value that is found in
    no raster and hangs on what lies beside the hole.

    Parameters
    ----------
    condition, image
        (batch, bands, rows, cols).
    valid
        (batch, 1, rows, cols) bool.

    Returns
    -------
    tuple of Tensor
        The three at half the size, odd sides rounded up.
    """
    size, stride, pad = 3, 2, 1
    # Not of the padding: max_pool2d pads with what is below everything.
    kept = F.max_pool2d((~valid).float(), size, stride, pad) == 0

    def mean(images: Tensor) -> Tensor:
        pooled = F.avg_pool2d(images, size, stride, pad, count_include_pad=False)
        return torch.where(kept, pooled, FILL)

    return mean(condition), mean(image), kept
