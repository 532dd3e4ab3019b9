"""The pix2pix U-Net, for any number of halvings."""

import torch
from torch import Tensor, nn

from .layers import NORMS, Generator, LastLayer, arguments_of, at_least, choose, cut
from .scale_head import ScaleHead

__all__ = ["UNet"]


class UNet(Generator):
    """Encoder and decoder of 4x4 convolutions with a skip at every size.

    Each of the n halvings is a convolution (4x4, stride 2, padding 1), each doubling a transposed
    one; the decoder sees, beside its own features, those of the encoder at the same size. After
    halving i there are ``ngf * min(2**i, 8)`` channels.

    As published: no norm on the first convolution, and none on the innermost, where a chip of
    2**n px is down to one pixel and a norm would set it to zero; dropout on the three innermost
    doublings; a bias on the last layer and, with ``norm="none"``, everywhere.

    For n halvings the stride is 2**n and the halo two strides. The paper's generator is
    ``halvings=8, norm="batch", dropout=0.5`` left in train mode at test with batch size 1, which
    is ``norm="instance"``. Its stride is its chip, and a tile needs 512 px around it; 5 halvings
    need 64.

    With ``detail`` channels, what the published network lacks stands beside it: features at full
    size. The last doubling gives that many channels instead of the bands, a 3x3 convolution makes
    as many of the image itself, and the bands are made of both, pixel by pixel. So what a pixel
    holds reaches its translation without having been halved. Neither stride nor halo grows.

    Parameters
    ----------
    in_channels
        Bands of the input image.
    out_channels
        Bands of the target, or its classes.
    halvings
        How often the image is halved, 1 or more.
    ngf
        Channels after the first halving.
    norm
        "batch", "instance" (statistics of each image: not tile-safe), "tracked-instance" (those
        in training, their means in eval mode), "layer" (over the channels of each pixel) or
        "none".
    dropout
        Probability in the three innermost doublings, 0 to 1; the paper has 0.5.
    detail
        Channels at full size, 0 or more; the paper has none.
    head
        "tanh" for values in [-1, 1], "logits" for classes.
    confidence
        Whether log scales of the error follow the bands of the output; see `ScaleHead`.

    Raises
    ------
    ModelError
        An unknown norm or head; halvings or ngf below 1, detail below 0.

    References
    ----------
    P. Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017,
    https://arxiv.org/abs/1611.07004; dropout sites and innermost norm as in the authors' code,
    https://github.com/phillipi/pix2pix.
    """

    margin_work = 0.35  # multiply-adds of the encoder; with 5 halvings, 64 wide, 29 of 84 thousand

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        halvings: int = 5,
        ngf: int = 64,
        norm: str = "batch",
        dropout: float = 0.0,
        detail: int = 0,
        head: str = "tanh",
        confidence: bool = False,
    ) -> None:
        at_least(1, halvings=halvings, ngf=ngf)
        at_least(0, detail=detail)
        choose("norm", norm, NORMS)
        super().__init__(
            stride=2**halvings,
            # An edge reaches 2**(n + 1) - 1 px: 2**n down and up again, and the taps beside.
            halo=2 * 2**halvings,
            norm=norm,
            arguments=arguments_of(UNet, locals()),
        )
        widths = [ngf * min(2**i, 8) for i in range(halvings)]  # channels after halving i
        self.encoder = _encoder(in_channels, widths, norm)
        self.decoder = _decoder(widths, norm, dropout)
        self.rectify = nn.ReLU(inplace=True)
        outermost = widths[0] * (2 if halvings > 1 else 1)
        if detail:
            self.stem = nn.Conv2d(in_channels, detail, 3, padding=1)
            self.rise = nn.ConvTranspose2d(outermost, detail, 4, 2, 1)
            last: nn.Conv2d | nn.ConvTranspose2d = nn.Conv2d(2 * detail, out_channels, 1)
        else:
            last = nn.ConvTranspose2d(outermost, out_channels, 4, 2, 1)
        self.detail = detail
        self.last = LastLayer(last, head)
        if confidence:
            self.add_scale_head(self._scale_head(ngf, outermost))

    def _scale_head(self, ngf: int, outermost: int) -> ScaleHead:
        """Make the head that tells the error's scale, of the same features as the last layer."""
        bands, out, detail = (self.arguments[n] for n in ("in_channels", "out_channels", "detail"))
        if detail:
            return ScaleHead(2 * detail, bands, detail, nn.Conv2d(detail, out, 1))
        return ScaleHead(outermost, bands, ngf, nn.ConvTranspose2d(ngf, out, 4, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Translate an image.

        Parameters
        ----------
        image
            (batch, in_channels, rows, cols) in [-1, 1]; sides are multiples of the stride.

        Returns
        -------
        Tensor
            (batch, out_channels, rows, cols): in [-1, 1], or logits; with confidence twice as many
            channels.

        Raises
        ------
        ModelError
            Sides that are no multiples of the stride, or a wrong number of channels.
        """
        return self.translate(image, 0)

    def translate(self, image: Tensor, margin: int) -> Tensor:
        """Translate an image but for a margin of whole strides.

        The encoder needs the margin, for the innermost features look so far. The decoder, two
        thirds of the work, is spared it but for one pixel at each size, from which a doubling
        makes two, the outer one of them wrong.
        """
        self.check(image, smallest=self.stride)
        spare = 1 if margin else 0  # px at every size that the decoder still sees
        x = image  # (B, in, H, W)
        skips = []
        for number, down in enumerate(self.encoder, start=1):
            x = down(x)  # halving i: (B, ngf * min(2**i, 8), H / 2**(i+1), W / 2**(i+1))
            skips.append(cut(x, margin // 2**number - spare))
        x = skips.pop()  # (B, 8 ngf, H / 2**n, W / 2**n) for 4 halvings and more
        for up in self.decoder:
            # (B, 2 ngf min(2**i, 8), H / 2**(i+1), ...)
            x = torch.cat((cut(up(x), spare), skips.pop()), dim=1)
        x = self.rectify(x)  # (B, 2 ngf, H/2, W/2)
        if not self.detail:
            return cut(self.finish(x, image), 2 * spare)  # (B, out, H, W)
        stem = cut(self.stem(cut(image, margin - spare)), spare)
        beside = torch.cat((cut(self.rise(x), 2 * spare), stem), dim=1)  # (B, 2 detail, H, W)
        return self.finish(self.rectify(beside), image)

    @torch.no_grad()
    def forget_untrained(self, side: int) -> None:
        """Set to zero the weights that images of a size never reach.

        Where the image is as small as the stride, the innermost convolution sees 2 x 2 px, and
        the outer taps of its kernel, and of the one that undoes it, multiply nothing but padding:
        no gradient ever changed them. On larger tiles their first random values would count.

        Parameters
        ----------
        side
            Of the images it was trained on, pixels.
        """
        if side > self.stride or not self.decoder:
            return
        for layer in (self.encoder[-1], self.decoder[0]):
            for kernel in layer.modules():
                if isinstance(kernel, nn.Conv2d | nn.ConvTranspose2d):
                    inner = kernel.weight[..., 1:3, 1:3].clone()
                    kernel.weight.zero_()
                    kernel.weight[..., 1:3, 1:3] = inner


def _encoder(in_channels: int, widths: list[int], norm: str) -> nn.ModuleList:
    """Make a halving to each of the widths."""
    bias = norm == "none"
    layers = nn.ModuleList([nn.Conv2d(in_channels, widths[0], 4, 2, 1, bias=bias)])
    for i in range(1, len(widths)):
        innermost = i == len(widths) - 1
        layers.append(
            nn.Sequential(
                nn.LeakyReLU(0.2),  # not in place: the skip keeps what comes in
                nn.Conv2d(widths[i - 1], widths[i], 4, 2, 1, bias=bias),
                NORMS["none" if innermost else norm](widths[i]),
            )
        )
    return layers


def _decoder(widths: list[int], norm: str, dropout: float) -> nn.ModuleList:
    """Make the doublings back to the first of the widths, the innermost first."""
    layers, halvings = nn.ModuleList(), len(widths)
    for i in reversed(range(1, halvings)):
        beside = 1 if i == halvings - 1 else 2  # the innermost comes without a skip beside it
        up = nn.ConvTranspose2d(beside * widths[i], widths[i - 1], 4, 2, 1, bias=norm == "none")
        drop = nn.Dropout(dropout if halvings - i <= 3 else 0.0)
        layers.append(nn.Sequential(nn.ReLU(inplace=True), up, NORMS[norm](widths[i - 1]), drop))
    return layers
