"""From chips to batches: `prepare_data` builds the `DataBunch` a learner takes.

Chips are decoded once and kept in their own type; scaling and augmentation happen on the way to
a batch. The loaders are fastai's, without worker processes.
"""

from geo_p2p.data.bunch import DataBunch, Origin
from geo_p2p.data.prepare import prepare_data
from geo_p2p.data.samples import Augmentation, ChipSet

__all__ = ["Augmentation", "ChipSet", "DataBunch", "Origin", "prepare_data"]
