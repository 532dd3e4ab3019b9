"""Measure how far a network sees, by watching it: no knowledge of its architecture.

A NaN in the input comes out of every pixel that depends on it, through convolutions, activations,
pooling, interpolation and norms alike, however small a weight on its way. That gives the halo and
the stride of *any* module, and tells one that can be tiled from one that cannot.

What the probes cannot see: an operation that replaces NaN (``nan_to_num``, ``where``, comparisons,
``topk``) cuts the trail. Comparing a tiled with a whole image is the test that settles it.

Every probe works on a copy of the network, in eval mode, on the CPU, in float32: the network given
keeps its mode, its running statistics and its device.

References
----------
G. A. Reina et al., Systematic Evaluation of Image Tiling Adverse Effects, 2020,
https://doi.org/10.3389/fnins.2020.00065; J. L. Rumberger et al., How Shift Equivariance Impacts
Metric Learning for Instance Segmentation, ICCV 2021, https://arxiv.org/abs/2101.05846.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from ..errors import GeoP2PError, ModelError

__all__ = ["receptive_field", "required_halo", "total_stride"]

_ROWS, _COLS = 2, 3
_SHORT_SIDE = 64  # px; the side along which nothing is measured


def required_halo(
    net: nn.Module, stride: int, in_channels: int, max_halo: int = 1024
) -> int | None:
    """Measure how far what lies beyond an edge reaches across it.

    Half the image is made NaN, the edge on a multiple of the stride, and the NaN that come out on
    the other side are counted; from all four sides.

    Parameters
    ----------
    net
        Maps (1, in_channels, rows, cols) to as many rows and cols.
    stride
        Pixels, as `total_stride` measures it.
    in_channels
        Bands of the input.
    max_halo
        Pixels; how far to look. Memory and time grow with it.

    Returns
    -------
    int or None
        Pixels, not rounded to the stride: a tile whose core lies on multiples of the stride and
        is read with this halo, rounded up to the stride, gives what the whole image gives. None:
        it reaches beyond `max_halo`, as it does for each operation over the whole image (instance
        or group norm, attention, dropout in use); the network is not tile-safe.

    Raises
    ------
    ModelError
        The output has not the size of the input.
    """
    net = _copy(net)
    far = _up(max_halo, stride)
    reaches = [
        _reach(net, in_channels, stride, far, axis, forward)
        for axis in (_ROWS, _COLS)
        for forward in (True, False)
    ]
    return None if max(reaches) >= far else max(reaches)


def total_stride(
    net: nn.Module, in_channels: int, *, max_stride: int = 512, max_halo: int = 1024
) -> int | None:
    """Measure by how many pixels an image may be shifted with its output only shifted along.

    Parameters
    ----------
    net
        Maps (1, in_channels, rows, cols) to as many rows and cols.
    in_channels
        Bands of the input.
    max_stride
        Pixels; strides of 1, 2, 4 ... up to this are tried.
    max_halo
        Pixels; at least the halo of the network.

    Returns
    -------
    int or None
        Pixels, the least power of two that serves both axes; None when none does, as for each
        operation over the whole image.

    Raises
    ------
    ModelError
        The network refuses every size tried, or its output has not the size of its input.
    """
    net = _copy(net)
    refusal: Exception | None = None
    refused, tried, stride = 0, 0, 1
    while stride <= max_stride:
        tried += 1
        try:
            if all(_follows(net, in_channels, stride, max_halo, axis) for axis in (_ROWS, _COLS)):
                return stride
        # A network says in its own way that its sides must be multiples of more than this.
        except (GeoP2PError, RuntimeError) as error:
            refused, refusal = refused + 1, error
        stride *= 2
    if refused == tried:
        raise ModelError(f"the network takes no image it was probed with: {refusal}") from refusal
    return None


def receptive_field(net: nn.Module, *in_channels: int, side: int = 512) -> int:
    """Measure how large a patch of the input one pixel of the output sees, by its gradient.

    Parameters
    ----------
    net
        Takes as many images (1, channels, rows, cols) as there are `in_channels`.
    *in_channels
        Bands of each input; condition and image for a discriminator.
    side
        Pixels, the square image it is measured on; larger than the answer.

    Returns
    -------
    int
        Pixels, the longer side over all inputs. A gradient that happens to be zero is not seen:
        saturated units make the answer a lower bound.

    Raises
    ------
    ModelError
        The patch reaches the border of the image.
    """
    net = _copy(net)
    images = [_noise(channels, side, side).requires_grad_() for channels in in_channels]
    scores = net(*images)
    rows, cols = scores.shape[2:]
    grads = torch.autograd.grad(scores[0, :, rows // 2, cols // 2].sum(), images)
    seen = torch.stack([grad[0].ne(0).any(dim=0) for grad in grads]).any(dim=0)  # (side, side)
    spans = [torch.nonzero(seen.any(dim=axis)).flatten() for axis in (0, 1)]
    if any(len(span) and (span[0] == 0 or span[-1] == side - 1) for span in spans):
        raise ModelError(f"the patch reaches beyond {side} px: measure with a larger side")
    return max(int(span[-1] - span[0]) + 1 if len(span) else 0 for span in spans)


def _copy(net: nn.Module) -> nn.Module:
    return deepcopy(net).to(device="cpu", dtype=torch.float32).eval()


def _up(length: int, step: int) -> int:
    """Round up to a multiple of a step."""
    return -(-length // step) * step


def _noise(channels: int, rows: int, cols: int) -> Tensor:
    return torch.randn(1, channels, rows, cols, generator=torch.Generator().manual_seed(0))


def _strip(channels: int, length: int, stride: int, axis: int) -> Tensor:
    """Make noise (1, channels, ...) of this length along an axis and a short other side."""
    short = _up(_SHORT_SIDE, stride)
    return _noise(channels, *((length, short) if axis == _ROWS else (short, length)))


@torch.no_grad()
def _translate(net: nn.Module, image: Tensor) -> Tensor:
    """Run the network; only one that keeps the size of its image can be probed."""
    out: Tensor = net(image)
    if out.shape[2:] != image.shape[2:]:
        raise ModelError(
            f"the network makes {tuple(out.shape)} of {tuple(image.shape)}: halo and stride are "
            "measured on networks that keep the size of the image"
        )
    return out


def _reach(
    net: nn.Module, in_channels: int, stride: int, far: int, axis: int, forward: bool
) -> int:
    """Count the pixels that NaN cross an edge by, forward or backward along an axis."""
    image = _strip(in_channels, 2 * far, stride, axis)
    image.narrow(axis, 0 if forward else far, far).fill_(torch.nan)
    other = _ROWS + _COLS - axis
    hit = torch.isnan(_translate(net, image)).amax(dim=(0, 1, other))  # (2 * far,)
    beyond = hit[far:] if forward else hit[:far].flip(0)
    touched = torch.nonzero(beyond).flatten()
    return int(touched[-1]) + 1 if len(touched) else 0


def _follows(net: nn.Module, in_channels: int, shift: int, max_halo: int, axis: int) -> bool:
    """Whether an image moved by some pixels gives its output moved by as many, NaN included.

    The first pixels are NaN. How far these reach follows the shift only at a multiple of the
    stride, even where the weights of the deepest layers are too small for the values to show it.
    """
    margin = _up(max_halo, shift)
    edge, length = margin + shift, 3 * margin + 2 * shift
    image = _strip(in_channels, length + shift, shift, axis)
    image.narrow(axis, 0, edge).fill_(torch.nan)
    here = _translate(net, image.narrow(axis, 0, length))
    there = _translate(net, image.narrow(axis, shift, length))
    # The near border does not reach past the NaN, nor the far one into what is compared.
    here = here.narrow(axis, edge, length - margin - edge)
    there = there.narrow(axis, edge - shift, length - margin - edge)
    values = here[torch.isfinite(here)]
    if not len(values):
        return False
    noise = 1e-4 * float(values.std(correction=0))
    return torch.allclose(here, there, rtol=0.0, atol=noise, equal_nan=True)
