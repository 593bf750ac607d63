"""
A map of a folder
=================

Sixty short recordings, one point each: what sounds alike lies close together.
"""

# %%
# The folder.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sounds import CLASSES, write_folder

from edgel3_onnx.sklearn import EdgeL3Transformer

folder = tempfile.TemporaryDirectory()
paths = write_folder(Path(folder.name))
kind = np.array([Path(path).name.split("-")[0] for path in paths])

# %%
# One row per file: the mean of its windows. The edges are left out (``center=False``): a window that is half zeros
# would say more about zeros than about the sound.
rows = EdgeL3Transformer(center=False, hop_size=0.25).transform(paths)
rows.shape

# %%
# Distances are taken after scaling each feature. The nearest neighbours are found in all 64 dimensions; the map shows
# the two along which the folder varies most.
scaled = make_pipeline(StandardScaler(), Normalizer()).fit_transform(rows)
nearest = NearestNeighbors(n_neighbors=2).fit(scaled).kneighbors(scaled, return_distance=False)[:, 1]
print(f"{(kind == kind[nearest]).mean():.0%} of the files have a nearest neighbour of their own kind")


def draw(axes, points, title):
    for here, there in zip(points, points[nearest], strict=True):
        axes.plot(*zip(here, there, strict=True), color="0.75", lw=0.8, zorder=0)
    for colour, name in enumerate(CLASSES):
        axes.scatter(*points[kind == name].T, s=36, color=f"C{colour}", label=name, edgecolor="white", lw=0.5)
    axes.set(title=title, xticks=[], yticks=[])


maps = {"PCA": PCA(2).fit_transform(scaled)}
try:
    from umap import UMAP
except ImportError:
    print("pip install umap-learn for a second map")
else:
    maps["UMAP"] = UMAP(n_neighbors=8, random_state=0, n_jobs=1).fit_transform(scaled)

figure, axes = plt.subplots(1, len(maps), figsize=(5.6 * len(maps), 5), layout="constrained", squeeze=False)
for where, (title, points) in zip(axes[0], maps.items(), strict=True):
    draw(where, points, title)
axes[0, 0].legend(frameon=False)
plt.show()
