"""Arrays as ONNX stores them, dense or sparse, in initializers or constants: read alike, or refused if damaged."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgel3_onnx import EdgeL3Error
from edgel3_onnx.export.convert.compact import compact, constant_arrays, expand
from edgel3_onnx.export.convert.graph import parse

ARRAY = np.array([[0, 1.5, 0], [0, 0, -2]], np.float32)


def sparse(indices, values=(1.5, -2), shape=(2, 3)):
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "w"),
        numpy_helper.from_array(np.array(indices, np.int64)),
        list(shape),
    )


def graph(nodes=(), initializers=(), sparse_initializers=()):
    return helper.make_graph(
        list(nodes), "g", [], [], initializer=list(initializers), sparse_initializer=list(sparse_initializers)
    )


def constant(**value):
    return helper.make_node("Constant", [], ["w"], **value)


@pytest.mark.parametrize(
    "stored",
    [
        graph(initializers=[numpy_helper.from_array(ARRAY, "w")]),
        graph(sparse_initializers=[sparse([1, 5])]),
        graph(sparse_initializers=[sparse([[0, 1], [1, 2]])]),
        graph([constant(sparse_value=sparse([1, 5]))]),
        graph([constant(sparse_value=sparse([[0, 1], [1, 2]]))]),
        graph([constant(value=numpy_helper.from_array(ARRAY))]),
    ],
    ids=["initializer", "sparse", "sparse by coordinates", "constant", "constant by coordinates", "dense constant"],
)
def test_an_array_is_the_same_however_it_is_stored(stored):
    (name,) = constant_arrays(stored)
    assert name == "w"
    np.testing.assert_array_equal(constant_arrays(stored)[name], ARRAY)


def test_what_is_no_stored_array_is_passed_over():
    other = helper.make_node("Relu", ["a"], ["b"])
    number = helper.make_node("Constant", [], ["n"], value_float=1.0)
    nobody = constant(value=numpy_helper.from_array(ARRAY))
    del nobody.output[:]
    assert constant_arrays(graph([other, number, nobody])) == {}


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (sparse([1, 6]), r"indices that do not fit a sparse array of shape \(2, 3\)"),
        (sparse([-1, 5]), r"indices that do not fit a sparse array of shape \(2, 3\)"),
        (sparse([1]), r"indices that do not fit a sparse array of shape \(2, 3\)"),
        (sparse([[0, 3], [1, 2]]), ".*"),
        (sparse([], (), (2, 0)), r"a sparse array of shape \(2, 0\)"),
        (sparse([1, 5], shape=(2**13, 2**13)), r"a sparse array of shape \(8192, 8192\)"),
    ],
)
def test_what_does_not_fit_is_refused(stored, reason):
    with pytest.raises(EdgeL3Error, match=rf"^w: cannot be read \({reason}\)$"):
        constant_arrays(graph(sparse_initializers=[stored]))


def test_many_arrays_are_no_larger_together():
    half = [sparse([1, 5], shape=(2**12, 2**12)) for _ in range(3)]
    for number, each in enumerate(half):
        each.values.name = str(number)
    assert len(constant_arrays(graph(sparse_initializers=half[:1]))) == 1
    with pytest.raises(EdgeL3Error, match=r"^2: cannot be read \(a sparse array of shape \(4096, 4096\)\)$"):
        constant_arrays(graph(sparse_initializers=half))


def test_arrays_of_other_files_are_refused():
    tensor = numpy_helper.from_array(ARRAY, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    with pytest.raises(EdgeL3Error, match=r"^w: cannot be read \(it is in another file; save the graph as one file\)$"):
        constant_arrays(graph(initializers=[tensor]))


def test_what_is_made_sparse_is_smaller_and_the_same():
    pruned = np.zeros((40, 40), np.float32)
    pruned[3, 4:9] = range(1, 6)
    full = np.arange(1, 101, dtype=np.float32)
    zeros = np.zeros(9, np.float32)
    arrays = {"p": pruned, "f": full, "z": zeros}
    before = graph(
        [helper.make_node("Relu", ["p"], ["r"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(before)
    made = compact(model.SerializeToString())
    assert len(made) < len(model.SerializeToString()) / 5
    after = parse(made, "graph")
    assert [each.name for each in after.graph.initializer] == ["f", "z"]
    expand(after)
    assert [each.op_type for each in after.graph.node] == ["Relu"]
    found = {each.name: numpy_helper.to_array(each) for each in after.graph.initializer}
    for name, expected in arrays.items():
        np.testing.assert_array_equal(found[name], expected)
