"""Seeded weights and audio whose embeddings by the published code are stored in tests/data/golden.

The digests in tests/data/golden/index.json prove that what is generated here is what that code was given.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

from edgel3_onnx.spec import FRONTENDS, NETWORKS, NetworkSpec

DATA = Path(__file__).parent / "data" / "golden"
PRUNED_QUANTILES = (0, 0.8, 0.85, 0.9, 0.9, 0.95, 0.96, 0.975)  # per convolution; 95.75 % zeros in all


def weights(seed: int, network: NetworkSpec, pruned: bool | tuple[float, ...] = False) -> list[np.ndarray]:
    """The arrays of a network in HDF5 order, without the Kapre layer: input BatchNorm, then per layer.

    ``pruned`` is the recipe's True or False, or quantiles of one's own, one per convolution.
    """
    quantiles = PRUNED_QUANTILES if pruned is True else (pruned or (0,) * 8)
    rng = np.random.default_rng(seed)
    arrays = [np.array([value], np.float32) for value in (1, 0, -40, 400)]
    cin = 1
    for k, cout in enumerate(network.filters):
        kernel = rng.standard_normal((3, 3, cin, cout)) * np.sqrt(2 / (9 * cin))
        if quantiles[k] > 0:
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), quantiles[k])] = 0
            kernel /= np.sqrt(1 - quantiles[k])
        arrays += [kernel, 0.05 * rng.standard_normal(cout)]
        if k < 7 or network.final_activation:
            arrays += [
                1 + 0.1 * rng.standard_normal(cout),
                0.1 * rng.standard_normal(cout),
                0.1 * rng.standard_normal(cout),
                np.exp(0.1 * rng.standard_normal(cout)),
            ]
        cin = cout
    return [array.astype(np.float32) for array in arrays]


def audio(sr: int, seconds: float, seed: int) -> np.ndarray:
    """Pink noise, five decaying sines and clicks: float64 (round(sr * seconds),)."""
    rng = np.random.default_rng(seed)
    n = round(sr * seconds)
    t = np.arange(n) / sr
    frequency = np.fft.rfftfreq(n, 1 / sr)
    frequency[0] = frequency[1]
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) / np.sqrt(frequency), n)
    y = 0.3 * noise / np.abs(noise).max()
    for _ in range(5):
        f0, t0, d = rng.uniform(80, 0.4 * sr), rng.uniform(0, 0.8 * seconds), rng.uniform(1, 6)
        s = np.maximum(t - t0, 0)
        y += np.where(t >= t0, 0.2 * np.exp(-d * s) * np.sin(2 * np.pi * f0 * s), 0)
    y[:: sr // 3] += 0.5
    return y / np.abs(y).max()


def digest(arrays: list[np.ndarray]) -> str:
    """sha256 of the arrays' bytes, one after another, in C order as float32."""
    return hashlib.sha256(b"".join(a.astype(np.float32).tobytes() for a in arrays)).hexdigest()


@cache
def cases() -> list[dict]:
    """The entries of index.json, each with ``network`` (key of NETWORKS) and ``id`` added."""
    entries = json.loads((DATA / "index.json").read_text())
    for entry in entries:
        entry["network"] = "sparse" if entry["kind"] == "sparse" else f"sea-{entry['emb_dim']}"
        entry["id"] = Path(entry["file"]).stem
    return entries


def mel_matrix(spec) -> np.ndarray:
    """HTK mel filters with Slaney area normalisation: float32 (n_fft // 2 + 1, n_mels)."""
    to_mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(0, to_mel(spec.sample_rate / 2), spec.n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)[:, None]
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    triangle = np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))
    return (triangle * 2 / (high - low)).astype(np.float32)


def write_h5(path, arrays: list[np.ndarray], network_name: str, layout: str = "weights") -> None:
    """Save ``arrays`` as Keras HDF5: ``layout`` is "weights" (at the root) or "model" (under model_weights).

    The layers' names sort differently from their order, as in the published files.
    """
    import h5py

    network = NETWORKS[network_name]
    spec = FRONTENDS[network.frontend]
    n, half = spec.n_fft, spec.n_fft // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(n), np.arange(half)) / n
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    real, imag = ((window[:, None] * f(angle)).astype(np.float32).reshape(n, 1, 1, half) for f in (np.cos, np.sin))
    layers = [("input_3", []), ("melspectrogram_2", [real, -imag, mel_matrix(spec)])]
    layers.append(("batch_normalization_16", arrays[:4]))
    rest, names = list(arrays[4:]), [f"conv2d_{14 + k}" for k in range(7)] + ["audio_embedding_layer"]
    for k, name in enumerate(names):
        layers.append((name, [rest.pop(0), rest.pop(0)]))
        if k < 7 or network.final_activation:
            layers.append((f"batch_normalization_{17 + k}", [rest.pop(0) for _ in range(4)]))
            layers.append((f"activation_{14 + k}", []))
    layers.append(("flatten_2", []))
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if layout == "model" else file
        root.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, values in layers:
            group = root.create_group(name)
            weight_names = [f"{name}/w{i}:0" for i in range(len(values))]
            group.attrs["weight_names"] = [w.encode() for w in weight_names]
            for weight_name, value in zip(weight_names, values, strict=True):
                group.create_dataset(weight_name, data=value)
