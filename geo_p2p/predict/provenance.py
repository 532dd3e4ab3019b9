"""What a mosaic tells of the model that made it."""

import json
from typing import Any

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.version import versions

__all__ = ["provenance"]


def provenance(card: ModelCard) -> dict[str, str]:
    """Metadata items of a model's output: its name, what its card says, and the versions.

    No time and no place: equal runs give equal bytes.
    """
    name = {"GEO_P2P_MODEL_NAME": card.name} if card.name else {}
    told = {
        "network": card.network,
        "size": card.size,
        "stride": card.stride,
        "halo": card.halo,
        "tile_safe": card.tile_safe,
        "bands": list(card.bands),
        "pixel_size": card.pixel_size,
        "crs": card.crs,
        "input": _summary(card.input),
        "target": _summary(card.target),
        # As the .emd has them: null for a score that is no number.
        "metrics": card.to_emd("", "")["geo_p2p"]["metrics"],
    }
    return {
        **name,
        "GEO_P2P_CARD": json.dumps(told),
        "GEO_P2P_VERSIONS": json.dumps(versions()),
    }


def _summary(scaling: Scaling) -> dict[str, Any]:
    """What one side of the model holds."""
    return {
        "bands": scaling.count,
        "dtype": scaling.dtype,
        "names": list(scaling.names),
        "units": list(scaling.units),
        "classes": {c.value: c.name for c in scaling.classes},
    }
