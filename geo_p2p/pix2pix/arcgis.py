"""Arguments of arcgis.learn's Pix2Pix: what they mean here, and which mean nothing.

A notebook written for it runs with its import line changed; what it asks for and cannot have is
refused by name, with what to do instead.
"""

from collections.abc import Mapping
from typing import Any

from geo_p2p.errors import ModelError
from geo_p2p.networks import BACKBONES, GENERATORS

__all__ = ["construction", "fitting", "saving"]


def construction(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the arguments of the constructor.

    Parameters
    ----------
    settings : ``backbone`` is one of torchvision's networks, under arcgis.learn's name for it, or a
        kind of generator, None the recipe's; of ``perceptual_loss`` only False can be had. All
        others are returned as they are.

    Raises
    ------
    ModelError
        For a perceptual loss, or a backbone there is not.
    """
    ours = {name: value for name, value in settings.items() if name not in _CONSTRUCTION}
    if settings.get("perceptual_loss"):
        raise ModelError(
            "perceptual_loss: that of arcgis.learn has no gradient, so it did nothing; leave it out"
        )
    backbone = settings.get("backbone")
    if backbone is None:
        return ours
    if backbone in BACKBONES:
        return {**ours, "backbone": backbone}
    if backbone not in GENERATORS:
        known = ", ".join([*GENERATORS, *BACKBONES])
        raise ModelError(f"backbone {backbone!r}: choose one of {known}")
    return {**ours, "generator": backbone}


_CONSTRUCTION = ("backbone", "perceptual_loss")


def fitting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the argument of `fit` that is one of the constructor's here.

    Raises
    ------
    ModelError
        For mixed precision: saying how to have it.
    """
    ours = dict(settings)
    if ours.pop("mixed_precision", False):
        raise ModelError(
            "mixed_precision: give Pix2Pix(data, precision='bf16'); 'auto' takes it on its own"
        )
    return ours


def saving(settings: Mapping[str, Any]) -> None:
    """Refuse what `save` cannot do: to publish, to write for another framework.

    Raises
    ------
    ModelError
        Saying which.
    """
    unknown = settings.keys() - {"framework", "publish", "gis", "save_inference_file"}
    if unknown:
        raise ModelError(f"save knows no setting called {', '.join(sorted(unknown))}")
    if settings.get("publish"):
        raise ModelError("publish: nothing is sent anywhere; upload the model's .dlpk yourself")
    if settings.get("framework", "PyTorch") != "PyTorch":
        raise ModelError(f"framework {settings['framework']!r}: only PyTorch can be had")
