"""Arrays of xarray: where their pixels are, and what they are called. xarray is not imported."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.windows import Window

from geo_p2p.errors import RasterError
from geo_p2p.raster import Bands, Frame

__all__ = ["Labelled"]

ACROSS = ("x", "lon", "longitude", "easting")
DOWN = ("y", "lat", "latitude", "northing")
"""Names of the dimensions of columns and rows, lower case."""

GRID = "spatial_ref"
"""Coordinate in which the CRS stands, by the CF conventions as rioxarray follows them."""

NODATA = ("_FillValue", "nodata", "missing_value")
"""Names under which attributes hold a nodata value."""

EVEN = 1e-3
"""Share of a pixel by which coordinates may be off their lattice."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """An ``xarray.DataArray`` of an image.

    Parameters
    ----------
    array : as it was given, its dimensions in the order (bands, rows, cols) or (rows, cols).
    values : (bands, rows, cols), masked where it says nodata.
    frame : where the pixels are; px where it names no CRS.
    """

    array: Any
    values: np.ma.MaskedArray[Any, Any]
    frame: Frame

    @classmethod
    def of(cls, array: Any) -> "Labelled":
        """Read the place and the values of a DataArray.

        Raises
        ------
        RasterError
            If it has no dimensions of rows and columns, more than one other, or coordinates that
            are not even.
        """
        name = str(array.name or "array")
        rows, cols = (_dimension(array, names, name) for names in (DOWN, ACROSS))
        others = [dim for dim in array.dims if dim not in (rows, cols)]
        if len(others) > 1:
            raise RasterError(f"{name}: of dimensions {array.dims}; give (band, y, x)")
        ordered = array.transpose(*others, rows, cols)
        values = np.asarray(ordered.values)
        image = values if others else values[None]
        nodata = _nodata_of(array)
        mask = np.zeros(image.shape, bool) if nodata is None else image == nodata
        if image.dtype == "uint8" and len(image) > 2:
            # In 8-bit colour nodata is a colour, as for files: one channel at it is ordinary.
            mask = np.broadcast_to(mask.all(0), image.shape)
        frame = _frame_of(ordered, rows, cols, name)
        return cls(ordered, np.ma.MaskedArray(image, mask), frame)

    def like(
        self, values: NDArray[Any], valid: NDArray[np.bool_], bands: Bands, window: Window
    ) -> Any:
        """Return a DataArray of a translation, with the coordinates of this one.

        Parameters
        ----------
        values, valid : (bands, rows, cols) and (rows, cols), of the window.
        bands : what they hold.
        window : part of this array, px.
        """
        rows, cols = self.array.dims[-2:]
        at = dict(zip((rows, cols), window.toslices(), strict=True))
        place = self.array.isel(at)
        coords = {
            key: coord for key, coord in place.coords.items() if set(coord.dims) <= {rows, cols}
        }
        coords["band"] = list(range(1, bands.count + 1))
        attrs = {k: v for k, v in self.array.attrs.items() if k not in (*NODATA, *PER_BAND)}
        if any(bands.names):
            attrs["long_name"] = bands.names[0] if bands.count == 1 else tuple(bands.names)
        if bands.nodata is not None:
            attrs["_FillValue"] = np.dtype(bands.dtype).type(bands.nodata)
        elif not valid.all():
            floats = np.result_type(values.dtype, np.float32)
            values = np.where(valid, values, np.nan).astype(floats)
        # By the class of what was given, so that xarray need not be imported here.
        kind = type(self.array)
        return kind(values, coords, ("band", rows, cols), name=self.array.name, attrs=attrs)


PER_BAND = ("long_name", "units", "scale_factor", "add_offset", "scales", "offsets")
"""Attributes of the input's bands, which say nothing of the output's."""


def _dimension(array: Any, names: tuple[str, ...], name: str) -> Any:
    """Find the dimension of one of some names."""
    for dim in array.dims:
        if str(dim).lower() in names:
            return dim
    raise RasterError(f"{name}: of dimensions {array.dims}; name them (band, y, x)")


def _nodata_of(array: Any) -> Any:
    """The nodata value that attributes or encoding tell; None if none does."""
    told = [where[key] for where in (array.attrs, array.encoding) for key in NODATA if key in where]
    return told[0] if told else None


def _frame_of(array: Any, rows: Any, cols: Any, name: str) -> Frame:
    """Where the pixels are, by the coordinates of their centres."""
    height, width = (array.sizes[dim] for dim in (rows, cols))
    crs = _crs_of(array)
    if crs is None:
        return Frame.of_pixels(height, width)
    told = array.coords[GRID].attrs.get("GeoTransform") if GRID in array.coords else None
    if not (rows in array.coords and cols in array.coords):
        if told is None:
            return Frame.of_pixels(height, width)
        transform = Affine.from_gdal(*map(float, str(told).split()))
        return Frame(height, width, transform, crs)
    steps = {}
    for dim in (cols, rows):
        centres = np.asarray(array.coords[dim].values, float)
        step = np.diff(centres).mean() if len(centres) > 1 else _step(told, dim == cols)
        even = step and np.abs(centres - centres[0] - step * np.arange(len(centres))).max()
        if not step or even > EVEN * abs(step):
            raise RasterError(f"{name}: its coordinates along {dim} are not even; warp it first")
        steps[dim] = float(step), float(centres[0] - step / 2)
    (across, left), (down, top) = steps[cols], steps[rows]
    return Frame(height, width, Affine(across, 0, left, 0, down, top), crs)


def _step(told: Any, across: bool) -> float:
    """Pixel size where there is one pixel alone; 0 if nothing tells it."""
    return 0.0 if told is None else float(str(told).split()[1 if across else 5])


def _crs_of(array: Any) -> CRS | None:
    """The CRS that the array names; None if it names none."""
    told = [array.attrs.get("crs")]
    if GRID in array.coords:
        attrs = array.coords[GRID].attrs
        told = [attrs.get("crs_wkt"), attrs.get(GRID), *told]
    for text in told:
        if text:
            try:
                return CRS.from_user_input(text)
            except CRSError:
                continue
    return None
