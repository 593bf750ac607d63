"""Store pruned weights in the sparse form of the ONNX standard, and read them back."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.graph import parse, serialise

if TYPE_CHECKING:
    import onnx

_INDEX_BYTES = 8  # the standard has int64 indices
_MOST_SPARSE_VALUES = 1 << 25  # seven times the largest network, so that a few bytes cannot stand for all memory


def compact(graph: bytes) -> bytes:
    """Store each weight array in its sparse form where that takes fewer bytes; the values do not change.

    The sparse form is a Constant node with a ``sparse_value``. ONNX Runtime makes it dense when it loads the
    graph, so that it runs as fast. A graph's ``sparse_initializer`` field would say the same, but
    onnx.checker refuses those as weights of a Conv.
    """
    from onnx import helper, numpy_helper

    model = parse(graph, "graph")
    kept, constants = [], []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        indices = np.flatnonzero(array)
        if not indices.size or indices.size * (array.itemsize + _INDEX_BYTES) >= array.nbytes:
            kept.append(tensor)
            continue
        sparse = helper.make_sparse_tensor(
            numpy_helper.from_array(array.reshape(-1)[indices]),
            numpy_helper.from_array(indices.astype(np.int64)),
            list(array.shape),
        )
        constants.append(helper.make_node("Constant", [], [tensor.name], name=tensor.name, sparse_value=sparse))
    nodes = constants + list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    return serialise(model)


def expand(model: "onnx.ModelProto") -> None:
    """Undo ``compact`` in place: every constant becomes a dense initializer."""
    from onnx import numpy_helper

    constants = constant_arrays(model.graph)
    nodes = [node for node in model.graph.node if not constants.keys() & set(node.output)]
    del model.graph.node[:], model.graph.initializer[:], model.graph.sparse_initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())


def constant_arrays(graph: "onnx.GraphProto") -> dict[str, npt.NDArray[Any]]:
    """The arrays that a graph stores, by name and dense, however it stores them.

    Raises EdgeL3Error, naming the array, if one cannot be read or is in another file, or if the sparse ones are
    together larger than any network of this package.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    room = _MOST_SPARSE_VALUES
    for name, tensor in _stored(graph):
        try:
            if hasattr(tensor, "values"):
                room -= math.prod(tensor.dims)
                arrays[name] = _dense(tensor, room)
            else:
                arrays[name] = _array(tensor)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise EdgeL3Error(f"{name}: cannot be read ({error})") from error
    return arrays


def _stored(graph: "onnx.GraphProto") -> Iterator[tuple[str, Any]]:
    """Name and TensorProto or SparseTensorProto of what a graph stores as initializers and Constant nodes."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, sparse
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "sparse_value":
                    yield node.output[0], attribute.sparse_tensor
                elif attribute.name == "value":
                    yield node.output[0], attribute.t


def _array(tensor: "onnx.TensorProto") -> npt.NDArray[Any]:
    from onnx import numpy_helper
    from onnx.external_data_helper import uses_external_data

    if uses_external_data(tensor):
        raise ValueError("it is in another file; save the graph as one file")
    return numpy_helper.to_array(tensor)


def _dense(sparse: "onnx.SparseTensorProto", room: int) -> npt.NDArray[Any]:
    if room < 0 or min(sparse.dims, default=1) < 1:
        raise ValueError(f"a sparse array of shape {tuple(sparse.dims)}")
    values, indices = _array(sparse.values), _array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), dtype=values.dtype)
    if indices.ndim == 2:  # one row of coordinates per value instead of one flat position
        indices = np.ravel_multi_index(tuple(indices.T), dense.shape)
    if values.shape != indices.shape or (indices.size and not 0 <= indices.min() <= indices.max() < dense.size):
        raise ValueError(f"indices that do not fit a sparse array of shape {dense.shape}")
    dense.reshape(-1)[indices] = values
    return dense
