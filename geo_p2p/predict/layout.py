"""What a mosaic is made of: all that is needed to finish it, without the model and the raster."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from geo_p2p.predict.plan import Job
from geo_p2p.raster import Bands, Frame

__all__ = ["Layout"]

Place = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """The mosaic of a plan, as the folder of its parts keeps it.

    Parameters
    ----------
    frame, bands : where its pixels are and what they hold.
    blocks : row and column of each block in the plan, and where it lies, px of the mosaic; in the
        order in which shards count them.
    tags : provenance, for its metadata.
    options : creation options of the Cloud Optimized GeoTIFF.
    tile_safe : whether the blocks are exact.
    shards : among how many processes the blocks were shared out; None where there was one.
    certainty : what the bands of a second mosaic hold, which tells how far off the first may be;
        None if there is none.
    certainty_tags : its further provenance.
    """

    frame: Frame
    bands: Bands
    blocks: Mapping[Place, Window]
    tags: Mapping[str, str]
    options: Mapping[str, str]
    tile_safe: bool
    shards: int | None = None
    certainty: Bands | None = None
    certainty_tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, shards: int | None = None) -> "Layout":
        """Lay out the mosaic of a job."""
        sure = job.certainty
        return cls(
            frame=job.source.frame.crop(job.window),
            bands=job.bands,
            blocks={(block.row, block.col): job.place(block) for block in job.blocks},
            tags=job.tags(),
            options=dict(job.config.options),
            tile_safe=job.model.card.tile_safe,
            shards=shards,
            certainty=sure.bands if sure else None,
            certainty_tags=sure.tags() if sure else {},
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON gives it back."""
        frame = self.frame
        plain = {
            "frame": [frame.height, frame.width, *frame.transform[:6], frame.crs.to_wkt()],
            "bands": _plain(self.bands),
            "blocks": [[*place, *map(int, at.flatten())] for place, at in self.blocks.items()],
            "tags": dict(self.tags),
            "options": dict(self.options),
            "tile_safe": self.tile_safe,
            "shards": self.shards,
            "certainty": self.certainty and _plain(self.certainty),
            "certainty_tags": dict(self.certainty_tags),
        }
        result: dict[str, Any] = json.loads(json.dumps(plain))
        return result

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Layout":
        """Read what `to_json` has returned."""
        height, width, *transform, crs = plain["frame"]
        sure = plain.get("certainty")
        return cls(
            frame=Frame(height, width, Affine(*transform), CRS.from_wkt(crs)),
            bands=_bands(plain["bands"]),
            blocks={(row, col): Window(*at) for row, col, *at in plain["blocks"]},
            tags=plain["tags"],
            options=plain["options"],
            tile_safe=plain["tile_safe"],
            shards=plain["shards"],
            certainty=sure and _bands(sure),
            certainty_tags=plain.get("certainty_tags", {}),
        )


def _plain(bands: Bands) -> dict[str, Any]:
    """Bands as JSON can hold them: mappings from numbers as pairs."""
    return asdict(bands) | {name: list(getattr(bands, name).items()) for name in TABLES}


def _bands(plain: Mapping[str, Any]) -> Bands:
    """Read what JSON gives back of `_plain`: it knows neither tuples nor mappings from numbers."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    fields["colors"] = {value: tuple(color) for value, color in fields["colors"]}
    fields["classes"] = dict(fields["classes"])
    return Bands(**fields)


TABLES = ("colors", "classes")
"""Fields of `Bands` that lead from numbers to something."""
