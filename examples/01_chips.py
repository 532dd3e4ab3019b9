"""Cut paired chips from two rasters of one place.

You will see how many chips fall to training and validation, how the additional raster was
resampled, and `chips.png`: pairs of aerial image and map. `chips/chips.geojson` opens in QGIS.
"""

# %%
from geo_p2p import export_chips, prepare_data
from geo_p2p.chips import ChipFolder
from geo_p2p.report import save_figure
from geo_p2p.scene import write_scene

scene = write_scene("scene", size=1024, overwrite=True)

# %% The map has another CRS, pixel size and extent: it is warped onto the aerial's lattice.
folder = export_chips(scene.aerial, scene.map, "chips", tile_size=256, stride=64, overwrite=True)
chips = ChipFolder.open(folder)
print(len(chips), "chips")
print({part: len(chips.split[part]) for part in ("train", "val")})
print("resampled by", chips.own["additional"]["resampling"])

# %%
data = prepare_data(folder)
print("saved to", save_figure(data.show_batch(rows=3), "chips.png"))
