"""Train a small model on the chips of `01_chips.py`, and look at it.

You will see a progress bar, then `losses.png` and `results.png`, and a model folder that needs
nothing else: `models/town/`. Checkpoints and a picture of every epoch lie beside it, in a folder
that is named by the time. Ten epochs take a minute or two on two cores.
"""

# %%
from geo_p2p import Pix2Pix, prepare_data
from geo_p2p.report import save_figure

model = Pix2Pix(prepare_data("chips"), ngf=16, ndf=16, batch_size=4, lr=1e-3)
model.fit(10)

# %%
save_figure(model.plot_losses(), "losses.png")
save_figure(model.show_results(rows=3), "results.png")
scores = model.compute_metrics()
print({name: round(scores[name], 3) for name in ("l1", "ssim", "psnr")})

# %%
print("saved to", model.save("town"))
