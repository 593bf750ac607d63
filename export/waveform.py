"""Put the front end in front of a network: a graph from waveform to embedding, of standard operators only.

STFT and DFT operators are left out because few providers run them: the spectrum is a convolution of the
waveform with windowed sines and cosines, which every provider has. These kernels (17 MB at 48 kHz) are not
stored but computed from one period of a cosine; ONNX Runtime does that once, when it loads the graph.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.graph import parse, read_metadata, serialise, write_metadata
from edgel3_onnx.spec import FrontEndSpec


def add_front_end(graph: bytes) -> bytes:
    """Turn a graph of kind "mel", of any network and precision, into one of kind "waveform".

    Input ``audio`` float32 (N, sample_rate), one second each, full scale = 1; outputs as before. The front
    end computes in float32 whatever the network's precision: its power spectrum spans 160 dB.

    Raises EdgeL3Error if ``graph`` has no metadata of this package or is not of kind "mel".
    """
    from onnx import TensorProto, helper, numpy_helper

    model = parse(graph, "graph")
    metadata = read_metadata(model)
    if metadata is None or metadata.get("kind") != "mel":
        found = "no metadata" if metadata is None else f"kind {metadata.get('kind')!r}"
        raise EdgeL3Error(f"a front end goes in front of a graph of kind 'mel', this one has {found}")
    spec = FrontEndSpec(**metadata["frontend"])
    bins = spec.n_fft // 2 + 1
    padding = max((spec.n_frames - 1) * spec.hop_length + spec.n_fft - spec.window_length, 0)

    sample = np.arange(spec.n_fft)
    constants: dict[str, npt.NDArray[Any]] = {
        "frontend.frequency": np.arange(bins, dtype=np.int32)[:, None],
        # Sines are cosines a quarter of a period ahead; what sign they have does not matter to the power.
        "frontend.phase": np.array([0, spec.n_fft // 4], dtype=np.int32)[:, None, None],
        "frontend.sample": sample.astype(np.int32),
        "frontend.n_fft": np.array(spec.n_fft, dtype=np.int32),
        "frontend.cosine": np.cos(2 * np.pi * sample / spec.n_fft).astype(np.float32),
        "frontend.window": (0.5 - 0.5 * np.cos(2 * np.pi * sample / spec.n_fft)).astype(np.float32),
        "frontend.kernel_shape": np.array([2 * bins, 1, 1, spec.n_fft], dtype=np.int64),
        "frontend.channel_axes": np.array([1, 2], dtype=np.int64),
        "frontend.bands": mel_bands(spec).T.astype(np.float32)[:, :, None, None],
        "frontend.amin": np.array(spec.amin, dtype=np.float32),
        "frontend.decibels": np.array(10 / np.log(10), dtype=np.float32),
        "frontend.lowest": np.array(-spec.top_db, dtype=np.float32),
    }
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [  # operator, inputs, output, attributes
        ("Mul", ["frequency", "sample"], "cycles", {}),
        ("Add", ["cycles", "phase"], "position", {}),
        ("Mod", ["position", "n_fft"], "index", {}),
        ("Gather", ["cosine", "index"], "waves", {"axis": 0}),
        ("Mul", ["waves", "window"], "windowed", {}),
        ("Reshape", ["windowed", "kernel_shape"], "kernels", {}),
        # Real and imaginary power go through the same bands, which adds them up.
        ("Concat", ["bands", "bands"], "both_bands", {"axis": 1}),
        ("Unsqueeze", ["audio", "channel_axes"], "samples", {}),
        (
            "Conv",
            ["samples", "kernels"],
            "spectrum",
            {
                "kernel_shape": [1, spec.n_fft],
                "strides": [1, spec.hop_length],
                "pads": [0, spec.pad_left, 0, padding - spec.pad_left],
            },
        ),
        ("Mul", ["spectrum", "spectrum"], "power", {}),
        ("Conv", ["power", "both_bands"], "mel_power", {"kernel_shape": [1, 1]}),
        ("Transpose", ["mel_power"], "mel_image", {"perm": [0, 2, 1, 3]}),
        ("Sqrt", ["mel_image"], "magnitude", {}),
        ("Max", ["magnitude", "amin"], "floored", {}),
        ("Log", ["floored"], "log", {}),
        ("Mul", ["log", "decibels"], "level", {}),
        ("ReduceMax", ["level"], "peak", {"axes": [1, 2, 3], "keepdims": 1}),
        ("Sub", ["level", "peak"], "relative_level", {}),
        ("Max", ["relative_level", "lowest"], "melspectrogram", {}),
    ]
    outer = {"audio": "audio", "melspectrogram": model.graph.input[0].name}
    nodes = [
        helper.make_node(
            operator,
            [outer.get(name, f"frontend.{name}") for name in inputs],
            [outer.get(output, f"frontend.{output}")],
            name=f"frontend.{output}",
            **attributes,
        )
        for operator, inputs, output, attributes in steps
    ]
    nodes += list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["N", spec.window_length]))
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    write_metadata(model, {**metadata, "kind": "waveform"})
    return serialise(model)


def mel_bands(spec: FrontEndSpec) -> npt.NDArray[np.float64]:
    """Triangular filters, float64 (n_fft // 2 + 1, n_mels), from power spectrum to mel bands.

    Source: HTK book, section 5.6 (mel(f) = 2595 log10(1 + f / 700)); Slaney, Auditory Toolbox (area
    normalisation).
    """
    nyquist = spec.sample_rate / 2  # Hz
    mels = np.linspace(0, 2595 * np.log10(1 + nyquist / 700), spec.n_mels + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)  # Hz
    frequencies = np.linspace(0, nyquist, spec.n_fft // 2 + 1)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    triangles: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return triangles
