"""The residual generator: quarter the image, refine it, bring it back."""

from torch import Tensor, nn

from .layers import NORMS, Generator, LastLayer, arguments_of, at_least, choose, cut
from .scale_head import ScaleHead

__all__ = ["ResNet"]

LOOK = 3
"""How far the last layer looks, px."""

SPARE = 2
"""How far the two doublings and the last layer look together, px at quarter size."""


class ResNet(Generator):
    """Two halvings, a chain of residual blocks at a quarter of the size, two doublings.

    All the context comes from the blocks, so that the halo grows with them, 8 px each, and the
    stride stays 4. Convolutions mirror the image at its border where the published network does,
    at full and at quarter size; at the edge of a tile this stays within the halo.

    Parameters
    ----------
    in_channels
        Bands of the input image.
    out_channels
        Bands of the target, or its classes.
    blocks
        Residual blocks, 0 or more; 6 for chips of 128 px, 9 for 256 px in the paper.
    ngf
        Channels at full size; two and four times as many at half and quarter size.
    norm
        "batch", "instance" (statistics of each image: not tile-safe), "tracked-instance" (those
        in training, their means in eval mode), "layer" (over the channels of each pixel) or
        "none".
    dropout
        Probability within each residual block, 0 to 1.
    head
        "tanh" for values in [-1, 1], "logits" for classes.
    confidence
        Whether log scales of the error follow the bands of the output; see `ScaleHead`.

    Raises
    ------
    ModelError
        An unknown norm or head; blocks below 0, ngf below 1.

    References
    ----------
    J. Johnson et al., Perceptual Losses for Real-Time Style Transfer, ECCV 2016,
    https://arxiv.org/abs/1603.08155; as in J.-Y. Zhu et al., ICCV 2017,
    https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix.
    """

    margin_work = 0.5  # most of the work is the blocks', which are spared half of it on average

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: int = 6,
        ngf: int = 64,
        norm: str = "batch",
        dropout: float = 0.0,
        head: str = "tanh",
        confidence: bool = False,
    ) -> None:
        at_least(0, blocks=blocks)
        at_least(1, ngf=ngf)
        choose("norm", norm, NORMS)
        super().__init__(
            stride=4,
            # 8 px for the two 3x3 of a block at quarter size, 11 px for all the rest.
            halo=8 * blocks + 12,
            norm=norm,
            arguments=arguments_of(ResNet, locals()),
        )
        bias = norm == "none"
        self.down = nn.Sequential(
            _mirrored(in_channels, ngf, 7, bias),
            NORMS[norm](ngf),
            nn.ReLU(inplace=True),
            nn.Conv2d(ngf, 2 * ngf, 3, 2, 1, bias=bias),
            NORMS[norm](2 * ngf),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * ngf, 4 * ngf, 3, 2, 1, bias=bias),
            NORMS[norm](4 * ngf),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(Block(4 * ngf, norm, dropout) for _ in range(blocks)))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(4 * ngf, 2 * ngf, 3, 2, 1, output_padding=1, bias=bias),
            NORMS[norm](2 * ngf),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * ngf, ngf, 3, 2, 1, output_padding=1, bias=bias),
            NORMS[norm](ngf),
            nn.ReLU(inplace=True),
        )
        self.last = LastLayer(_mirrored(ngf, out_channels, 7, bias=True), head)
        if confidence:
            same = _mirrored(ngf, out_channels, 3, bias=True)
            self.add_scale_head(ScaleHead(ngf, in_channels, ngf, same))

    def forward(self, image: Tensor) -> Tensor:
        """Translate an image.

        Parameters
        ----------
        image
            (batch, in_channels, rows, cols) in [-1, 1]; sides are multiples of 4, at least 8.

        Returns
        -------
        Tensor
            (batch, out_channels, rows, cols): in [-1, 1], or logits; with confidence twice as many
            channels.

        Raises
        ------
        ModelError
            Sides that are no multiples of 4 or below 8, or a wrong number of channels.
        """
        return self.translate(image, 0)

    def translate(self, image: Tensor, margin: int) -> Tensor:
        """Translate an image but for a margin of whole strides.

        A block looks 2 px further at quarter size, so that each is spared what only the blocks
        before it needed.
        """
        self.check(image, smallest=8)  # at quarter size a mirror needs two pixels
        x = self.down(image)  # (B, in, H, W) -> (B, 4 ngf, H/4, W/4)
        left = margin // 4  # px of it that are still there
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)  # (B, 4 ngf, H/4, W/4)
            needed = min(left, 2 * (len(self.blocks) - number) + SPARE)
            x, left = cut(x, left - needed), needed
        x = self.up(x)  # (B, ngf, H, W)
        kept = min(4 * left, LOOK)
        x = cut(x, 4 * left - kept)
        return cut(self.finish(x, image), kept)  # (B, out, H, W)


class Block(nn.Module):
    """Two 3x3 convolutions whose result is added to what came in.

    Parameters
    ----------
    channels
        Channels in and out.
    norm
        A name in `NORMS`.
    dropout
        Probability between the two convolutions.
    """

    def __init__(self, channels: int, norm: str, dropout: float) -> None:
        super().__init__()
        bias = norm == "none"
        self.body = nn.Sequential(
            _mirrored(channels, channels, 3, bias),
            NORMS[norm](channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _mirrored(channels, channels, 3, bias),
            NORMS[norm](channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine (batch, channels, rows, cols)."""
        out: Tensor = x + self.body(x)
        return out


def _mirrored(in_channels: int, out_channels: int, size: int, bias: bool) -> nn.Conv2d:
    """Convolve size x size, keeping the sides, with the image mirrored at its border."""
    return nn.Conv2d(
        in_channels, out_channels, size, padding=size // 2, padding_mode="reflect", bias=bias
    )
