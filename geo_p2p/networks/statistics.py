"""Norms that take statistics over the image they are given, and how to fix these once for all.

A norm over an image makes every pixel depend on all others, so two tiles disagree about the pixels
they share, whatever the halo. Given the statistics of one sample instead, it is a batch norm in
eval mode: an affine map of each channel, and the network is local again.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..errors import ModelError

__all__ = ["fix_statistics", "per_image_norms"]


def per_image_norms(net: nn.Module) -> dict[str, nn.Module]:
    """Return the norms that take statistics over the image given, in the mode they are in.

    Parameters
    ----------
    net
        Any network.

    Returns
    -------
    dict
        By name. Instance and batch norms that keep no running statistics, or are in train mode, and
        group norms. A layer norm is not among them: over the channels of a pixel it is local, and
        over space it takes images of one size alone.
    """
    layers = net.named_modules(remove_duplicate=False)  # at each place it has statistics of its own
    return {name: layer for name, layer in layers if _per_image(layer)}


def _per_image(layer: nn.Module) -> bool:
    if isinstance(layer, _BatchNorm | _InstanceNorm):
        return layer.training or layer.running_mean is None
    return isinstance(layer, nn.GroupNorm)


@torch.no_grad()
def fix_statistics(net: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy of a network whose norms use the statistics of some images, for any image.

    The images go through at once, and each norm takes its mean and variance over all of them
    together: so each layer sees what those before it will give from then on. Means of what single
    images give would not do: the layers behind would have been measured on other features.

    Parameters
    ----------
    net
        Any network that takes one tensor, in the mode it is used in.
    images
        (batch, channels, rows, cols), on the device of the network: what the raster is made of.

    Returns
    -------
    nn.Module
        With `torch.nn.BatchNorm2d` in eval mode in the place of each of `per_image_norms`.

    Raises
    ------
    ModelError
        If such a norm is not given (batch, channels, rows, cols), or is run twice an image: it
        would need statistics for each.

    References
    ----------
    Thumbnail instance normalization fixes those of a reduced image: Z. Chen et al., Towards
    Ultra-Resolution Neural Style Transfer via Thumbnail Instance Normalization, AAAI 2022,
    https://arxiv.org/abs/2103.11784. Those of a sample in full resolution are nearer to what the
    network was trained on: see docs/predict.md.
    """
    net = deepcopy(net)
    for name, layer in per_image_norms(net).items():
        parent, _, own = name.rpartition(".")
        if not own:
            raise ModelError("the network is a single norm: there is nothing to translate with")
        setattr(net.get_submodule(parent), own, _Measured(name, layer))
    net(images)
    for name, layer in list(net.named_modules(remove_duplicate=False)):
        if isinstance(layer, _Measured):
            parent, _, own = name.rpartition(".")
            setattr(net.get_submodule(parent), own, layer.fixed())
    return net


class _Measured(nn.Module):
    """Stands in for a norm while its statistics are taken."""

    def __init__(self, name: str, norm: nn.Module) -> None:
        super().__init__()
        self._name, self._norm = name, norm
        self._taken: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Take the statistics over all images, and normalise with them."""
        if x.ndim != 4 or self._taken is not None:
            raise ModelError(
                f"norm {self._name} takes {tuple(x.shape)}, or comes twice: its statistics cannot "
                "be fixed; take those of each tile (statistics 'tile')"
            )
        groups = self._norm.num_groups if isinstance(self._norm, nn.GroupNorm) else x.shape[1]
        # Image by image, and then together in float64: no copy of all features, no lost digits.
        each = [torch.var_mean(image.float().reshape(groups, -1), 1, correction=0) for image in x]
        # On the CPU, because Apple's GPUs have no float64.
        var, mean = (torch.stack(part).cpu().double() for part in zip(*each, strict=True))
        joint = mean.mean(0), var.mean(0) + mean.var(0, correction=0)
        width = x.shape[1] // groups
        mean, var = (part.float().to(x.device).repeat_interleave(width) for part in joint)
        self._taken = mean, var
        out: Tensor = self.fixed()(x)
        return out

    def fixed(self) -> nn.BatchNorm2d:
        """Return the norm with the statistics taken; as it was trained in all else."""
        if self._taken is None:
            raise ModelError(f"norm {self._name} is never run: it has no statistics to fix")
        old, (mean, var) = self._norm, self._taken
        assert isinstance(old.eps, float)
        fixed = nn.BatchNorm2d(len(mean), old.eps, device=mean.device).eval()
        assert fixed.running_mean is not None
        assert fixed.running_var is not None
        fixed.running_mean.copy_(mean)
        fixed.running_var.copy_(var)
        if isinstance(old.weight, Tensor) and isinstance(old.bias, Tensor):
            fixed.weight.copy_(old.weight)
            fixed.bias.copy_(old.bias)
        return fixed.requires_grad_(False)
