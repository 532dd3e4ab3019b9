"""The pixels that a raster is translated on: its own, others, or those the model knows."""

from typing import NamedTuple

from geo_p2p.card import ModelCard
from geo_p2p.chips.chip import Source
from geo_p2p.errors import ModelError
from geo_p2p.predict.config import PredictConfig
from geo_p2p.raster import Frame, RasterSource, crs_of, lattice_for, metres_of

__all__ = ["Ratio", "on_lattice", "ratio_of"]


class Ratio(NamedTuple):
    """Pixel size of a raster, that of the training, and the unit of both."""

    own: float
    trained: float
    unit: str


def on_lattice(source: Source, card: ModelCard, config: PredictConfig) -> Source:
    """Return the raster on the lattice that the settings ask for; itself where that is its own.

    Raises
    ------
    ModelError
        If the model's pixel size is asked for, and it is not known or cannot be compared.
    RasterError, AlignmentError
        See `geo_p2p.raster.lattice_for`.
    """
    if config.dst_crs is None and config.res is None:
        return source
    crs = None if config.dst_crs is None else crs_of(config.dst_crs)
    frame = lattice_for(source.frame, crs, None if config.res == "model" else _pair(config.res))
    if config.res == "model":
        frame = lattice_for(source.frame, crs, _as_trained(card, frame, source.name))
    if frame.same_lattice(source.frame):
        return source
    if isinstance(source, RasterSource):
        return RasterSource(source.paths, source.bands, frame, config.resampling)
    return source.warped(frame)


def _pair(res: "float | tuple[float, float] | str | None") -> tuple[float, float] | None:
    """Width and height of a pixel."""
    if res is None:
        return None
    if isinstance(res, str):
        raise ModelError(f"pixel size {res!r}: give a number, two, or 'model'")
    return (float(res), float(res)) if isinstance(res, int | float) else (res[0], res[1])


def _as_trained(card: ModelCard, frame: Frame, name: str) -> tuple[float, float]:
    """Pixel size of the training, in units of a frame."""
    if card.pixel_size is not None and card.crs == frame.crs_name:
        return card.pixel_size
    ratio = ratio_of(card, frame)
    if ratio is None:
        raise ModelError(
            f"{name}: the pixel size of the training is not known in {frame.crs_name}; "
            "give one in figures"
        )
    factor = ratio.trained / ratio.own
    return frame.res[0] * factor, frame.res[1] * factor


def ratio_of(card: ModelCard, frame: Frame) -> Ratio | None:
    """Compare the pixels of a raster with those a model was trained on.

    Returns
    -------
    In units of the CRS if both have the same one, else in metres; None where one is not known.
    """
    if card.pixel_size is None:
        return None
    if card.crs == frame.crs_name:
        return Ratio(frame.res[0], card.pixel_size[0], "")
    # A CRS without a code has a short name only, which says nothing of its unit.
    if ":" not in card.crs:
        return None
    own = metres_of(frame.res, frame.crs, frame)
    trained = metres_of(card.pixel_size, crs_of(card.crs), frame)
    return None if own is None or trained is None else Ratio(own, trained, " m")
