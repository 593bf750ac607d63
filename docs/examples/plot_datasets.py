"""
A Hugging Face dataset with embeddings
======================================

``map`` adds a column, in as many processes as ``num_proc`` says.
"""

# %%
import tempfile
from pathlib import Path

import datasets
import matplotlib.pyplot as plt
import numpy as np
import soundfile
from sounds import CLASSES, write_folder

import edgel3_onnx

datasets.disable_progress_bars()
paths = write_folder(Path(tempfile.mkdtemp()), per_class=4)
sounds = datasets.Dataset.from_dict({"path": paths, "kind": [Path(path).name.split("-")[0] for path in paths]})


def embed(batch):
    arrays, rates = zip(*(soundfile.read(path, dtype="float32") for path in batch["path"]), strict=True)
    options = {"model_type": "micro", "center": False, "hop_size": 0.5}  # the model is loaded once, and kept
    found, _ = edgel3_onnx.get_embedding(list(arrays), list(rates), verbose=0, **options)
    return {"embedding": [each.mean(axis=0) for each in found]}


sounds = sounds.map(embed, batched=True, batch_size=16)
sounds

# %%
# Rows of one kind have a pattern of their own.
rows = np.array(sounds["embedding"])
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.imshow(rows / rows.max(axis=0).clip(1e-9), aspect="auto", cmap="magma")
axes.set(xlabel="feature", yticks=np.arange(len(CLASSES)) * 4 + 1.5, yticklabels=list(dict.fromkeys(sounds["kind"])))
plt.show()
