"""Packaging: what is shipped, under which names, and what it needs.

The packages are listed by hand. ``find_packages()`` would ship ``tests``, ``examples`` and a
top-level ``cli``; the folder ``cli/`` is installed as ``geo_p2p.cli`` and under no other name.
"""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent

PACKAGES = [
    "geo_p2p",
    "geo_p2p.card",
    "geo_p2p.chips",
    "geo_p2p.chips.split",
    "geo_p2p.cli",
    "geo_p2p.data",
    "geo_p2p.grid",
    "geo_p2p.losses",
    "geo_p2p.metrics",
    "geo_p2p.model_file",
    "geo_p2p.networks",
    "geo_p2p.pix2pix",
    "geo_p2p.predict",
    "geo_p2p.raster",
    "geo_p2p.report",
    "geo_p2p.scene",
    "geo_p2p.seams",
    "geo_p2p.translate",
]

REQUIRES = [
    "affine>=2.4",
    "click>=8.4",
    "fastai>=2.8",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "pillow>=10",
    "pyogrio>=0.9",
    "rasterio>=1.4",
    "rich>=13.7",
    "safetensors>=0.4.3",
    "scikit-learn>=1.4",
    "scipy>=1.12",
    "shapely>=2.1",
    "torch>=2.4",
]

# The formatter and the type checker change their minds between releases: a pinned series
# keeps a green checkout green.
TEST_REQUIRES = [
    "build>=1.2",
    "distributed>=2024.8",
    "hypothesis>=6.100",
    "mypy==2.4.*",
    "pyproj>=3.6",
    "pytest>=8.2",
    "pytest-xdist>=3.6",
    "rio-cogeo>=5.4",
    "rioxarray>=0.15",
    "ruff==0.17.*",
    "scikit-image>=0.23",
    "tensorboard>=2.14",
]


def version() -> str:
    """Return the version that the package states, without importing the package."""
    source = (ROOT / "geo_p2p" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError("geo_p2p/__init__.py states no __version__")
    return found[1]


setup(
    name="geo_p2p",
    version=version(),
    description="Train a pix2pix on two rasters of one place, then translate rasters of any size.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["pix2pix", "GIS", "remote sensing", "image translation", "GeoTIFF"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: GIS",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=PACKAGES,
    package_dir={"geo_p2p": "geo_p2p", "geo_p2p.cli": "cli"},
    package_data={"geo_p2p": ["py.typed"]},
    install_requires=REQUIRES,
    extras_require={
        "backbones": ["torchvision>=0.19"],
        "dask": ["distributed>=2024.8"],
        "tensorboard": ["tensorboard>=2.14"],
        "wandb": ["wandb>=0.16"],
        "test": TEST_REQUIRES,
    },
    entry_points={"console_scripts": ["geo-p2p = geo_p2p.cli.main:main"]},
)
