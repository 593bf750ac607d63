"""
What happens when in a recording
================================

The embeddings of a recording, compared with each other, show its structure: where it repeats itself, and where
something new begins.
"""

# %%
# Half a minute in six scenes, one of which comes back.
import matplotlib.pyplot as plt
import numpy as np
from sounds import SR, make

import edgel3_onnx

scenes = ["rain", "bird", "engine", "bird", "siren", "knocks"]
audio = np.concatenate([make(name, seed=1, seconds=5) for name in scenes])

# %%
# One embedding every tenth of a second, without the half second of zeros that centring puts at the start, so that no
# window hangs over an edge.
model = edgel3_onnx.load_embedding_model("micro")
embedding, timestamps = edgel3_onnx.get_embedding(audio, SR, model, center=False, verbose=0)
middle = timestamps + 0.5

# %%
# Embeddings all have much in common: without their mean the differences show. The cosine of each pair of windows is the
# self-similarity. A checkerboard that slides along its diagonal measures how much the sound before a moment differs
# from the sound after it: the novelty (Foote, *Automatic audio segmentation using a measure of audio novelty*,
# ICME 2000).
centred = embedding - embedding.mean(axis=0)
unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
similarity = unit @ unit.T

half = 10
signs = np.sign(np.arange(-half, half) + 0.5)
taper = np.exp(-0.5 * (np.arange(-half, half) / (half / 2)) ** 2)
kernel = np.outer(signs * taper, signs * taper)
novelty = np.full(len(unit), np.nan)
for k in range(half, len(unit) - half):
    novelty[k] = (kernel * similarity[k - half : k + half, k - half : k + half]).sum()
novelty /= np.nanmax(novelty)

# %%
# All of it on one time axis. The network hears up to 4 kHz.
figure, axes = plt.subplots(3, 1, figsize=(8, 9.5), height_ratios=[1, 3.4, 0.8], layout="constrained", sharex=True)
seconds = audio.size / SR
axes[0].specgram(audio, NFFT=512, Fs=SR, noverlap=256, cmap="magma", vmin=-120)
axes[0].set(ylabel="Hz", ylim=(0, 4000))
for k, name in enumerate(scenes):
    axes[0].text(5 * k + 2.5, 4100, name, ha="center", va="bottom")
edges = (middle[0], middle[-1])
axes[1].imshow(similarity, origin="lower", aspect="auto", extent=edges * 2, cmap="viridis", vmin=-0.5, vmax=1)
axes[1].set_ylabel("seconds")
axes[2].fill_between(middle, novelty, color="tab:orange")
axes[2].set(ylabel="novelty", xlabel="seconds", xlim=(0, seconds), ylim=(0, 1.1))
for boundary in range(5, 30, 5):
    axes[2].axvline(boundary, color="black", lw=0.8, ls=":")
plt.show()

# %%
# Bright squares on the diagonal are the scenes. The bright blocks off the diagonal are the bird that comes back: it
# is more like itself, fifteen seconds earlier, than like anything else.
