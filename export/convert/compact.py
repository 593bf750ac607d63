"""Store pruned weights in the sparse form of the ONNX standard, and read them back."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.export.convert.graph import parse, serialise

if TYPE_CHECKING:
    import onnx

_INDEX_BYTES = 8  # the standard has int64 indices


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
    nodes = [node for node in model.graph.node if node.output[0] not in constants]
    del model.graph.node[:], model.graph.initializer[:], model.graph.sparse_initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())


def constant_arrays(graph: "onnx.GraphProto") -> dict[str, npt.NDArray[Any]]:
    """The arrays that a graph stores, by name and dense, however it stores them."""
    from onnx import numpy_helper

    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays.update((sparse.values.name, _dense(sparse)) for sparse in graph.sparse_initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "sparse_value":
                    arrays[node.output[0]] = _dense(attribute.sparse_tensor)
                elif attribute.name == "value":
                    arrays[node.output[0]] = numpy_helper.to_array(attribute.t)
    return arrays


def _dense(sparse: "onnx.SparseTensorProto") -> npt.NDArray[Any]:
    from onnx import numpy_helper

    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), dtype=values.dtype)
    if indices.ndim == 2:  # one row of coordinates per value instead of one flat position
        indices = np.ravel_multi_index(tuple(indices.T), dense.shape)
    dense.reshape(-1)[indices] = values
    return dense
