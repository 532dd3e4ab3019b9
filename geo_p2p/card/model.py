"""All that weights need to be used again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from geo_p2p.card.confidence import Confidence
from geo_p2p.card.scaling import Scaling
from geo_p2p.card.seen import InputRange
from geo_p2p.errors import ModelError

__all__ = ["ModelCard"]

FORMAT = 1
"""Version of the card's own part of the .emd."""


@dataclass(frozen=True)
class ModelCard:
    """What a trained generator is and how it wants to be used.

    Parameters
    ----------
    input, target : scaling of the two rasters.
    bands : band numbers of the input raster it was trained on, from 1; empty for all of them.
    size : side of the training chips, px.
    network, arguments : name in the generator registry and what rebuilds it.
    stride, halo : the generator's total stride and the context it needs, px.
    tile_safe : whether tiles with that halo equal the whole image.
    test_dropout : whether dropout stays on at prediction, seeded by place.
    pixel_size : of the input raster in training, CRS units (x, y), and the CRS it is in.
    crs : name of that CRS.
    metrics : scores on the validation part, by name.
    provenance : how it came about: settings, versions, split, seed.
    name : under which it was saved; "" before. It tells no two cards apart.
    confidence : how far off its translations may be; None if that was not measured.
    seen : what the input was like in training; None for models that do not tell.

    Raises
    ------
    ModelError
        For a size or stride below one pixel, or a negative halo.
    """

    input: Scaling
    target: Scaling
    size: int
    network: str
    arguments: Mapping[str, Any]
    stride: int
    halo: int
    tile_safe: bool
    bands: tuple[int, ...] = ()
    test_dropout: bool = False
    pixel_size: tuple[float, float] | None = None
    crs: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = field(default="", compare=False)
    confidence: Confidence | None = None
    seen: InputRange | None = None

    def __post_init__(self) -> None:
        """Refuse a network that cannot be."""
        if self.size < 1 or self.stride < 1 or self.halo < 0:
            raise ModelError(
                f"chips of {self.size} px, a stride of {self.stride} px and a halo of {self.halo} "
                "px: give at least 1, 1 and 0"
            )

    def to_emd(self, name: str, weights: str) -> dict[str, Any]:
        """Return the .emd of a model: Esri's keys where they mean the same, ours under "geo_p2p".

        A score that is NaN or infinite becomes null, because JSON has no number for it.

        Parameters
        ----------
        name : of the model.
        weights : file name of its weights, beside the .emd.
        """
        return {
            "ModelName": name,
            "Framework": "geo_p2p",
            "ModelType": "Pix2Pix",
            "ModelFile": weights,
            "ModelFormat": "NCHW",
            "ImageHeight": self.size,
            "ImageWidth": self.size,
            "ExtractBands": [b - 1 for b in self.bands] or list(range(self.input.count)),
            "n_channel": self.target.channels,
            "geo_p2p": {
                "format": FORMAT,
                "input": self.input.to_json(),
                "target": self.target.to_json(),
                "bands": list(self.bands),
                "network": self.network,
                "arguments": dict(self.arguments),
                "stride": self.stride,
                "halo": self.halo,
                "tile_safe": self.tile_safe,
                "test_dropout": self.test_dropout,
                "pixel_size": self.pixel_size,
                "crs": self.crs,
                "metrics": _finite(self.metrics),
                "provenance": _finite(self.provenance),
                # Only where there is one: other cards stay what they were, to the byte.
                **{name: part.to_json() for name, part in self._extras() if part is not None},
            },
        }

    def _extras(self) -> list[tuple[str, Confidence | InputRange | None]]:
        return [("confidence", self.confidence), ("seen", self.seen)]

    @classmethod
    def from_emd(cls, emd: Mapping[str, Any]) -> Self:
        """Read a card from the data of an .emd.

        Raises
        ------
        ModelError
            If it is the .emd of a chip folder or of another framework, or of a newer format.
        """
        if not isinstance(emd, Mapping):
            raise ModelError("the model's .emd is damaged: it is no JSON object")
        if "MetaDataMode" in emd:
            raise ModelError("this .emd describes exported chips, not a model")
        if emd.get("Framework") != "geo_p2p":
            raise ModelError(
                f"this .emd is of framework {emd.get('Framework')!r}, not 'geo_p2p': "
                "its weights cannot be used here; train on the same chips instead"
            )
        try:
            own = dict(emd["geo_p2p"])
            if own.pop("format") != FORMAT:
                raise ModelError("the model was written by another version of geo_p2p; update it")
            size = own.pop("pixel_size")
            sure, seen = own.pop("confidence", None), own.pop("seen", None)
            return cls(
                name=str(emd.get("ModelName", "")),
                size=emd["ImageHeight"],
                input=Scaling.from_json(own.pop("input")),
                target=Scaling.from_json(own.pop("target")),
                bands=tuple(own.pop("bands")),
                pixel_size=None if size is None else (size[0], size[1]),
                confidence=sure and Confidence.from_json(sure),
                seen=seen and InputRange.from_json(seen),
                **own,
            )
        except KeyError as error:
            raise ModelError(f"the model's .emd is damaged: {error} is missing") from error
        except (TypeError, ValueError, IndexError) as error:
            raise ModelError(f"the model's .emd is damaged ({error})") from error


def _finite(value: Any) -> Any:
    """Copy plain data with None for every number that JSON cannot write."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
