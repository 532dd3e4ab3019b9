"""The learner a user holds: pix2pix on a `DataBunch`."""

from geo_p2p.data import DataBunch
from geo_p2p.pix2pix.estimate import estimate_batch_size
from geo_p2p.pix2pix.model import Pix2Pix

__all__ = ["DataBunch", "Pix2Pix", "estimate_batch_size"]
