"""
A classifier, and its way into another program
==============================================

Embeddings and a logistic regression tell six kinds of sound apart after a dozen examples of each. Then both go into a
program that has nothing but ONNX Runtime.
"""

# %%
# Twelve files of each kind, each with another sound behind it at a fifth of its level. They are made, not recorded:
# this shows the way, not what to expect.
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sounds import SR, write_folder

import edgel3_onnx

folder = Path(tempfile.mkdtemp())
paths = write_folder(folder, per_class=12, seconds=2.5)

# %%
# Every window is an example. Windows of one file are nearly the same, so that a file must not be learned from and
# tested on: ``groups`` keeps its windows together. Without that, the score would be worth nothing.
model = edgel3_onnx.load_embedding_model("micro")
alone = [soundfile.read(path, dtype="float32")[0] for path in paths]
behind = np.random.default_rng(0).permutation(len(alone))
arrays = [sound + 0.2 * alone[other] for sound, other in zip(alone, behind, strict=True)]
embeddings, _ = edgel3_onnx.get_embedding(arrays, SR, model, center=False, hop_size=0.25, verbose=0)
X = np.concatenate(embeddings)
files = np.repeat(np.arange(len(paths)), [len(each) for each in embeddings])
y = np.array([Path(path).name.split("-")[0] for path in paths])[files]

classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
guess = cross_val_predict(classifier, X, y, groups=files, cv=GroupKFold(4))
print(f"{accuracy_score(y, guess):.1%} of {len(y)} windows of {len(paths)} files")

figure, axes = plt.subplots(figsize=(6, 5.4), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    y, guess, normalize="true", ax=axes, cmap="Blues", values_format=".2f", colorbar=False
)
plt.show()

# %%
# Both as graphs: the network that takes samples, made by ``edgel3_onnx.export`` from micro, and the classifier, by
# skl2onnx.
from skl2onnx import to_onnx

from edgel3_onnx.export import __main__ as export

export.main(["--variants", "micro", "--kinds", "waveform", "--precisions", "fp32", "--out", str(folder)])
classifier.fit(X, y)
head = to_onnx(classifier, X[:1], options={"zipmap": False})
(folder / "head.onnx").write_bytes(head.SerializeToString())
print(*sorted(f"{path.name}: {path.stat().st_size / 1000:.0f} kB" for path in folder.glob("*.onnx")), sep="\n")

# %%
# The other program. It takes samples at 8 kHz, one second at a time.
program = """
import sys, json
import numpy, onnxruntime

network, head = (onnxruntime.InferenceSession(path) for path in sys.argv[1:])
audio = numpy.frombuffer(sys.stdin.buffer.read(), numpy.float32).reshape(-1, 8000)
(embedding,) = network.run(None, {"audio": audio})
labels, scores = head.run(None, {"X": embedding})
assert not any(name.startswith(("edgel3", "sklearn")) for name in sys.modules)
print(json.dumps([labels.tolist(), scores.max(axis=1).round(2).tolist()]))
"""
seconds = [edgel3_onnx.frontend.resample(array, SR, 8000, "kaiser_best")[4000:12000] for array in arrays[::12]]
graphs = [str(folder / "micro.waveform.fp32.onnx"), str(folder / "head.onnx")]
done = subprocess.run(
    [sys.executable, "-c", program, *graphs], input=np.stack(seconds).tobytes(), capture_output=True, check=True
)
for path, label, score in zip(paths[::12], *json.loads(done.stdout), strict=True):
    print(f"{Path(path).name:15} {label:8} {score}")
