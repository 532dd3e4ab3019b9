"""The adversary: a discriminator that learns beside the generator, as a part of its loss."""

from collections.abc import Sequence

import torch
from fastai.callback.core import Callback
from torch import Tensor, nn

from geo_p2p.card import TrainConfig
from geo_p2p.losses import (
    discriminator_loss,
    feature_loss,
    fill,
    generator_loss,
    gradient_loss,
    ssim_loss,
)
from geo_p2p.networks import MultiScale
from geo_p2p.pix2pix.optimiser import adam
from geo_p2p.pix2pix.shown import Shown, varied

__all__ = ["Adversary", "judge_pairs"]

Verdict = Sequence[Sequence[Tensor]]
"""For each scale of a discriminator, what its layers make of a pair; the scores last."""


class Adversary(Callback):  # type: ignore[misc]
    """Owns the discriminator and its optimiser: the part of the loss that learns.

    Each training batch, after the generator's forward pass, the discriminator takes one step on
    (x, y) against (x, G(x)); then its opinion of G(x) joins the generator's loss, with its own
    weights frozen. It always sees (input, image), in that order, with invalid pixels of input,
    target and translation filled alike; for classes, also pixels whose class is not known. Real
    and translated pairs go through it in one pass, unless it has batch norms: these would mix the
    statistics of the two.

    Parameters
    ----------
    discriminator : called with (condition, image); a `MultiScale`, also with what is known.
    config : losses, weights and optimiser settings.
    logits : whether the generator gives class scores, which are shown to it as probabilities.

    Attributes
    ----------
    parts : parts of the loss of the last step, by name.
    judged : scores of the last step on real and on translated pairs, one tensor a scale each.
    """

    order = 10
    run_valid = False

    def __init__(self, discriminator: nn.Module, config: TrainConfig, logits: bool) -> None:
        self.discriminator = self.judge = discriminator
        self.config = config
        self.logits = logits
        self.haste = 1.0 if config.lr_d is None else config.lr_d / config.lr
        self.optimiser = adam(
            discriminator.parameters(),
            lr=self.haste * config.lr,
            betas=(config.beta1, config.beta2),
        )
        layers = discriminator.modules()
        self.one_pass = not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
        self.parts: dict[str, Tensor] = {}
        self.judged: tuple[list[Tensor], list[Tensor]] = [], []

    def before_fit(self) -> None:
        """Go where the batches are."""
        self.discriminator.to(self.dls.device).train()

    def after_pred(self) -> None:
        """Take the discriminator's step; the generator is not touched."""
        self.parts = {}
        if not self.config.gan_weight:
            return
        self._shown = self._to_show()
        for group in self.optimiser.param_groups:
            group["lr"] = self.haste * self.opt.hypers[-1]["lr"]
        with self.learn.arithmetic():
            real, fake = self._compared(self._shown)
        loss = discriminator_loss(_scores(real), _scores(fake), self.config.gan)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        self.optimiser.step()
        self.judged = _detached(_scores(real)), _detached(_scores(fake))
        self.parts = {
            "total_disc_loss": loss.total.detach(),
            "real_d_loss": loss.real.detach(),
            "fake_d_loss": loss.fake.detach(),
        }

    def after_loss(self) -> None:
        """Make up the generator's loss: of pixels, of the discriminator's opinion, of structure."""
        self.parts["l1_loss"] = self.learn.loss.detach()
        weight = self.config.class_weight if self.logits else self.config.pixel_weight
        self.learn.loss_grad = weight * self.learn.loss_grad
        if self.config.gan_weight:
            self._add_opinion()
        if not self.logits:
            self._add_structure()
        self.parts["total_gen_loss"] = self.learn.loss_grad.detach()

    def _add_opinion(self) -> None:
        """Ask the discriminator, as it is now; its own weights get no gradient."""
        self.discriminator.requires_grad_(False)
        shown, features = self._shown, self.config.feature_weight
        with self.learn.arithmetic():
            verdict = judge_pairs(self.discriminator, shown.condition, shown.fake, shown.known)
            if features:
                with torch.no_grad():
                    goal = judge_pairs(self.discriminator, shown.condition, shown.real, shown.known)
        self.discriminator.requires_grad_(True)
        opinion = generator_loss(_scores(verdict), self.config.gan)
        self._add("fake_d_real_class_loss", self.config.gan_weight, opinion)
        if features:
            self._add("feature_loss", features, feature_loss(verdict, goal))
        del self._shown

    def _to_show(self) -> Shown:
        """Real and translated pairs of this batch, filled and varied."""
        y, valid = self.yb
        known = valid & (y.sum(1, keepdim=True) > 0) if self.logits else valid
        image = self.pred.float().softmax(1) if self.logits else self.pred
        shown = Shown(fill(self.xb[0], valid), fill(y, known), fill(image, known), known)
        return varied(shown, self.config.d_augment)

    def _compared(self, shown: Shown) -> tuple[Verdict, Verdict]:
        """Judge real and translated pairs; of the latter nothing reaches the generator."""
        x, y, image, known = shown
        image = image.detach()
        if not self.one_pass:
            return judge_pairs(self.judge, x, y, known), judge_pairs(self.judge, x, image, known)
        pairs = (torch.cat((x, x)), torch.cat((y, image)), torch.cat((known, known)))
        both = [[layer.chunk(2) for layer in scale] for scale in judge_pairs(self.judge, *pairs)]
        real, fake = ([[layer[i] for layer in scale] for scale in both] for i in (0, 1))
        return real, fake

    def _add_structure(self) -> None:
        """Ask for the target's edges and structure, where that has a weight."""
        if self.config.gradient_weight:
            loss = gradient_loss(self.pred, *self.yb)
            self._add("gradient_loss", self.config.gradient_weight, loss)
        if self.config.ssim_weight:
            self._add("ssim_loss", self.config.ssim_weight, ssim_loss(self.pred, *self.yb))

    def _add(self, name: str, weight: float, loss: Tensor) -> None:
        self.parts[name] = loss.detach()
        self.learn.loss_grad = self.learn.loss_grad + weight * loss


def judge_pairs(judge: nn.Module, condition: Tensor, image: Tensor, known: Tensor) -> Verdict:
    """Ask a discriminator, of whatever kind it is, about pairs that are filled where not known."""
    if isinstance(getattr(judge, "module", judge), MultiScale):  # several processes wrap it
        found: Verdict = judge(condition, image, known)
        return found
    return [[judge(condition, image)]]


def _scores(verdict: Verdict) -> list[Tensor]:
    return [scale[-1] for scale in verdict]


def _detached(scores: Sequence[Tensor]) -> list[Tensor]:
    return [each.detach() for each in scores]
