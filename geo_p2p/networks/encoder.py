"""A U-Net whose encoder is a residual network of torchvision, with weights learned elsewhere.

torchvision is loaded when such a network is made, and not before. Weights are never fetched: they
come from a file that the user has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import ModelError
from .batch_norm import BatchNorm
from .layers import NORMS, Generator, LastLayer, arguments_of, at_least, choose, cut
from .scale_head import ScaleHead

__all__ = ["BACKBONES", "Encoder", "EncoderUNet", "load_backbone"]

BACKBONES: Mapping[str, int] = {
    "resnet18": 256,
    "resnet34": 512,
    "resnet50": 256,
    "resnet101": 544,
    "resnet152": 768,
    "resnext50_32x4d": 256,
    "wide_resnet50_2": 256,
}
"""torchvision's networks by the names arcgis.learn has for them, and the halo that each needs, px.

The halos are what `required_halo` measures, rounded up to the stride of 32.
"""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue, 0 to 1, in the pictures that torchvision's weights were learned on."""


class Encoder(nn.Module):
    """A residual network of torchvision up to its last features.

    Parameters
    ----------
    backbone
        A name in `BACKBONES`.
    in_channels
        Bands of the image.

    Attributes
    ----------
    widths : tuple of int
        Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size.
    scale, offset : Tensor
        (in_channels, 1, 1): what the bands are multiplied by, and what is added then. 1 and 0 but
        for weights that `load_backbone` read.

    Raises
    ------
    ModelError
        An unknown backbone; or torchvision is missing, or broken.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, backbone: str, in_channels: int) -> None:
        super().__init__()
        net = _from_torchvision(backbone)
        width = net.conv1.out_channels
        conv = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.conv1 = conv if in_channels != net.conv1.in_channels else net.conv1
        self.bn1, self.relu, self.maxpool = net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            *(net.layer1, net.layer2),
            *(net.layer3, net.layer4),
        )
        deepest = net.fc.in_features
        self.widths = (width, deepest // 8, deepest // 4, deepest // 2, deepest)
        self.register_buffer("scale", torch.ones(in_channels, 1, 1))
        self.register_buffer("offset", torch.zeros(in_channels, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of (batch, in_channels, rows, cols), from 1/2 to 1/32 of its size."""
        x = self.relu(self.bn1(self.conv1(image * self.scale + self.offset)))
        found = [x]  # (B, 64, H/2, W/2)
        x = self.maxpool(x)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            found.append(x)  # (B, widths[i], H / 2**(i+1), W / 2**(i+1))
        return found


class EncoderUNet(Generator):
    """The encoder of `Encoder`, and the decoder of the pix2pix U-Net with its skips.

    The stride is 32. The halo is wide, because residual networks see far: a tile is worth it only
    at many times its halo. Weights learned on photographs come with `load_backbone`.

    Parameters
    ----------
    in_channels
        Bands of the input image.
    out_channels
        Bands of the target, or its classes.
    backbone
        A name in `BACKBONES`.
    ngf
        Channels of the decoder at half size; twice, four and eight times as many further in.
    norm
        A name in `NORMS`, for the decoder: the encoder has its batch norms.
    dropout
        Probability in the three innermost doublings, 0 to 1.
    head
        "tanh" for values in [-1, 1], "logits" for classes.
    confidence
        Whether log scales of the error follow the bands of the output; see `ScaleHead`.

    Raises
    ------
    ModelError
        An unknown backbone, norm or head; ngf below 1; torchvision is missing, or broken.

    References
    ----------
    K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016,
    https://arxiv.org/abs/1512.03385; the decoder: https://arxiv.org/abs/1611.07004.
    """

    margin_work = 0.6  # multiply-adds of the encoder; .46 for resnet18, .63 resnet34, .71 resnet152

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        backbone: str = "resnet34",
        ngf: int = 64,
        norm: str = "batch",
        dropout: float = 0.0,
        head: str = "tanh",
        confidence: bool = False,
    ) -> None:
        at_least(1, ngf=ngf)
        choose("norm", norm, NORMS)
        super().__init__(
            stride=32,
            halo=choose("backbone", backbone, BACKBONES),
            norm=norm,
            arguments=arguments_of(EncoderUNet, locals()),
        )
        self.encoder = Encoder(backbone, in_channels)
        *skips, width = self.encoder.widths
        self.decoder = nn.ModuleList()
        for i in reversed(range(len(skips))):
            up = nn.ConvTranspose2d(width, ngf * 2**i, 4, 2, 1, bias=norm == "none")
            drop = nn.Dropout(dropout if i else 0.0)
            self.decoder.append(
                nn.Sequential(up, NORMS[norm](ngf * 2**i), nn.ReLU(inplace=True), drop)
            )
            width = ngf * 2**i + skips[i]
        self.last = LastLayer(nn.ConvTranspose2d(width, out_channels, 4, 2, 1), head)
        if confidence:
            up = nn.ConvTranspose2d(ngf, out_channels, 4, 2, 1)
            self.add_scale_head(ScaleHead(width, in_channels, ngf, up))

    def forward(self, image: Tensor) -> Tensor:
        """Translate an image.

        Parameters
        ----------
        image
            (batch, in_channels, rows, cols) in [-1, 1]; sides are multiples of 32.

        Returns
        -------
        Tensor
            (batch, out_channels, rows, cols): in [-1, 1], or logits; with confidence twice as many
            channels.

        Raises
        ------
        ModelError
            Sides that are no multiples of 32, or a wrong number of channels.
        """
        return self.translate(image, 0)

    def translate(self, image: Tensor, margin: int) -> Tensor:
        """Translate an image but for a margin of whole strides, which the decoder is spared.

        But for one pixel at each size, from which a doubling makes two, the outer one of them
        wrong.
        """
        self.check(image, smallest=self.stride)
        spare = 1 if margin else 0  # px at every size that the decoder still sees
        found = enumerate(self.encoder(image), start=1)
        *skips, x = [cut(features, margin // 2**number - spare) for number, features in found]
        for up in self.decoder:  # from (B, 512, H/32, W/32) for resnet18
            # (B, ngf * 2**i + skip, H / 2**(i+1), ...)
            x = torch.cat((cut(up(x), spare), skips.pop()), dim=1)
        return cut(self.finish(x, image), 2 * spare)  # (B, ngf + 64, H/2, W/2) -> (B, out, H, W)


def load_backbone(encoder: Encoder, path: str | Path) -> None:
    """Give an encoder weights that torchvision's network of its name has learned.

    The first convolution was learned on red, green and blue. For n bands its kernels are repeated,
    red, green, blue, red ..., and multiplied by 3 / n, so that bands of one value give what they
    gave; for one band they are summed. Likewise each band's [-1, 1] is taken for the 0 to 1 of a
    picture and brought to the mean and deviation of the pictures it was learned on.

    Parameters
    ----------
    encoder
        Of an `EncoderUNet`.
    path
        A state dict: safetensors, or what ``torch.save`` wrote. No code in it is run.

    Raises
    ------
    ModelError
        The file cannot be read, or is not of this backbone.
    """
    state = {name: value for name, value in _read(Path(path)).items() if name[:3] != "fc."}
    bands = encoder.conv1.in_channels
    first = state.get("conv1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == len(MEAN) != bands:
        repeated = first[:, [band % len(MEAN) for band in range(bands)]]
        summed = first.sum(1, keepdim=True)
        state["conv1.weight"] = summed if bands == 1 else repeated * (len(MEAN) / bands)
    own = encoder.state_dict()
    for name in sorted((own.keys() | state.keys()) - {"scale", "offset"}):
        shapes = [tuple(each[name].shape) if name in each else None for each in (own, state)]
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"{path}: weights of another network than the backbone ({name} is {shapes[1]}, "
                f"{shapes[0]} expected): give those of the network named by backbone"
            )
    encoder.load_state_dict(state, strict=False)
    for band in range(bands):
        colour = [band % len(MEAN)] if bands > 1 else list(range(len(MEAN)))
        mean, deviation = (sum(of[i] for i in colour) / len(colour) for of in (MEAN, DEVIATION))
        encoder.scale[band], encoder.offset[band] = 0.5 / deviation, (0.5 - mean) / deviation


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch has a word of its own for every way a file can be no state dict.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: weights that cannot be read ({reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: no state dict, which is tensors by name")
    return dict(state)


def _from_torchvision(backbone: str) -> Any:
    """Make a network of torchvision with batch norms of ours."""
    choose("backbone", backbone, BACKBONES)
    try:
        from torchvision.models import get_model
    # A build for another torch fails while it registers its operators, in one of these ways.
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"backbone {backbone!r} needs torchvision, which cannot be loaded here ({reason}): "
            "install the one that belongs to your torch, or take generator 'unet' or 'resnet'"
        ) from error
    return get_model(backbone, weights=None, norm_layer=BatchNorm)
