"""The pruned network of a graph, as the non-zero weights of each output channel; kept in a file beside the graph."""

import contextlib
import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.atomic import write_bytes
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.spec import FRONTENDS, NETWORKS

logger = logging.getLogger("edgel3_onnx")

FORMAT = 1  # of the file; files of other formats are made anew
SUFFIX = ".sparse-pack"
NETWORK = NETWORKS["sparse"]
FRONTEND = FRONTENDS["sparse"]
POOL_AFTER = (2, 4, 6)  # 2x2 max-pooling follows these convolutions
OPERATORS = (
    ["Mul", "Add"]
    + ["Conv", "Relu", "Conv", "Relu", "MaxPool"] * 3
    + ["Conv", "Relu", "Conv", "GlobalMaxPool", "Flatten"]
)


@dataclass(frozen=True)
class Convolution:
    """The non-zero weights of a 3x3 convolution, output channel by output channel.

    ``index`` is input channel * 9 + kernel row * 3 + kernel column and rises within an output channel, whose
    entries are those from ``indptr[o]`` to ``indptr[o + 1]``.
    """

    cin: int
    indptr: NDArray[np.uint32]  # (cout + 1,)
    index: NDArray[np.uint32]  # (non-zeros,)
    weight: NDArray[np.float32]  # (non-zeros,)
    bias: NDArray[np.float32]  # (cout,)

    @property
    def cout(self) -> int:
        return len(self.bias)

    def check(self) -> None:
        """Raise ValueError unless the C code can read the arrays without leaving them."""
        if not (self.cout and len(self.indptr) == self.cout + 1 and len(self.index) == len(self.weight)):
            raise ValueError("lengths disagree")
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.index) or (np.diff(self.indptr.astype(int)) < 0).any():
            raise ValueError("indptr is not ascending")
        if len(self.index) and self.index.max() >= self.cin * 9:
            raise ValueError("index out of range")
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise ValueError("NaN or infinity")


@dataclass(frozen=True)
class PackedNetwork:
    """What the sparse engine needs of a graph."""

    scale: float  # the input BatchNorm: image * scale + shift
    shift: float
    convolutions: tuple[Convolution, ...]  # 8
    metadata: Mapping[str, str]  # of the graph

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds with a non-zero weight, per window."""
        return sum(len(c.index) * n for c, n in zip(self.convolutions, map_sizes(), strict=True))

    @property
    def dense_multiply_adds(self) -> int:
        """Multiply-adds of a runtime that does not skip zeros, per window."""
        sizes = zip(self.convolutions, map_sizes(), strict=True)
        return sum(c.cin * c.cout * 9 * pixels for c, pixels in sizes)


def map_sizes() -> list[int]:
    """Pixels of each convolution's output map."""
    rows, columns, sizes = FRONTEND.n_mels, FRONTEND.n_frames, []
    for number in range(1, 9):
        sizes.append(rows * columns)
        if number in POOL_AFTER:
            rows, columns = rows // 2, columns // 2
    return sizes


def load(path: str | os.PathLike[str]) -> PackedNetwork:
    """The packed network of the graph at ``path``: from the file beside it, or from the graph, writing that file.

    The file is used only if it was made from exactly this graph. That it cannot be written is no error.

    Raises
    ------
    EdgeL3Error
        If the graph cannot be read, is not the network ``sparse`` in fp32 on log-mel images, or has weights that
        are NaN or infinite.
    """
    path = Path(path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
    beside = path.with_name(path.name + SUFFIX)
    with contextlib.suppress(OSError):
        try:
            return unpack(beside.read_bytes(), digest)
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            logger.debug("%s: not used (%s)", beside, error)
    network = read_graph(path)
    try:
        write_bytes(beside, pack(network, digest))
    except EdgeL3Error as error:
        logger.debug("not written: %s", error)
    return network


def pack(network: PackedNetwork, digest: str) -> bytes:
    """The file's contents: a NumPy archive of the arrays and of a JSON header with the graph's ``digest``."""
    header = {
        "format": FORMAT,
        "graph_sha256": digest,
        "scale": network.scale,
        "shift": network.shift,
        "cin": [c.cin for c in network.convolutions],
        "metadata": dict(network.metadata),
    }
    arrays: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for number, c in enumerate(network.convolutions, 1):
        for name in ("indptr", "index", "weight", "bias"):
            arrays[f"{name}{number}"] = getattr(c, name)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes, digest: str) -> PackedNetwork:
    """The inverse of ``pack``; ValueError (or what NumPy raises for it) if ``data`` is damaged or of another graph."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != FORMAT or header["graph_sha256"] != digest:
            raise ValueError("made by another version or from another graph")
        convolutions = []
        for number, cin in enumerate(header["cin"], 1):
            indptr, index = (np.ascontiguousarray(arrays[f"{n}{number}"], np.uint32) for n in ("indptr", "index"))
            weight, bias = (np.ascontiguousarray(arrays[f"{n}{number}"], np.float32) for n in ("weight", "bias"))
            convolutions.append(Convolution(cin, indptr, index, weight, bias))
    _check_chain(convolutions)
    return PackedNetwork(header["scale"], header["shift"], tuple(convolutions), header["metadata"])


def _check_chain(convolutions: list[Convolution]) -> None:
    """Raise ValueError unless these are the eight convolutions of the network, with no more channels than it has."""
    if len(convolutions) != len(NETWORK.filters):
        raise ValueError(f"{len(convolutions)} convolutions, expected {len(NETWORK.filters)}")
    cin = 1
    for number, (c, filters) in enumerate(zip(convolutions, NETWORK.filters, strict=True), 1):
        if c.cin != cin:
            raise ValueError(f"conv{number} has {c.cin} input channels, expected {cin}")
        if c.cout > filters or (number == len(NETWORK.filters) and c.cout != filters):
            raise ValueError(f"conv{number} has {c.cout} output channels, expected {filters}")
        try:
            c.check()
        except ValueError as error:
            raise ValueError(f"the weights of conv{number} contain {error}") from error
        cin = c.cout


def read_graph(path: Path) -> PackedNetwork:
    """Read the mel graph of the network ``sparse``; dead channels may have been removed, weights be stored sparsely.

    Raises
    ------
    EdgeL3Error
        As ``load``; the message names the first node that differs.
    """
    import onnx

    try:
        model = onnx.load(os.fspath(path))
    except Exception as error:  # protobuf's and onnx's exceptions share no base class
        raise EdgeL3Error(f"{path}: cannot be read as an ONNX graph ({error})") from error
    try:
        return _from_model(model)
    except ValueError as error:
        raise EdgeL3Error(
            f"{path}: the sparse engine runs the network 'sparse' in fp32 on log-mel images, and this graph is "
            f"another: {error}. Use provider='cpu'."
        ) from error


def _from_model(model: Any) -> PackedNetwork:
    from edgel3_onnx.export.convert.compact import constant_arrays, expand

    expand(model)
    tensors = constant_arrays(model.graph)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    if shape[1:] != [1, FRONTEND.n_mels, FRONTEND.n_frames]:
        raise ValueError(f"its input has shape (N, {', '.join(map(str, shape[1:]))})")
    nodes = model.graph.node
    last = model.graph.input[0].name
    values, convolutions = [], []
    for node, expected in zip(nodes, OPERATORS, strict=False):
        if node.op_type != expected or last not in node.input:
            raise ValueError(f"node {node.name or node.output[0]!r} is {node.op_type}, expected {expected} of {last!r}")
        others = [_tensor(tensors, name) for name in node.input if name != last]
        last = node.output[0]
        if expected in ("Mul", "Add"):
            if len(others) != 1 or others[0].size != 1:
                raise ValueError(f"node {node.name!r} does not take one number")
            values.append(float(others[0].reshape(-1)[0]))
        elif expected == "Conv":
            _check_attributes(node, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], group=1)
            convolutions.append(_convolution(node.name, *others))
        elif expected == "MaxPool":
            _check_attributes(node, kernel_shape=[2, 2], pads=[0] * 4, strides=[2, 2], dilations=[1, 1], ceil_mode=0)
    if len(nodes) != len(OPERATORS):
        raise ValueError(f"it has {len(nodes)} nodes, expected {len(OPERATORS)}")
    _check_chain(convolutions)
    if not np.isfinite(values).all():
        raise ValueError("the input normalisation contains NaN or infinity")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return PackedNetwork(values[0], values[1], tuple(convolutions), metadata)


def _tensor(tensors: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    if name not in tensors:
        raise ValueError(f"{name!r} is not a constant")
    if tensors[name].dtype != np.float32:
        raise ValueError(f"{name!r} is {tensors[name].dtype}, expected float32")
    return tensors[name]


def _check_attributes(node: Any, **expected: Any) -> None:
    """Every attribute must have the value expected; strides and the like that are absent have these as defaults."""
    from onnx import helper

    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name in expected and value != expected[attribute.name]:
            raise ValueError(f"{node.op_type} {node.name!r} has {attribute.name} {value}")
    needed = {"Conv": {"pads"}, "MaxPool": {"strides"}}[node.op_type]
    missing = needed - {attribute.name for attribute in node.attribute}
    if missing:
        raise ValueError(f"{node.op_type} {node.name!r} has no {missing.pop()}")


def _convolution(name: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> Convolution:
    """Pack ``weight`` (cout, cin, 3, 3) and ``bias`` (cout,)."""
    if weight.ndim != 4 or weight.shape[2:] != (3, 3):
        raise ValueError(f"{name!r} has weights of shape {weight.shape}, expected (out, in, 3, 3)")
    cout, cin = weight.shape[:2]
    bias = np.zeros(cout, np.float32) if bias is None else bias
    if bias.shape != (cout,):
        raise ValueError(f"{name!r} has a bias of shape {bias.shape}, expected ({cout},)")
    rows = weight.reshape(cout, -1)
    channel, index = np.nonzero(rows)
    indptr = np.zeros(cout + 1, np.uint32)
    np.cumsum(np.bincount(channel, minlength=cout), out=indptr[1:], dtype=np.uint32)
    return Convolution(cin, indptr, index.astype(np.uint32), rows[channel, index], np.ascontiguousarray(bias))
