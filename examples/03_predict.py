"""Translate a raster that is larger than the training ground, with the model of `02_train.py`.

You will see two mosaics, made with blocks of different size, agree to a quantum: no seams, because
every block is read with the context that the generator needs. Then the score against the truth.
"""

# %%
import numpy as np

from geo_p2p import RasterSource, predict_raster
from geo_p2p.evaluate import evaluate_rasters
from geo_p2p.scene import Town, write_scene

elsewhere = write_scene("elsewhere", town=Town(seed=3), size=(1100, 1700), overwrite=True)

# %%
mosaics = [
    predict_raster(
        elsewhere.aerial, f"blocks_{size}.tif", model="town", block_size=size, overwrite=True
    )
    for size in (512, 1024)
]
one, other = (RasterSource(path).read()[0].astype(int) for path in mosaics)
print("largest difference between the two:", np.abs(one - other).max(), "of 255")

# %%
scores = evaluate_rasters(mosaics[0], elsewhere.map)
print({name: round(scores[name], 3) for name in ("l1", "ssim", "psnr")})
