"""The only home of training defaults: the command line and the learner read them from here."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Self

from geo_p2p.errors import ModelError

__all__ = ["PRECISIONS", "RECIPES", "TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the values here are those of the recipe "seamless".

    Parameters
    ----------
    recipe : name in `RECIPES`.
    target : "values" for continuous targets, "classes" for class rasters, "auto" to go by the
        target's palette.
    epochs : passes over the training chips.
    batch_size : chips a step.
    lr, beta1, beta2 : Adam's step size and decay rates, both networks.
    lr_d : the discriminator's step size, which follows the same schedule; None for that of both.
    flat : share of the epochs at full step size; it falls linearly to zero over the rest.
    decay : whether it falls with every "step", or with every "epoch", as published.
    generator, halvings, ngf, norm, dropout : generator's name in the registry and its arguments.
    detail : channels at full size of the generator "unet"; the paper has none.
    blocks : of the generator "resnet".
    backbone : of the generator "encoder": a network of torchvision, under arcgis.learn's name.
    backbone_weights : file of its weights; None for random ones.
    freeze : whether such weights stay as they are, and the decoder alone is trained.
    test_dropout : whether dropout stays on at prediction, as published.
    layers, ndf : strided layers of the PatchGAN (3: receptive field 70 px) and its width.
    scales : PatchGANs, each on a pair half as large as the one before.
    d_norm : the discriminator's norm: "same" as the generator's, one of its own, or "spectral".
    d_augment : how pairs vary that the discriminator is shown: "none", "shift", "cutout", "both".
    pixel_loss, pixel_weight : "l1" or "l2" and its weight beside the adversary; for class targets
        the weight of the cross-entropy is `class_weight`.
    gradient_weight, ssim_weight : of what asks for the target's edges and for its structure, for
        targets that are values.
    feature_weight : of what asks for pairs that look real to the discriminator's inner layers.
    gan, gan_weight : adversarial loss, "bce", "lsgan" or "hinge", and its weight; 0 for plain
        regression, without an adversary.
    ema : share of its former value that a running mean of the generator's weights keeps at each
        step (0.999, say); the mean is what is validated, saved and used. 0 for none.
    confidence : whether to learn, beside the translation and without a part in it, how far off it
        may be, and to calibrate that on the validation chips; of classes, only to calibrate.
    augment : "dihedral" (8 flips and turns), "mirror" (left-right) or "none".
    jitter : px a chip is enlarged by before a random crop of its own size; 0 for none.
    seed : of weights, order and augmentation.
    precision : "fp32", "bf16", or "auto" (bf16 where the device has it and the target 8 bits).
    compile : whether both networks are compiled (`torch.compile`): minutes at the start, and then
        less time a step on a GPU.
    device : "auto", "cpu", "cuda", "cuda:1", "mps".

    Raises
    ------
    ModelError
        For a setting no training can have.
    """

    recipe: str = "seamless"
    target: str = "auto"
    epochs: int = 100
    batch_size: int = 2
    lr: float = 1e-3
    lr_d: float | None = None
    beta1: float = 0.5
    beta2: float = 0.999
    flat: float = 0.5
    decay: str = "step"
    generator: str = "unet"
    halvings: int = 5
    detail: int = 8
    blocks: int = 6
    backbone: str = "resnet34"
    backbone_weights: str | None = None
    freeze: bool = True
    ngf: int = 64
    norm: str = "batch"
    dropout: float = 0.0
    test_dropout: bool = False
    layers: int = 3
    ndf: int = 64
    scales: int = 1
    d_norm: str = "same"
    d_augment: str = "none"
    pixel_loss: str = "l1"
    pixel_weight: float = 100.0
    class_weight: float = 10.0
    gradient_weight: float = 0.0
    ssim_weight: float = 0.0
    feature_weight: float = 0.0
    gan: str = "lsgan"
    gan_weight: float = 0.3
    ema: float = 0.99
    confidence: bool = False
    augment: str = "dihedral"
    jitter: int = 0
    seed: int = 42
    precision: str = "auto"
    compile: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings no training can have."""
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not (least <= value <= most and math.isfinite(value)):
                extent = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise ModelError(f"{name} is {value}: give {extent}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ModelError(
                    f"{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}"
                )
        for name in ("lr", "lr_d"):
            size = getattr(self, name)
            if size is not None and not 0 < size < math.inf:
                raise ModelError(f"{name} is {size}: give a number above 0")
        self._require_partners()

    def _require_partners(self) -> None:
        """Refuse settings that mean nothing without another."""
        if self.feature_weight and not self.gan_weight:
            raise ModelError(
                "feature_weight needs an adversary whose features are compared: give gan_weight "
                "more than 0"
            )
        if self.backbone_weights is not None and self.generator != "encoder":
            raise ModelError(
                f"backbone_weights are for the generator 'encoder', not {self.generator!r}: "
                "name its backbone, or leave the weights out"
            )

        if self.confidence and (self.norm == "instance" or self.test_dropout):
            raise ModelError(
                "confidence needs tiles that agree exactly, and neither norm 'instance' nor "
                "test_dropout gives such: take the recipe 'seamless', or leave confidence out"
            )

    @classmethod
    def of(cls, recipe: str = "seamless", **changes: Any) -> Self:
        """Settings of a recipe with some changed; None leaves a setting to the recipe.

        A backbone without a generator means the generator "encoder", as it does in arcgis.learn.

        Raises
        ------
        ModelError
            For an unknown recipe or setting.

        Examples
        --------
        >>> TrainConfig.of("paper", epochs=10).halvings
        8
        """
        if recipe not in RECIPES:
            raise ModelError(f"recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
        given = {name: value for name, value in changes.items() if value is not None}
        unknown = given.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ModelError(f"no training setting is called {', '.join(sorted(unknown))}")
        if "backbone" in given:
            given.setdefault("generator", "encoder")
        return replace(cls(recipe=recipe), **{**RECIPES[recipe], **given})

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "seamless": MappingProxyType({}),
        # Isola et al. 2017, https://arxiv.org/abs/1611.07004, section 6. Batch norm with the
        # statistics of a batch of one, at training and at test, is instance norm with affine.
        "paper": MappingProxyType(
            {
                "epochs": 200,
                "batch_size": 1,
                "lr": 2e-4,
                "decay": "epoch",
                "halvings": 8,
                "detail": 0,
                "norm": "instance",
                "dropout": 0.5,
                "test_dropout": True,
                "gan": "bce",
                "gan_weight": 1.0,
                "ema": 0.0,
                "augment": "mirror",
                "jitter": 30,
            }
        ),
    }
)
"""Named sets of settings, as changes of the defaults of `TrainConfig`."""

NORMS = ("batch", "instance", "tracked-instance", "layer", "none")

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "recipe": tuple(RECIPES),
        "target": ("auto", "values", "classes"),
        "decay": ("step", "epoch"),
        "generator": ("unet", "resnet", "encoder"),
        "backbone": (
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            *("resnext50_32x4d", "wide_resnet50_2"),
        ),
        "norm": NORMS,
        "d_norm": ("same", *NORMS, "spectral"),
        "d_augment": ("none", "shift", "cutout", "both"),
        "pixel_loss": ("l1", "l2"),
        "gan": ("bce", "lsgan", "hinge"),
        "augment": ("dihedral", "mirror", "none"),
        "precision": ("auto", "fp32", "bf16"),
    }
)
"""What the settings that are names may be."""

PRECISIONS = (*CHOICES["precision"], "fp16")
"""Number formats to translate in; nothing is trained in fp16, where small gradients vanish."""

WEIGHTS = (
    *("pixel_weight", "class_weight", "gan_weight"),
    *("gradient_weight", "ssim_weight", "feature_weight"),
)

LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {name: (1, math.inf) for name in ("epochs", "batch_size", "halvings", "ngf", "ndf", "scales")}
    | {name: (0, math.inf) for name in ("blocks", "detail", "layers", "jitter", "seed", *WEIGHTS)}
    | {name: (0, 1) for name in ("beta1", "beta2", "flat", "dropout")}
    | {"ema": (0, 0.999999)}
)
"""Smallest and largest number a setting may be."""
