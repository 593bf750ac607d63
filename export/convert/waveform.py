"""Put the front end in front of a network: a graph from waveform to embedding, of standard operators only.

STFT and DFT operators are left out because few providers run them, float64 because GPUs and phones do without it.
Yet a recording sampled up to 48 kHz has bands 160 dB below its loudest, which a float32 sum does not resolve. So
the spectrum is a discrete Fourier transform in two stages of short sums (Cooley, Tukey 1965; n_fft = N1 N2), each
a matrix product whose factors are split into a coarse part of few bits and the fine rest (Dekker 1971): the
products and sums of coarse parts are exact in float32, and all others are smaller by 2^-7 and more.

The matrices (3 MB at 48 kHz) are not stored but computed, from one period of a cosine and from the two values per
frequency that the mel bands have; ONNX Runtime does that once, when it loads the graph.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.graph import parse, read_metadata, serialise, write_metadata
from edgel3_onnx.export.convert.kernels import mel_bands
from edgel3_onnx.spec import FrontEndSpec

# Bits that coarse (matrix, data) keep, of the largest value possible. A sum of the first stage is up to N1 / 2 <= 2^5
# times the largest product (a half is the mean of the window), of the second N2 = 2^5 times, and the data's step can
# be 3/4 of what is asked for: less than 18 + 5 + 1 = 24 bits, as many as float32 has. The second stage's data are
# mostly far below the largest value possible, so that they get more of the bits.
_FIRST_BITS = (8, 10)
_SECOND_BITS = (7, 11)
_SHIFT = 1.5 * 2**23  # where float32's step is 1; and 1.5, so that negative values are rounded alike


def add_front_end(graph: bytes) -> bytes:
    """Turn a graph of kind "mel", of any network and precision, into one of kind "waveform".

    Input ``audio`` float32 (N, sample_rate), one second each, full scale = 1; outputs as before. The front
    end computes in float32 whatever the network's precision: its power spectrum spans 160 dB.

    Raises EdgeL3Error if ``graph`` has no metadata of this package or is not of kind "mel".
    """
    from onnx import TensorProto, helper

    model = parse(graph, "graph")
    metadata = read_metadata(model, "graph")
    if metadata is None or metadata.kind != "mel":
        found = "no metadata" if metadata is None else f"kind {metadata.kind!r}"
        raise EdgeL3Error(f"a front end goes in front of a graph of kind 'mel', this one has {found}")
    spec = metadata.frontend
    front_end = _Builder()
    _level(front_end, _mel_power(front_end, spec, _spectrum(front_end, spec)), spec, model.graph.input[0].name)
    nodes = front_end.nodes + list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["N", spec.window_length]))
    model.graph.initializer.extend(front_end.initializers)
    write_metadata(model, dataclasses.replace(metadata, kind="waveform"))
    return serialise(model)


@dataclass
class _Builder:
    """Collects the nodes and constants of the front end; names begin with "frontend."."""

    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def __call__(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        from onnx import helper

        name = f"frontend.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [to or name], name=name, **attributes))
        return to or name

    def constant(self, values: Any, dtype: npt.DTypeLike) -> str:
        from onnx import numpy_helper

        name = f"frontend.constant.{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def reshape(self, tensor: str, *shape: int) -> str:
        """0 keeps a dimension."""
        return self("Reshape", tensor, self.constant(shape, np.int64))

    def split(self, high: str, low: str, shift: str) -> tuple[str, str]:
        """high + low (or high alone) -> coarse + fine; coarse is a multiple of float32's step just below ``shift``."""
        coarse = self("Sub", self("Add", high, shift), shift)
        rest = self("Sub", high, coarse)
        return coarse, self("Add", rest, low) if low else rest

    def product(self, matrix: tuple[str, str], data: tuple[str, str]) -> tuple[str, str]:
        """Product of two (coarse, fine), as high + low; high is exact."""
        low = self("MatMul", matrix[1], data[0]), self("MatMul", self("Add", *matrix), data[1])
        return self("MatMul", matrix[0], data[0]), self("Add", *low)


def _factors(spec: FrontEndSpec) -> tuple[int, int]:
    """N1, N2 with n_fft = N1 N2; sample n = N2 n1 + n2, frequency bin k = k1 + N1 k2."""
    second = 32
    return spec.n_fft // second, second


def _spectrum(front_end: _Builder, spec: FrontEndSpec) -> str:
    """Windowed Fourier transform (N, N1 / 2 + 1, 2 N2, n_frames): k1; real and imaginary part, k2; frame.

    The other k1 would give the complex conjugates of these bins.
    """
    first, second = _factors(spec)
    half = first // 2 + 1
    period = np.cos(2 * np.pi * np.arange(spec.n_fft) / spec.n_fft)
    high = np.round(period * 4096) / 4096  # sums of a few of these are exact
    cosine = [front_end.constant(part, np.float32) for part in (high, period - high)]

    peak = front_end("ReduceMax", front_end("Abs", "audio"), axes=[1], keepdims=1)
    peak = front_end.reshape(peak, 0, 1, 1, 1)

    def coarse_and_fine(high: str, low: str, largest: float, bits: int, size: str = "") -> tuple[str, str]:
        """Split a tensor of values up to ``largest`` times ``size`` (1 if not given) at so many bits."""
        shift = front_end.constant(_SHIFT * largest / 2**bits, np.float32)
        return front_end.split(high, low, front_end("Mul", size, shift) if size else shift)

    matrix = coarse_and_fine(*_first_matrix(front_end, spec, cosine), 1, _FIRST_BITS[0])
    frames = coarse_and_fine(_frames(front_end, spec), "", 1, _FIRST_BITS[1], peak)
    transform = front_end.product(matrix, frames)  # (N, N2, 2 half, n_frames)
    matrix = coarse_and_fine(*_second_matrix(front_end, spec, cosine), 1, _SECOND_BITS[0])
    parts = []
    for part in coarse_and_fine(*transform, first / 2, _SECOND_BITS[1], peak):
        part = front_end.reshape(part, 0, second, 2, half, spec.n_frames)
        part = front_end("Transpose", part, perm=[0, 3, 2, 1, 4])
        parts.append(front_end.reshape(part, 0, half, 2 * second, spec.n_frames))
    return front_end("Add", *front_end.product(matrix, (parts[0], parts[1])))


def _frames(front_end: _Builder, spec: FrontEndSpec) -> str:
    """Frames of the audio (N, N2, N1, n_frames): n2, n1; frame.

    With the audio in columns of one hop each, a hop's worth of all frames is n_frames neighbouring columns.
    """
    first, second = _factors(spec)
    hops = -(-spec.n_fft // spec.hop_length)
    columns = spec.n_frames + hops - 1
    pad_right = columns * spec.hop_length - spec.window_length - spec.pad_left
    padded = front_end("Pad", "audio", front_end.constant([0, spec.pad_left, 0, pad_right], np.int64))
    table = front_end("Transpose", front_end.reshape(padded, 0, columns, spec.hop_length), perm=[0, 2, 1])
    axes = front_end.constant([1, 2], np.int64)
    pieces = []
    for hop in range(hops):
        begin = front_end.constant([0, hop], np.int64)
        rows = min(spec.hop_length, spec.n_fft - hop * spec.hop_length)
        end = front_end.constant([rows, hop + spec.n_frames], np.int64)
        pieces.append(front_end("Slice", table, begin, end, axes))
    frames = front_end.reshape(front_end("Concat", *pieces, axis=1), 0, first, second, spec.n_frames)
    return front_end("Transpose", frames, perm=[0, 2, 1, 3])


def _first_matrix(front_end: _Builder, spec: FrontEndSpec, cosine: list[str]) -> tuple[str, str]:
    """Windowed transform over n1, high and low (N2, 2 half, N1): n2; real and imaginary part, k1; n1.

    Hann window times wave is a sum of waves: (0.5 - 0.5 cos v) cos u = 0.5 cos u - 0.25 cos(u + v) - 0.25 cos(u - v).
    """
    first, second = _factors(spec)
    k1 = np.arange(first // 2 + 1)
    row = np.concatenate([k1, k1])[:, None] * second
    quarter = np.repeat([0, spec.n_fft // 4], len(k1))[:, None]  # cos(u + pi / 2) = -sin u, the imaginary part
    sign = np.array([0, 1, spec.n_fft - 1]).reshape(3, 1, 1, 1)
    wave = front_end("Mul", front_end.constant(row, np.int32), front_end.constant(np.arange(first), np.int32))
    wave = front_end("Add", wave, front_end.constant(quarter, np.int32))
    sample = front_end.constant(second * np.arange(first), np.int32)
    sample = front_end("Add", front_end.constant(np.arange(second)[:, None, None], np.int32), sample)
    window = front_end("Mul", sample, front_end.constant(sign, np.int32))
    index = front_end("Add", window, wave)
    index = front_end("Mod", index, front_end.constant(spec.n_fft, np.int32))
    weights = front_end.constant(np.array([0.5, -0.25, -0.25]).reshape(3, 1, 1, 1), np.float32)
    axis = front_end.constant([0], np.int64)
    terms = (front_end("Mul", front_end("Gather", part, index), weights) for part in cosine)
    high, low = (front_end("ReduceSum", term, axis, keepdims=0) for term in terms)
    return high, low


def _second_matrix(front_end: _Builder, spec: FrontEndSpec, cosine: list[str]) -> tuple[str, str]:
    """Transform over n2 and the twiddle factors, high and low (half, 2 N2, 2 N2): k1; part, k2; part, n2."""
    first, second = _factors(spec)
    half = first // 2 + 1
    k1, k2 = np.arange(half).reshape(-1, 1, 1, 1, 1), np.arange(second).reshape(-1, 1, 1)
    # (re + i im) exp(-iu) = re cos u + im cos(u - pi / 2) + i (re cos(u + pi / 2) + im cos u)
    quarter = np.array([[0, 3], [1, 0]]).reshape(2, 1, 2, 1) * (spec.n_fft // 4)
    frequency = front_end("Add", front_end.constant(k1, np.int32), front_end.constant(first * k2, np.int32))
    wave = front_end("Mul", frequency, front_end.constant(np.arange(second), np.int32))
    index = front_end("Add", wave, front_end.constant(quarter, np.int32))
    index = front_end("Mod", index, front_end.constant(spec.n_fft, np.int32))
    waves = (front_end("Gather", part, index) for part in cosine)
    high, low = (front_end.reshape(wave, half, 2 * second, 2 * second) for wave in waves)
    return high, low


def _mel_power(front_end: _Builder, spec: FrontEndSpec, spectrum: str) -> str:
    """Power per mel band (N, n_mels, n_frames)."""
    first, second = _factors(spec)
    half = first // 2 + 1
    bins = np.arange(half)[:, None] + first * np.arange(second)
    bins = np.minimum(bins, spec.n_fft - bins).ravel()
    # The bins with k1 = 0 and N1 / 2 and their complex conjugates are both there.
    weights = (mel_bands(spec)[bins] / np.bincount(bins)[bins, None]).T
    power = front_end.reshape(front_end("Mul", spectrum, spectrum), 0, half, 2, second * spec.n_frames)
    power = front_end("ReduceSum", power, front_end.constant([2], np.int64), keepdims=0)
    power = front_end.reshape(power, 0, half * second, spec.n_frames)
    return front_end("MatMul", _two_per_column(front_end, weights), power)


def _two_per_column(front_end: _Builder, matrix: npt.NDArray[np.float64]) -> str:
    """A matrix with at most two values per column, as neighbouring triangles have, put together at load."""
    rows = np.argsort(matrix, axis=0)[-2:]
    zeros = front_end("ConstantOfShape", front_end.constant(matrix.shape, np.int64))
    values = front_end.constant(np.take_along_axis(matrix, rows, axis=0), np.float32)
    return front_end("ScatterElements", zeros, front_end.constant(rows, np.int32), values, axis=0)


def _level(front_end: _Builder, mel_power: str, spec: FrontEndSpec, image: str) -> None:
    """Magnitude in dB under the window's largest, (N, 1, n_mels, n_frames), named ``image``."""
    power = front_end("Unsqueeze", mel_power, front_end.constant([1], np.int64))
    floored = front_end("Max", front_end("Sqrt", power), front_end.constant(spec.amin, np.float32))
    level = front_end("Mul", front_end("Log", floored), front_end.constant(10 / np.log(10), np.float32))
    relative = front_end("Sub", level, front_end("ReduceMax", level, axes=[1, 2, 3], keepdims=1))
    front_end("Max", relative, front_end.constant(-spec.top_db, np.float32), to=image)
