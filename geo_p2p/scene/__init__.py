"""A procedural town without end: an aerial photograph and its map, for demos, tests, benchmarks.

Truth at a point is a pure function of a seed and of where the point is, so that any window of a
scene equals the same part of a larger one, in any CRS and at any pixel size. The map cannot be
read off single pixels: streets, yards and grey roofs share their colours, as do crops and lawns,
and shadows look like water. Shape, shadow and neighbourhood tell them apart.

>>> from geo_p2p.scene import Town, scene_frames
>>> town = Town(seed=7)
>>> aerial, chart = scene_frames(town, size=64)
>>> town.aerial(aerial).shape, town.map_classes(chart).shape[0]
((3, 64, 64), 1)

`write_scene` writes both as GeoTIFFs. The modules, from the ground up: ``lattice`` (chance that
depends on place), ``streets``, ``lots``, ``plan`` (what is where), ``trees``, ``light``, ``paint``,
``photo``, ``town``, ``files``.
"""

from .files import SceneFiles, scene_frames, write_scene
from .town import CLASSES, MapClass, Town

__all__ = ["CLASSES", "MapClass", "SceneFiles", "Town", "scene_frames", "write_scene"]
