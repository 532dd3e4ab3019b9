"""Whether a network gives a tile what it gives the whole image, and what stands in the way."""

from torch import nn

from .probe import required_halo
from .statistics import per_image_norms

__all__ = ["is_local", "obstacle_of", "switch_dropout"]

DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def switch_dropout(net: nn.Module, on: bool) -> None:
    """Switch dropout on or off, by hand and not by train(): statistics stay those of training."""
    for layer in net.modules():
        if isinstance(layer, DROPOUTS):
            layer.train(on)


def is_local(net: nn.Module, stride: int, in_channels: int, halo: int) -> bool:
    """Tell whether tiles with that halo, px, give what the whole image gives; it is measured."""
    if per_image_norms(net) or _dropouts(net):
        return False
    return required_halo(net, stride, in_channels, halo) is not None


def obstacle_of(net: nn.Module, halo: int) -> str:
    """Say why two tiles of a network do not agree about the pixels they share."""
    if norms := per_image_norms(net):
        name, layer = next(iter(norms.items()))
        return (
            f"{len(norms)} norms take statistics of each tile, the first is {name} "
            f"({type(layer).__name__})"
        )
    if dropped := _dropouts(net):
        return f"dropout is on in {dropped} layers, and drawn anew for each tile"
    return f"a layer sees beyond the halo of {halo} px, or the card says so"


def _dropouts(net: nn.Module) -> int:
    """Count the layers that drop features at random."""
    return sum(
        isinstance(layer, DROPOUTS) and layer.training and layer.p > 0 for layer in net.modules()
    )
