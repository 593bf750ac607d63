"""What a graph computes, read for the native engine: a chain of 3x3 convolutions and what follows each."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error

_MOST_VALUES = 1 << 26  # of one array of weights; more is a graph that wants to fill the memory


@dataclass(frozen=True)
class Layer:
    """A 3x3 'same' convolution; the output of an earlier one added to it; an activation; 2x2 max-pooling."""

    weight: NDArray[np.float32]  # (out, in, 3, 3)
    bias: NDArray[np.float32]  # (out,)
    activation: str = "linear"  # or "relu" or "silu"
    skip: int = 0  # adds the activation of the layer so many places back; 0: nothing
    pool: bool = False


@dataclass(frozen=True)
class Network:
    """A graph from images (N, 1, rows, cols) to the largest value of each channel of the last layer."""

    rows: int
    cols: int
    scale: float  # image * scale + shift is what the first layer takes
    shift: float
    layers: tuple[Layer, ...]
    metadata: Mapping[str, str]  # of the graph

    @property
    def embedding_dim(self) -> int:
        return len(self.layers[-1].bias)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds with a non-zero weight, per window."""
        return sum(pixels * int(np.count_nonzero(layer.weight)) for layer, pixels in self._sizes())

    @property
    def dense_multiply_adds(self) -> int:
        """Multiply-adds of a runtime that does not skip zeros, per window."""
        return sum(pixels * layer.weight.size for layer, pixels in self._sizes())

    def _sizes(self) -> Iterable[tuple[Layer, int]]:
        """Each layer, with the pixels of its map before pooling."""
        rows, cols = self.rows, self.cols
        for layer in self.layers:
            yield layer, rows * cols
            if layer.pool:
                rows, cols = rows // 2, cols // 2


def read_network(path: str | os.PathLike[str]) -> Network:
    """Read the graph at ``path``, whose weights may be stored sparsely.

    Raises
    ------
    EdgeL3Error
        If the graph cannot be read, or is not such a chain in fp32 on images: the message names the first node that
        differs. If it has weights that are NaN or infinite, or outside the file.
    """
    import onnx

    path = Path(path)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # protobuf's exceptions share no base class
        raise EdgeL3Error(f"{path}: cannot be read as an ONNX graph ({error})") from error
    try:
        return _Reader(model).read()
    except Exception as error:  # onnx has no exception of its own for what it cannot make sense of
        raise EdgeL3Error(
            f"{path}: the native engine runs this package's networks in fp32 on log-mel images, and this graph is "
            f"another: {error}. Use provider='cpu'."
        ) from error


class _Reader:
    """Follows the nodes of a graph one after another; ValueError at the first that is not what it should be."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._arrays = _constants(model.graph)
        self._nodes = [node for node in model.graph.node if node.op_type != "Constant"]
        self._next = 0
        self._last = ""  # the output that the next node has to take

    def read(self) -> Network:
        if not self._model.graph.input:
            raise ValueError("it has no input")
        first = self._model.graph.input[0]
        shape = [dim.dim_value for dim in first.type.tensor_type.shape.dim]
        if len(shape) != 4 or shape[1] != 1 or min(shape[2:]) < 1:
            raise ValueError(f"its input {first.name!r} has shape (N, {', '.join(map(str, shape[1:]))})")
        self._last = first.name
        scale, shift = self._number("Mul"), self._number("Add")
        layers: list[Layer] = []
        outputs: dict[str, int] = {}  # activations by name: the layer's number
        while self._is("Conv"):
            layers.append(self._layer(len(layers), outputs))
        if len(layers) < 2:
            self._refuse("Conv")
        self._take("GlobalMaxPool")
        self._take("Flatten", axis=1)
        if self._next < len(self._nodes):
            raise ValueError(f"{_name(self._nodes[self._next])} follows what should be the last node")
        metadata = {entry.key: entry.value for entry in self._model.metadata_props}
        network = Network(shape[2], shape[3], scale, shift, tuple(layers), metadata)
        _check(network)
        return network

    def _layer(self, number: int, outputs: dict[str, int]) -> Layer:
        node = self._take(
            "Conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], group=1, needed=("pads",)
        )
        constants = [self._array(name) for name in node.input[1:]]
        weight = constants[0] if constants else np.zeros(0, np.float32)
        if weight.ndim != 4 or weight.shape[2:] != (3, 3) or not weight.size:
            raise ValueError(f"{_name(node)} has weights of shape {weight.shape}, expected (out, in, 3, 3)")
        bias = constants[1] if len(constants) > 1 else np.zeros(len(weight), np.float32)
        if bias.shape != (len(weight),):
            raise ValueError(f"{_name(node)} has a bias of shape {bias.shape}, expected ({len(weight)},)")
        skip = 0
        if self._is("Add"):
            added = self._take("Add")
            (other,) = [name for name in added.input if name != node.output[0]] or [""]
            if other not in outputs:
                raise ValueError(f"{_name(added)} adds {other!r}, which is no layer's output before pooling")
            skip = number - outputs[other]
        activation = "linear"
        if self._is("Relu"):
            self._take("Relu")
            activation = "relu"
        elif self._is("Sigmoid"):
            before = self._last
            self._take("Sigmoid")
            if before not in self._take("Mul").input:
                self._refuse_last(f"a product with {before!r}")
            activation = "silu"
        outputs[self._last] = number
        pool = self._is("MaxPool")
        if pool:
            del outputs[self._last]
            self._take(
                "MaxPool",
                kernel_shape=[2, 2],
                pads=[0] * 4,
                strides=[2, 2],
                dilations=[1, 1],
                ceil_mode=0,
                storage_order=0,
                needed=("kernel_shape", "strides"),
            )
        return Layer(weight, bias, activation, skip, pool)

    def _is(self, operator: str) -> bool:
        return self._next < len(self._nodes) and self._nodes[self._next].op_type == operator

    def _take(self, operator: str, *, needed: tuple[str, ...] = (), **expected: Any) -> Any:
        """The next node, which must be ``operator`` of the last output with no attribute but those expected."""
        from onnx import helper

        if not self._is(operator):
            self._refuse(operator)
        node = self._nodes[self._next]
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"{_name(node)} is of the domain {node.domain!r}")
        if self._last not in node.input or len(node.output) != 1:
            raise ValueError(f"{_name(node)} does not take {self._last!r}")
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if value == b"NOTSET" and attribute.name == "auto_pad":
                continue
            if attribute.name not in expected or value != expected[attribute.name]:
                raise ValueError(f"{_name(node)} has {attribute.name} {value}")
        missing = set(needed) - {attribute.name for attribute in node.attribute}
        if missing:
            raise ValueError(f"{_name(node)} has no {missing.pop()}")
        self._next += 1
        self._last = node.output[0]
        return node

    def _number(self, operator: str) -> float:
        """The one constant of the next node."""
        before = self._last
        node = self._take(operator)
        others = [self._array(name) for name in node.input if name != before]
        if len(others) != 1 or others[0].size != 1 or others[0].ndim > 4:
            raise ValueError(f"{_name(node)} does not take one number")
        return float(others[0].reshape(-1)[0])

    def _array(self, name: str) -> NDArray[np.float32]:
        if name not in self._arrays:
            raise ValueError(f"{name!r} is not a constant")
        array = self._arrays[name]
        if array.dtype != np.float32:
            raise ValueError(f"{name!r} is {array.dtype}, expected float32")
        return np.ascontiguousarray(array)

    def _refuse(self, operator: str) -> NoReturn:
        if self._next == len(self._nodes):
            raise ValueError(f"it ends where {operator} is expected")
        raise ValueError(f"{_name(self._nodes[self._next])} stands where {operator} is expected")

    def _refuse_last(self, expected: str) -> NoReturn:
        raise ValueError(f"{_name(self._nodes[self._next - 1])} stands where {expected} is expected")


def _name(node: Any) -> str:
    return f"node {node.name or (node.output[0] if node.output else '')!r} ({node.op_type})"


def _constants(graph: Any) -> dict[str, NDArray[Any]]:
    """The arrays that a graph stores, by name; ValueError for those outside the file or too large."""
    from edgel3_onnx.export.convert.compact import constant_arrays

    stored = [*graph.initializer]
    sizes = [tensor.dims for tensor in graph.initializer]
    for sparse in graph.sparse_initializer:
        stored += [sparse.values, sparse.indices]
        sizes += [sparse.dims]
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            stored += [attribute.t, attribute.sparse_tensor.values, attribute.sparse_tensor.indices]
            sizes += [attribute.t.dims, attribute.sparse_tensor.dims]
    for tensor in stored:
        if tensor.data_location or tensor.external_data:
            raise ValueError(f"{tensor.name!r} is stored outside the graph's file")
    if any(math.prod(dims) > _MOST_VALUES for dims in sizes):
        raise ValueError(f"it has an array of more than {_MOST_VALUES} values")
    arrays: dict[str, NDArray[Any]] = constant_arrays(graph)
    return arrays


def _check(network: Network) -> None:
    """Channels must follow from layer to layer, and every number be finite."""
    channels = 1
    for number, layer in enumerate(network.layers, 1):
        if layer.weight.shape[1] != channels:
            raise ValueError(f"convolution {number} takes {layer.weight.shape[1]} channels of {channels}")
        if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
            raise ValueError(f"the weights of convolution {number} contain NaN or infinity")
        channels = len(layer.bias)
    if not np.isfinite([network.scale, network.shift]).all():
        raise ValueError("the input normalisation contains NaN or infinity")
