"""The laws of the town: one truth per point, whatever the window, the lattice or the block."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform
from rasterio.windows import Window
from sklearn.ensemble import HistGradientBoostingClassifier

from geo_p2p.errors import GeoP2PError, RasterError
from geo_p2p.raster import Frame
from geo_p2p.scene import CLASSES, Town, files, scene_frames, write_scene
from geo_p2p.scene.lattice import draws, hashed, noise, once_each
from geo_p2p.scene.light import Sun, house_shadows
from geo_p2p.scene.photo import photograph
from geo_p2p.scene.plan import Plan, Surface

UTM, MERCATOR, LAEA = (CRS.from_epsg(code) for code in (32633, 3857, 3035))
VALUE = {c.name: c.value for c in CLASSES}


def frame_at(x, y, side=200, res=0.5, crs=UTM, turn=0.0):
    return Frame(side, side, Affine(res, 0, x, 0, -res, y) * Affine.rotation(turn), crs)


def centres(frame):
    rows, cols = np.mgrid[: frame.height, : frame.width] + 0.5
    x, y = frame.transform @ (cols, rows) if False else frame.transform * (cols, rows)
    return x, y
