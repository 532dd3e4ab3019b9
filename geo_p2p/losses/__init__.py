"""What the two networks are asked to make small: pure functions that know about holes.

Pixels that are not valid (nodata, outside the footprint, under a mask) say nothing. The pixel
losses leave them out of their mean. The discriminator cannot leave pixels out, so that condition,
target and translation get the same constant there: were the holes to differ, it would tell real
from translated by them and win against a perfect generator.

Means are taken in float32 whatever the precision of the images.
"""

from geo_p2p.losses.adversarial import (
    GAN_LOSSES,
    DiscriminatorLoss,
    discriminator_loss,
    feature_loss,
    gan_loss,
    generator_loss,
)
from geo_p2p.losses.pixels import (
    cross_entropy,
    fill,
    gradient_loss,
    l1_loss,
    l2_loss,
    laplace_loss,
    ssim_loss,
)

__all__ = [
    "GAN_LOSSES",
    "DiscriminatorLoss",
    "cross_entropy",
    "discriminator_loss",
    "feature_loss",
    "fill",
    "gan_loss",
    "generator_loss",
    "gradient_loss",
    "l1_loss",
    "l2_loss",
    "laplace_loss",
    "ssim_loss",
]
