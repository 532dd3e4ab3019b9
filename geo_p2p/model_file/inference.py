"""A generator made ready for translating: the same function, in fewer passes over memory."""

import copy
import weakref
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geo_p2p.networks.layers import LastLayer
from geo_p2p.networks.scale_head import ScaleHead

__all__ = ["most_alive", "ready"]

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

CASTABLE = (
    *CONVOLUTIONS,
    *(nn.Identity, nn.Dropout, nn.ReLU, nn.LeakyReLU),
    *(nn.Sequential, nn.ModuleList),
)
"""Layers that may run in bf16 through and through; what takes statistics may not."""

FEW = 16
"""Channels at most of a doubling that is better run as a plain convolution."""


def ready(generator: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a generator in eval mode for translating, which is called in its place.

    Batch norms that follow a convolution are folded into its weights, equal to rounding in fp32.
    Channels lie last in memory, where convolutions want them: a U-Net takes 0.7 of the time. Only
    an instance norm takes twice as long over them, on a CPU. Weights are rounded to ``dtype`` once
    and not for every tile, but for the last layer, which runs in fp32, and for networks with other
    norms in them, which need autocast. Doublings to a few channels become plain convolutions.

    Parameters
    ----------
    generator
        In eval mode, but for a dropout that stays on.
    device
        Where it shall run.
    dtype
        Of its inner layers.
    """
    net = copy.deepcopy(generator).requires_grad_(False).to(device)
    for layers in [net, *net.modules()]:
        if isinstance(layers, nn.Sequential):
            _fold(layers)
        for name, layer in layers.named_children():
            if Doubling.serves(layer):
                setattr(layers, name, Doubling(layer))
    if device.type != "mps" and not any(isinstance(m, nn.InstanceNorm2d) for m in net.modules()):
        net = net.to(memory_format=torch.channels_last)
    if dtype is not torch.float32:
        _round(net, dtype)
    return net


class Doubling(nn.Module):
    """A transposed convolution of 4x4 taps with stride 2, as a convolution of 2x2 taps.

    Each pixel of the output hangs on 2x2 of the input, at odd places on those one further. So its
    four kinds are four times as many channels of one convolution, and are laid between each other
    then. For a few channels that takes a third of the time, on a CPU.

    Parameters
    ----------
    layer
        One that `serves` accepts.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        count, self.out_channels = layer.in_channels, layer.out_channels
        # Output 2i is of inputs i - 1 and i by taps 3 and 1; output 2i - 1 of the same by 2 and 0.
        taps = layer.weight.data[:, :, [3, 1, 2, 0]][..., [3, 1, 2, 0]]
        taps = taps.reshape(count, self.out_channels, 2, 2, 2, 2)  # in, out, odd, tap, odd, tap
        kernel = taps.permute(2, 4, 1, 0, 3, 5).reshape(-1, count, 2, 2)
        # On no device, so that no random numbers are drawn for weights that are given.
        bias = layer.bias is not None
        self.conv = nn.Conv2d(count, len(kernel), 2, padding=1, bias=bias, device="meta")
        self.conv.weight = nn.Parameter(kernel.contiguous(), requires_grad=False)
        if layer.bias is not None:
            self.conv.bias = nn.Parameter(layer.bias.data.repeat(4), requires_grad=False)

    @staticmethod
    def serves(layer: nn.Module) -> TypeGuard[nn.ConvTranspose2d]:
        """Tell whether a layer is one that gains by it."""
        if not isinstance(layer, nn.ConvTranspose2d) or layer.out_channels > FEW:
            return False
        shape = layer.kernel_size, layer.stride, layer.padding, layer.output_padding
        plain = shape == ((4, 4), (2, 2), (1, 1), (0, 0)) and layer.dilation == (1, 1)
        return plain and layer.groups == 1

    @property
    def weight(self) -> Tensor:
        """Of the convolution."""
        return self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, rows, cols) to (batch, out_channels, 2 rows, 2 cols)."""
        rows, cols = x.shape[2:]
        made: Tensor = self.conv(x)  # (batch, 4 out_channels, rows + 1, cols + 1)
        whole = made.new_empty(len(x), self.out_channels, rows, 2, cols, 2)
        for kind, (down, over) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            own = made[:, kind * self.out_channels : (kind + 1) * self.out_channels]
            whole[:, :, :, down, :, over] = own[..., down : down + rows, over : over + cols]
        return whole.flatten(4).flatten(2, 3)


def _fold(layers: nn.Sequential) -> None:
    """Fold batch norms into the convolutions before them."""
    for index in range(len(layers) - 1):
        conv, norm = layers[index], layers[index + 1]
        if not (isinstance(conv, CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d)):
            continue
        if norm.track_running_stats and not norm.training:
            transposed = isinstance(conv, nn.ConvTranspose2d)
            layers[index] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
            layers[index + 1] = nn.Identity()


def _round(net: nn.Module, dtype: torch.dtype) -> None:
    """Round the weights of all layers but the last, if all of them can do with it."""
    exact = (LastLayer, ScaleHead)
    last = {part for m in net.modules() if isinstance(m, exact) for part in m.modules()}
    inner = [m for m in net.modules() if m not in last]
    own = [m for m in inner if any(True for _ in m.parameters(recurse=False))]
    if last and all(isinstance(m, CASTABLE) for m in own):
        for layer in own:
            layer.to(dtype)


def most_alive(network: nn.Module, run: Callable[[], object]) -> int:
    """Return how many bytes of features are alive at most while something runs a network.

    What its layers take and give is counted as long as it lives; what they need within is not.
    """
    alive: dict[int, int] = {}
    most = 0

    def see(tensor: Any) -> None:
        nonlocal most
        if isinstance(tensor, Tensor) and id(tensor) not in alive:
            alive[id(tensor)] = tensor.numel() * tensor.element_size()
            weakref.finalize(tensor, alive.pop, id(tensor))
            most = max(most, sum(alive.values()))

    def hook(module: nn.Module, taken: tuple[Any, ...], given: Any) -> None:
        for tensor in (*taken, given):
            see(tensor)

    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    hooks = [module.register_forward_hook(hook) for module in leaves]
    try:
        run()
    finally:
        for each in hooks:
            each.remove()
    return most
