"""Read images pixel on pixel, wherever they lie and whether they lie anywhere."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import AlignmentError, RasterError
from .frame import Frame
from .layer import Layer
from .source import RasterSource

__all__ = ["PixelSource"]


class _InPixels(Layer):
    """A layer that takes its file as it is, wherever it lies."""

    def _placed(self, dataset: Any, resampling: str) -> tuple[Any, bool]:
        return dataset, False

    def _own_frame(self) -> Frame:
        return Frame.of_pixels(self.dataset.height, self.dataset.width)

    def _spans(self, like: Frame) -> tuple[float, float]:
        """Refuse another size, because there is no warp in pixel space."""
        raise AlignmentError(
            f"{self.path} is {self.frame.width} x {self.frame.height} px, but the image it should "
            f"be paired with is {like.width} x {like.height}: pixel space takes two of one size; "
            "pair them in map space"
        )


class PixelSource(RasterSource):
    """An image to read from in pixel space: no warp, and no CRS needed.

    What ArcGIS calls PIXEL_SPACE. Values and masks are those of the file; its frame is one of
    whole pixels, whatever transform, control points or RPCs the file has.

    Parameters
    ----------
    paths, bands : see `RasterSource`.
    like : frame of pixels of the image it is paired with, which must have the same size; None for
        any size.

    Raises
    ------
    RasterError
        For a file that is missing, damaged or complex, a container of subdatasets, or a band that
        does not exist.
    AlignmentError
        If the size differs from that of ``like``, or stacked files differ in size.
    """

    _layer = _InPixels

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        bands: Sequence[int] | None = None,
        like: Frame | None = None,
    ) -> None:
        """Take the description and check it against the files."""
        super().__init__(paths, bands, like)

    def warped(self, frame: Frame) -> "PixelSource":
        """Refuse another lattice: there is no warp in pixel space.

        Raises
        ------
        RasterError
            For any lattice but its own.
        """
        if frame.same_lattice(self.frame):
            return self
        raise RasterError(
            f"{self.name}: in pixel space images are neither warped nor turned; "
            "leave out the rotation angle, or take map space"
        )
