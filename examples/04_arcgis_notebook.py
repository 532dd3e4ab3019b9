"""A notebook written for arcgis.learn's Pix2Pix, cell by cell, with its import line changed.

Run `01_chips.py` first; an export of ArcGIS Pro's "Export Training Data For Deep Learning" serves
as well. You will see a step size, a table of losses by epoch in `history.csv`, scores, a model
folder with `model_metrics.html`, and one image translated: a GeoTIFF in its place, of the target's
type.
"""

# %% from arcgis.learn import Pix2Pix, prepare_data
from geo_p2p import Pix2Pix, prepare_data

# %%
data = prepare_data(
    path="chips", batch_size=4, dataset_type="Pix2Pix", chip_size=256, working_dir="work"
)
data.show_batch(rows=2)

# %%
model = Pix2Pix(data)
print(model.available_metrics, model.supported_backbones)
lr = model.lr_find()
print(f"step size: {lr:.2g}")

# %%
model.fit(
    epochs=5, lr=lr, one_cycle=True, early_stopping=True, checkpoint=True, monitor="valid_loss"
)
model.unfreeze()
model.fit(2, lr / 10)
model.plot_losses()
model.show_results(rows=2)

# %%
scores = model.compute_metrics()
print({name: round(scores[name], 3) for name in ("psnr", "ssim")})
saved = model.save("aerial_to_map", framework="PyTorch", compute_metrics=True)
print("saved to", saved)

# %%
again = Pix2Pix.from_model(saved / "aerial_to_map.emd", data)
again.load("aerial_to_map")
print("translated to", again.predict("scene/aerial.tif"))
