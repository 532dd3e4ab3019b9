"""The adversary: a discriminator that learns beside the generator, as a part of its loss."""

import torch
from fastai.callback.core import Callback
from torch import Tensor, nn

from geo_p2p.card import TrainConfig
from geo_p2p.losses import discriminator_loss, fill, gan_loss

__all__ = ["Adversary"]


class Adversary(Callback):  # type: ignore[misc]
    """Owns the discriminator and its optimiser: the part of the loss that learns.

    Each training batch, after the generator's forward pass, the discriminator takes one step on
    (x, y) against (x, G(x)); then its opinion of G(x) joins the generator's loss, with its own
    weights frozen. It always sees (input, image), in that order, with invalid pixels of input,
    target and translation filled alike; for classes, also pixels whose class is not known.

    Parameters
    ----------
    discriminator : called with (condition, image).
    config : loss, weights and optimiser settings.
    logits : whether the generator gives class scores, which are shown to it as probabilities.
    """

    order = 10
    run_valid = False

    def __init__(self, discriminator: nn.Module, config: TrainConfig, logits: bool) -> None:
        self.discriminator = self.judge = discriminator
        self.config = config
        self.logits = logits
        self.optimiser = torch.optim.Adam(
            discriminator.parameters(), lr=config.lr, betas=(config.beta1, config.beta2)
        )
        self.parts: dict[str, Tensor] = {}

    def before_fit(self) -> None:
        """Go where the batches are."""
        self.discriminator.to(self.dls.device).train()

    def after_pred(self) -> None:
        """Take the discriminator's step; the generator is not touched."""
        y, valid = self.yb
        known = valid & (y.sum(1, keepdim=True) > 0) if self.logits else valid
        x, image = fill(self.xb[0], valid), fill(self._image(self.pred), known)
        self._shown = x, image
        for group in self.optimiser.param_groups:
            group["lr"] = self.opt.hypers[-1]["lr"]
        with self.learn.arithmetic():
            real = self.judge(x, fill(y, known))
            fake = self.judge(x, image.detach())
        self.judged = real.detach(), fake.detach()
        loss = discriminator_loss(real, fake, self.config.gan)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        self.optimiser.step()
        self.parts = {
            "total_disc_loss": loss.total.detach(),
            "real_d_loss": loss.real.detach(),
            "fake_d_loss": loss.fake.detach(),
        }

    def after_loss(self) -> None:
        """Add the discriminator's opinion to the generator's loss."""
        self.discriminator.requires_grad_(False)
        with self.learn.arithmetic():
            opinion = gan_loss(self.discriminator(*self._shown), True, self.config.gan)
        self.discriminator.requires_grad_(True)
        weight = self.config.class_weight if self.logits else self.config.pixel_weight
        self.learn.loss_grad = opinion + weight * self.learn.loss_grad
        self.parts["fake_d_real_class_loss"] = opinion.detach()
        self.parts["l1_loss"] = self.learn.loss.detach()
        self.parts["total_gen_loss"] = self.learn.loss_grad.detach()
        del self._shown

    def _image(self, pred: Tensor) -> Tensor:
        return pred.float().softmax(1) if self.logits else pred
