"""Draw docs/_static/street.png: examples/street.flac as micro hears it. Needs matplotlib."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import soundfile

import edgel3_onnx

HERE = Path(__file__).parent


def main() -> None:
    audio, sr = soundfile.read(HERE / "street.flac", dtype="float32")
    model = edgel3_onnx.load_embedding_model("micro")
    embedding, timestamps = edgel3_onnx.get_embedding(audio, sr, model, center=False, hop_size=0.05, verbose=0)
    centred = embedding - embedding.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    seconds = audio.size / sr
    middle = (timestamps[0] + 0.5, timestamps[-1] + 0.5)

    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained", width_ratios=[1.5, 1.5, 1])
    axes[0].specgram(audio, NFFT=512, Fs=sr, noverlap=384, cmap="magma", vmin=-110)
    axes[0].set(title="six seconds of sound", xlabel="seconds", ylabel="Hz", xlim=(0, seconds), ylim=(0, 4000))
    axes[1].imshow(
        (embedding / embedding.max(axis=0).clip(1e-6)).T,
        origin="lower",
        aspect="auto",
        extent=(*middle, 0, 64),
        cmap="magma",
    )
    axes[1].set(title="64 values for each moment", xlabel="seconds", yticks=[])
    axes[2].imshow(unit @ unit.T, origin="lower", aspect="auto", extent=middle * 2, cmap="viridis")
    axes[2].set(title="how alike moments are", xlabel="seconds", yticks=[])
    figure.savefig(HERE.parent / "docs" / "_static" / "street.png", dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
