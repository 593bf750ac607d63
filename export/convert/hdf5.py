"""Read the published Keras HDF5 files: match weights to layers, refuse what does not fit."""

import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert import isolated
from edgel3_onnx.export.convert.kernels import check_kernels
from edgel3_onnx.spec import FRONTENDS, NetworkSpec

if TYPE_CHECKING:
    import h5py

_MOST_NAMES = 1000  # of layers, or of a layer's weights

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


def read_weights(data: bytes, network: NetworkSpec, source_file: str) -> Weights:
    """Read the weights of ``network`` from the uncompressed HDF5 file ``data``.

    Both layouts of Keras are read: a whole saved model (group ``model_weights``) and weights only (at the
    root). Layers are matched by the order of the attribute ``layer_names``, never by name, as
    ``Model.load_weights`` does. The HDF5 library runs in a process of its own, and nothing is read that is not
    stored in the file itself: it may come from anywhere.

    Raises EdgeL3Error, in one line, if the file is no readable HDF5 file of Keras weights, if its layers
    differ from the network's (the first that differs is named, with expected and found shape), if a weight
    is not finite, or if the weights were made for another front end.
    """
    layers = [layer.shapes for layer in _expected_layers(network)]
    stored = isolated.call(_stored_weights, data, network, source_file, source_file=source_file)
    values = np.frombuffer(stored, np.float32)
    arrays = []
    for shape in itertools.chain(*layers):
        arrays.append(values[: math.prod(shape)].reshape(shape))
        values = values[math.prod(shape) :]
    convs = []
    position = 3 + 4  # behind the front end and the input BatchNormalization
    for index in range(len(network.filters)):
        kernel, bias = arrays[position : position + 2]
        position += 2
        batch_norm = None
        if _has_batch_norm(network, index):
            batch_norm = BatchNorm(*arrays[position : position + 4])
            position += 4
        convs.append(ConvLayer(kernel, bias, batch_norm))
    return Weights(BatchNorm(*arrays[3:7]), tuple(convs))


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


def _stored_weights(data: bytes, network: NetworkSpec, source_file: str) -> bytes:
    """All arrays of all layers that have weights, in that order, as float32 in C order, checked."""
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            layers = _read_layers(file, network, source_file)
    except (EdgeL3Error, MemoryError):
        raise
    except Exception as error:  # h5py raises what the damage suggests to it
        reason = " ".join(str(error).split())
        raise EdgeL3Error(f"{source_file}: not a readable HDF5 file of Keras weights ({reason[:200]})") from error
    return b"".join(array.tobytes() for arrays in layers for array in arrays)


def _read_layers(file: "h5py.File", network: NetworkSpec, source_file: str) -> list[list[Array]]:
    """The arrays of every layer that has weights; shapes are compared before any array is read."""
    root = _member(file, "model_weights", source_file) if "model_weights" in file else file
    if "layer_names" not in root.attrs:
        raise EdgeL3Error(f"{source_file}: not a file of Keras weights (no attribute 'layer_names')")
    found = []
    for name in _names(root, "layer_names", source_file):
        group = _member(root, name, source_file)
        weights = _names(group, "weight_names", source_file)
        if weights:
            found.append((name, [_member(group, weight, source_file) for weight in weights]))

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


def _names(group: "h5py.Group", attribute: str, source_file: str) -> list[str]:
    """An attribute's names, which are bytes (Keras with h5py 2) or str."""
    size = group.attrs.get_id(attribute).shape
    if len(size) != 1 or size[0] > _MOST_NAMES:
        raise EdgeL3Error(f"{source_file}: {group.name!r} has {attribute} of shape {size}")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def _member(group: "h5py.Group", path: str, source_file: str) -> Any:
    """What ``path`` leads to within ``group``. Links elsewhere, in the worst case to other files, are refused."""
    import h5py

    member = group
    for name in path.split("/"):
        link = member.get(name, getlink=True)
        if link is None:
            raise KeyError(f"no {name!r} in {member.name!r}")
        if not isinstance(link, h5py.HardLink):
            raise EdgeL3Error(f"{source_file}: {name!r} in {member.name!r} is a link elsewhere")
        member = member[name]
    return member


def _read(dataset: "h5py.Dataset", where: str) -> Array:
    if dataset.external is not None or dataset.is_virtual:
        raise EdgeL3Error(f"{where}: its weights are in another file")
    if dataset.chunks is not None and math.prod(dataset.chunks) > dataset.size:
        raise EdgeL3Error(f"{where}: {dataset.size} weights are stored in chunks of {math.prod(dataset.chunks)}")
    if dataset.dtype.kind != "f":
        raise EdgeL3Error(f"{where}: expected floating-point weights, found {dataset.dtype}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        array: Array = np.asarray(dataset[()], dtype=np.float32)
    if not np.isfinite(array).all():
        raise EdgeL3Error(f"{where}: {int((~np.isfinite(array)).sum())} weights are NaN or infinite")
    return array


def _show(shapes: tuple[tuple[int, ...], ...]) -> str:
    return " + ".join(map(str, shapes))
