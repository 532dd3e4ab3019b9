"""The scale head learns how far off the translation is, and the translation does not notice."""

from fastai.callback.core import Callback
from torch import Tensor

from geo_p2p.losses import laplace_loss

__all__ = ["ScaleLearner"]


class ScaleLearner(Callback):  # type: ignore[misc]
    """Takes the log scales off what the generator gives, and adds their own loss to be descended.

    Everyone else sees a generator without them. Their loss has no weight to choose: Adam takes the
    same steps whatever the size of a gradient, and no other weight gets any of it.
    """

    order = 0  # after the number format is closed, before the adversary looks

    def after_pred(self) -> None:
        """Take them off."""
        bands = self.pred.shape[1] // 2
        self._log_scale: Tensor = self.pred[:, bands:]
        # As it would lie in memory without them, so that sums over it are the same to the bit.
        self.learn.pred = self.pred[:, :bands].contiguous()

    def before_backward(self) -> None:
        """Add their loss, once all that is told of the others is told."""
        loss = laplace_loss(self._log_scale, self.pred, *self.yb)
        self.adversary.parts["confidence_loss"] = loss.detach()
        self.learn.loss_grad = self.learn.loss_grad + loss
