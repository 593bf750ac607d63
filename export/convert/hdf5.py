"""Read the published Keras HDF5 files: decompress, match weights to layers, refuse what does not fit."""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.kernels import check_kernels
from edgel3_onnx.spec import FRONTENDS, NetworkSpec

if TYPE_CHECKING:
    import h5py

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
# The largest published file, a dense L3 audio network with its front end's kernels, is some 36 MB
# uncompressed.
_MAX_BYTES = 256 << 20

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BatchNorm:
    """Inference parameters of a BatchNormalization layer, each float32 (channels,)."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array

    def scale_and_shift(self, epsilon: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The same layer as ``x * scale + shift``, each float64 (channels,)."""
        scale = self.gamma.astype(np.float64) / np.sqrt(self.variance.astype(np.float64) + epsilon)
        return scale, self.beta - self.mean * scale


@dataclass(frozen=True)
class ConvLayer:
    """One convolution: ``kernel`` float32 (3, 3, in, out), ``bias`` float32 (out,), its BatchNorm or None."""

    kernel: Array
    bias: Array
    batch_norm: BatchNorm | None


@dataclass(frozen=True)
class Weights:
    """The weights of one network, as Keras stores them; those of the front end are in ``kernels``."""

    input_batch_norm: BatchNorm
    convs: tuple[ConvLayer, ...]


@dataclass(frozen=True)
class _Expected:
    """A layer that the network has: what to call it in a message, and the shapes of its arrays."""

    title: str
    shapes: tuple[tuple[int, ...], ...]


def decompress(data: bytes, source_file: str, max_bytes: int = _MAX_BYTES) -> bytes:
    """Return ``data`` gunzipped if it is a gzip stream, else unchanged.

    Raises EdgeL3Error if the stream is truncated or corrupt, or if it, or plain ``data``, exceeds
    ``max_bytes``.
    """
    if not data.startswith(_GZIP_MAGIC):
        if len(data) > max_bytes:
            raise EdgeL3Error(f"{source_file}: {len(data)} bytes, more than the {max_bytes} allowed")
        return data
    pieces: list[bytes] = []
    total = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(_CHUNK):
                total += len(piece)
                if total > max_bytes:
                    raise EdgeL3Error(f"{source_file}: more than the {max_bytes} bytes allowed when unpacked")
                pieces.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise EdgeL3Error(f"{source_file}: truncated or corrupt gzip file ({error})") from error
    return b"".join(pieces)


def read_weights(data: bytes, network: NetworkSpec, source_file: str) -> Weights:
    """Read the weights of ``network`` from the uncompressed HDF5 file ``data``.

    Both layouts of Keras are read: a whole saved model (group ``model_weights``) and weights only (at the
    root). Layers are matched by the order of the attribute ``layer_names``, never by name, as
    ``Model.load_weights`` does.

    Raises EdgeL3Error, in one line, if the file is no readable HDF5 file of Keras weights, if its layers
    differ from the network's (the first that differs is named, with expected and found shape), or if a weight
    is not finite.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            arrays = _read_layers(file, network, source_file)
    except EdgeL3Error:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise EdgeL3Error(f"{source_file}: not a readable HDF5 file of Keras weights ({reason})") from error
    layers = iter(arrays[1:])
    input_batch_norm = BatchNorm(*next(layers))
    convs = []
    for index in range(len(network.filters)):
        kernel, bias = next(layers)
        batch_norm = BatchNorm(*next(layers)) if _has_batch_norm(network, index) else None
        convs.append(ConvLayer(kernel, bias, batch_norm))
    return Weights(input_batch_norm, tuple(convs))


def _has_batch_norm(network: NetworkSpec, index: int) -> bool:
    return index < len(network.filters) - 1 or network.final_activation


def _expected_layers(network: NetworkSpec) -> Iterator[_Expected]:
    """The layers with weights, in the order in which Keras stores them."""
    frontend = FRONTENDS[network.frontend]
    bins = frontend.n_fft // 2 + 1
    dft = (frontend.n_fft, 1, 1, bins)
    yield _Expected("front end", (dft, dft, (bins, frontend.n_mels)))
    yield _Expected("input BatchNormalization", ((1,),) * 4)
    channels = 1
    for index, filters in enumerate(network.filters):
        yield _Expected(f"convolution {index + 1}", ((3, 3, channels, filters), (filters,)))
        if _has_batch_norm(network, index):
            yield _Expected(f"BatchNormalization {index + 1}", ((filters,),) * 4)
        channels = filters


def _read_layers(file: "h5py.File", network: NetworkSpec, source_file: str) -> list[list[Array]]:
    """The arrays of every layer that has weights; shapes are compared before any array is read."""
    root = file.get("model_weights", file)
    if "layer_names" not in root.attrs:
        raise EdgeL3Error(f"{source_file}: not a file of Keras weights (no attribute 'layer_names')")
    found = []
    for name in map(_text, root.attrs["layer_names"]):
        group = root[name]
        if len(group.attrs["weight_names"]):
            found.append((name, [group[_text(weight)] for weight in group.attrs["weight_names"]]))

    expected = list(_expected_layers(network))
    for number, (want, (name, datasets)) in enumerate(zip(expected, found, strict=False), 1):
        shapes = tuple(dataset.shape for dataset in datasets)
        if shapes != want.shapes:
            raise EdgeL3Error(
                f"{source_file}: layer {number}, {name!r}, does not fit: "
                f"expected {want.title} of shape {_show(want.shapes)}, found {_show(shapes)}"
            )
    if len(found) < len(expected):
        missing = expected[len(found)]
        raise EdgeL3Error(
            f"{source_file}: layer {len(found) + 1} is missing: expected {missing.title} of shape "
            f"{_show(missing.shapes)}, found {len(found)} layers with weights instead of {len(expected)}"
        )
    if len(found) > len(expected):
        name, datasets = found[len(expected)]
        raise EdgeL3Error(
            f"{source_file}: layer {len(expected) + 1}, {name!r}, is one too many: expected {len(expected)} "
            f"layers with weights, found {len(found)}"
        )
    arrays = []
    for number, (want, (name, datasets)) in enumerate(zip(expected, found, strict=True), 1):
        where = f"{source_file}: layer {number}, {name!r} ({want.title})"
        arrays.append([_read(dataset, where) for dataset in datasets])
        if number == 1:
            check_kernels(arrays[-1], FRONTENDS[network.frontend], where)
        if "BatchNormalization" in want.title and (arrays[-1][3] < 0).any():
            raise EdgeL3Error(f"{where}: the variance is negative")
    return arrays


def _read(dataset: "h5py.Dataset", where: str) -> Array:
    if dataset.dtype.kind != "f":
        raise EdgeL3Error(f"{where}: expected floating-point weights, found {dataset.dtype}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        array: Array = np.asarray(dataset[()], dtype=np.float32)
    if not np.isfinite(array).all():
        raise EdgeL3Error(f"{where}: {int((~np.isfinite(array)).sum())} weights are NaN or infinite")
    return array


def _text(name: Any) -> str:
    """HDF5 attributes hold names as bytes (Keras with h5py 2) or as str."""
    return name.decode() if isinstance(name, bytes) else str(name)


def _show(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " + ".join(map(str, shapes))
