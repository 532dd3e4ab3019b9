"""What a result was made with."""

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

SHAPING = ("geo_p2p", "torch", "fastai", "rasterio", "numpy")
"""Packages that shape a result."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a result, as installed."""
    found = {"python": platform.python_version()}
    for name in SHAPING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout on the path, never installed
            found[name] = "unknown"
    return found
