"""Which graphs the native engine runs, and what it says about the others."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import engine_oracle as oracle
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines.session import open_engine
from edgel3_onnx.export.convert.compact import compact

NETWORK = oracle.network(
    16, 12, (4, 6, 6, 6), activations=["relu", "silu", "silu", "linear"], pools=(1, 3), skips={3: 1}, density=0.4
)


def assert_equal(found, expected):
    for a, b in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)
        np.testing.assert_array_equal(a.bias, b.bias)
        assert (a.activation, a.skip, a.pool) == (b.activation, b.skip, b.pool)
    assert (found.rows, found.cols) == (expected.rows, expected.cols)
    assert (np.float32(found.scale), found.shift) == (np.float32(expected.scale), expected.shift)


def test_reads_what_the_graph_holds(tmp_path):
    def describe(model):
        helper.set_model_props(model, {"key": "value"})

    found = read_network(oracle.write_graph(tmp_path / "g.onnx", NETWORK, edit=describe))
    assert_equal(found, NETWORK)
    assert found.metadata == {"key": "value"} and found.embedding_dim == 6


def test_attributes_that_say_what_is_so_anyway(tmp_path):
    def edit(model):
        set_attribute("conv2", auto_pad="NOTSET", strides=[1, 1], dilations=[1, 1], group=1)(model)
        set_attribute("pool1", auto_pad="NOTSET", pads=[0] * 4, dilations=[1, 1], ceil_mode=0, storage_order=0)(model)
        for name in ("scale", "shift"):
            replace_array(name, lambda number: number.reshape(1, 1, 1, 1))(model)

    assert_equal(read_network(oracle.write_graph(tmp_path / "g.onnx", NETWORK, edit=edit)), NETWORK)


def test_sparse_initializers(tmp_path):
    assert_equal(read_network(oracle.write_graph(tmp_path / "g.onnx", NETWORK, sparse_initializers=True)), NETWORK)


def test_compact_graphs(tmp_path):
    """As the exporter stores pruned weights on request."""
    network = oracle.network(16, 12, (32, 32, 32), density=0.05)
    path = oracle.write_graph(tmp_path / "g.onnx", network)
    path.write_bytes(compact(path.read_bytes()))
    assert b"sparse_value" in path.read_bytes()
    assert_equal(read_network(path), network)


def test_a_convolution_without_bias_has_one_of_zero(tmp_path):
    def edit(model):
        (node,) = [node for node in model.graph.node if node.name == "conv2"]
        del node.input[2]

    found = read_network(oracle.write_graph(tmp_path / "g.onnx", NETWORK, edit=edit))
    assert found.layers[1].bias.tolist() == [0.0] * 6


def test_multiply_adds_are_counted_as_they_are(tmp_path):
    network = dataclasses.replace(NETWORK, layers=NETWORK.layers[:2])
    first, second = (np.count_nonzero(layer.weight) for layer in network.layers)
    assert network.multiply_adds == first * 16 * 12 + second * 8 * 6
    assert network.dense_multiply_adds == 36 * 16 * 12 + 216 * 8 * 6


def node_of(model, name):
    (found,) = [node for node in model.graph.node if node.name == name]
    return found


def set_attribute(name, **attributes):
    def edit(model):
        node = node_of(model, name)
        for key, value in attributes.items():
            for old in [attribute for attribute in node.attribute if attribute.name == key]:
                node.attribute.remove(old)
            if value is not None:
                node.attribute.append(helper.make_attribute(key, value))

    return edit


def set_operator(name, operator):
    def edit(model):
        node_of(model, name).op_type = operator

    return edit


def set_input(name, number, value):
    def edit(model):
        node_of(model, name).input[number] = value

    return edit


def replace_array(name, change):
    def edit(model):
        for tensor in model.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))

    return edit


def make_external(model):
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="/etc/passwd")


def make_constant_external(model):
    make_external(model)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "w2"]
    constant = helper.make_node("Constant", [], ["w2"], value=tensor)
    model.graph.initializer.remove(tensor)
    model.graph.node.insert(0, constant)


def make_sparse_external(field):
    """The values or indices of w2, stored sparsely, outside of the file."""

    def edit(model):
        values = numpy_helper.from_array(np.ones(1, np.float32), "w2")
        index = numpy_helper.from_array(np.zeros(1, np.int64), "w2.i")
        sparse = helper.make_sparse_tensor(values, index, [6, 4, 3, 3])
        tensor = getattr(sparse, field)
        tensor.ClearField("raw_data")
        tensor.external_data.add(key="location", value="/etc/passwd")
        model.graph.initializer.remove(next(each for each in model.graph.initializer if each.name == "w2"))
        model.graph.sparse_initializer.append(sparse)

    return edit


def make_sparse_constant(edit):
    """w2 as the sparse value of a Constant, which ``edit`` has made."""

    def change(model):
        edit(model)
        sparse = model.graph.sparse_initializer.pop()
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w2"], sparse_value=sparse))

    return change


def make_constant_bomb(model):
    huge = TensorProto(data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20, 3, 3])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w9"], value=huge))


def make_stored_bomb(model):
    model.graph.initializer.add(name="w9", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20, 3, 3])


def make_bomb(model):
    values = numpy_helper.from_array(np.ones(1, np.float32), "w2")
    index = numpy_helper.from_array(np.zeros(1, np.int64), "w2.i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, [1 << 20, 1 << 20, 3, 3]))


def make_index_wild(model):
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "w2"]
    model.graph.initializer.remove(tensor)
    values = numpy_helper.from_array(np.ones(1, np.float32), "w2")
    index = numpy_helper.from_array(np.array([10**9]), "w2.i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, index, [6, 4, 3, 3]))


def set_nothing(array):
    array.reshape(-1)[0] = np.nan
    return array


def set_domain(model):
    node_of(model, "pool1").domain = "com.microsoft"


def give_another_output(model):
    node_of(model, "pool1").output.append("indices")


def take_weights(model):
    del node_of(model, "conv2").input[1:]


def add_to_itself(model):
    node_of(model, "sum3").input[1] = "conv3"


def end_before(name):
    """The graph without that node and all that follow."""

    def edit(model):
        names = [node.name for node in model.graph.node]
        del model.graph.node[names.index(name) :]

    return edit


def shape_input(dimension, size):
    def edit(model):
        dim = model.graph.input[0].type.tensor_type.shape.dim[dimension]
        dim.ClearField("dim_value") if size is None else setattr(dim, "dim_value", size)

    return edit


def append_node(model):
    model.graph.node.append(helper.make_node("Relu", ["embedding"], ["after"], name="after"))


def forget_input(model):
    del model.graph.input[:]


def flatten_input(model):
    del model.graph.input[0].type.tensor_type.shape.dim[3]


def swap_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_attribute("conv2", pads=[0, 0, 0, 0]), r"'conv2' \(Conv\) has pads \[0, 0, 0, 0\]"),
        (set_attribute("conv2", pads=None), r"'conv2' \(Conv\) has no pads"),
        (set_attribute("conv2", auto_pad="SAME_UPPER"), r"'conv2' \(Conv\) has auto_pad"),
        (set_attribute("conv2", strides=[2, 2]), r"'conv2' \(Conv\) has strides"),
        (set_attribute("conv2", dilations=[2, 2]), r"'conv2' \(Conv\) has dilations"),
        (set_attribute("conv2", group=2), r"'conv2' \(Conv\) has group 2"),
        (set_attribute("conv2", of_another_time=1), r"'conv2' \(Conv\) has of_another_time 1"),
        (set_attribute("pool1", kernel_shape=[3, 3]), r"'pool1' \(MaxPool\) has kernel_shape"),
        (set_attribute("pool1", strides=None), r"'pool1' \(MaxPool\) has no strides"),
        (set_attribute("pool1", ceil_mode=1), r"'pool1' \(MaxPool\) has ceil_mode 1"),
        (set_attribute("embedding", axis=2), r"'embedding' \(Flatten\) has axis 2"),
        (set_operator("relu1", "LeakyRelu"), r"node 'relu1' \(LeakyRelu\) stands where Conv is expected"),
        (set_operator("conv1", "QLinearConv"), r"node 'conv1' \(QLinearConv\) stands where Conv is expected"),
        (set_operator("pool", "GlobalAveragePool"), r"node 'pool' \(GlobalAveragePool\) stands where GlobalMaxPool"),
        (set_operator("silu2", "Div"), r"node 'silu2' \(Div\) stands where Mul is expected"),
        (set_input("silu2", 1, "relu1"), r"node 'silu2' \(Mul\) stands where a product with 'conv2' is expected"),
        (set_input("sum3", 1, "pool1"), r"node 'sum3' \(Add\) adds 'pool1', which is no layer's output"),
        (set_input("sum3", 1, "relu1"), r"node 'sum3' \(Add\) adds 'relu1', which is no layer's output"),
        (set_input("conv2", 0, "relu1"), r"node 'conv2' \(Conv\) does not take 'pool1'"),
        (set_input("conv2", 1, "relu1"), "'relu1' is not a constant"),
        (replace_array("w2", lambda w: w.astype(np.float16)), "'w2' is float16, expected float32"),
        (replace_array("w2", lambda w: w[:, :, :1]), r"'conv2' \(Conv\) has weights of shape \(6, 4, 1, 3\)"),
        (replace_array("w2", lambda w: w[:, :3]), "convolution 2 takes 3 channels of 4"),
        (replace_array("b2", lambda b: b[:5]), r"'conv2' \(Conv\) has a bias of shape \(5,\), expected \(6,\)"),
        (replace_array("w2", set_nothing), "weights of convolution 2 contain NaN or infinity"),
        (replace_array("b2", lambda b: b + np.float32(np.inf)), "weights of convolution 2 contain NaN or infinity"),
        (replace_array("scale", lambda s: s + np.float32(np.inf)), "input normalisation contains NaN"),
        (replace_array("scale", lambda s: np.ones(64, np.float32)), r"node 'm' \(Mul\) does not take one number"),
        (make_external, "'w2' is stored outside the graph's file"),
        (make_constant_external, "'w2' is stored outside the graph's file"),
        (make_sparse_external("values"), "'w2' is stored outside the graph's file"),
        (make_sparse_external("indices"), "'w2.i' is stored outside the graph's file"),
        (make_sparse_constant(make_sparse_external("values")), "'w2' is stored outside the graph's file"),
        (make_sparse_constant(make_sparse_external("indices")), "'w2.i' is stored outside the graph's file"),
        (make_sparse_constant(make_bomb), "an array of more than 67108864 values"),
        (make_constant_bomb, "an array of more than 67108864 values"),
        (make_stored_bomb, "an array of more than 67108864 values"),
        (set_domain, r"'pool1' \(MaxPool\) is of the domain 'com\.microsoft'"),
        (give_another_output, r"'pool1' \(MaxPool\) does not take 'relu1'"),
        (take_weights, r"'conv2' \(Conv\) has weights of shape \(0,\), expected \(out, in, 3, 3\)"),
        (replace_array("w2", lambda w: w[:0]), r"'conv2' \(Conv\) has weights of shape \(0, 4, 3, 3\)"),
        (replace_array("w2", lambda w: w[0]), r"'conv2' \(Conv\) has weights of shape \(4, 3, 3\)"),
        (add_to_itself, r"'sum3' \(Add\) adds '', which is no layer's output"),
        (end_before("pool"), "it ends where GlobalMaxPool is expected"),
        (end_before("embedding"), "it ends where Flatten is expected"),
        (set_attribute("pool1", pads=[1, 1, 1, 1]), r"'pool1' \(MaxPool\) has pads \[1, 1, 1, 1\]"),
        (set_attribute("pool1", dilations=[2, 2]), r"'pool1' \(MaxPool\) has dilations \[2, 2\]"),
        (set_attribute("pool1", storage_order=1), r"'pool1' \(MaxPool\) has storage_order 1"),
        (set_attribute("pool1", kernel_shape=None), r"'pool1' \(MaxPool\) has no kernel_shape"),
        (set_attribute("conv2", kernel_shape=[3, 5]), r"'conv2' \(Conv\) has kernel_shape \[3, 5\]"),
        (replace_array("scale", lambda s: s.reshape((1,) * 5)), r"node 'm' \(Mul\) does not take one number"),
        (replace_array("shift", lambda s: s + np.float32(np.nan)), "input normalisation contains NaN"),
        (shape_input(2, None), r"its input 'mel' has shape \(N, 1, 0, 12\)"),
        (shape_input(3, 0), r"its input 'mel' has shape \(N, 1, 16, 0\)"),
        (make_bomb, "an array of more than 67108864 values"),
        (make_index_wild, "and this graph is another"),
        (append_node, r"node 'after' \(Relu\) follows what should be the last node"),
        (forget_input, "it has no input"),
        (flatten_input, r"its input 'mel' has shape \(N, 1, 16\)"),
        (swap_input, r"its input 'mel' has shape \(N, 2, 16, 12\)"),
    ],
)
def test_other_graphs_are_refused_with_the_node_that_differs(tmp_path, edit, message):
    path = oracle.write_graph(tmp_path / "g.onnx", NETWORK, edit=edit)
    with pytest.raises(EdgeL3Error, match=message) as caught:
        open_engine(path, "native")
    assert str(path) in str(caught.value) and "Use provider='cpu'" in str(caught.value)


def test_a_network_of_one_convolution_is_refused(tmp_path):
    path = oracle.write_graph(tmp_path / "g.onnx", dataclasses.replace(NETWORK, layers=NETWORK.layers[:1]))
    with pytest.raises(EdgeL3Error, match=r"node 'pool' \(GlobalMaxPool\) stands where Conv is expected"):
        read_network(path)


def test_unreadable_graphs(tmp_path):
    with pytest.raises(EdgeL3Error, match=r"absent\.onnx: cannot be read \(No such file"):
        read_network(tmp_path / "absent.onnx")
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(EdgeL3Error, match=r"g\.onnx: cannot be read as an ONNX graph"):
        read_network(tmp_path / "g.onnx")
    (tmp_path / "g.onnx").write_bytes(b"")
    with pytest.raises(EdgeL3Error, match="it has no input"):
        read_network(tmp_path / "g.onnx")


def test_a_waveform_graph_is_refused(seeded_graph, tmp_path):
    from edgel3_onnx.export.convert.waveform import add_front_end

    path = tmp_path / "g.onnx"
    path.write_bytes(add_front_end(seeded_graph("sea-64").read_bytes()))
    with pytest.raises(EdgeL3Error, match="its input 'audio' has shape"):
        read_network(path)


def test_nothing_is_written_beside_a_graph(tmp_path):
    path = oracle.write_graph(tmp_path / "g.onnx", NETWORK)
    open_engine(path, "native", num_threads=1).run(oracle.images(NETWORK, 1))
    assert os.listdir(tmp_path) == ["g.onnx"]


def test_onnxruntime_is_not_imported(seeded_graph):
    code = """
import sys, numpy as np, edgel3_onnx
model = edgel3_onnx.load_embedding_model("sea", 64, weights=sys.argv[1], provider="native")
edgel3_onnx.get_embedding(np.ones(8000, np.float32), 8000, model, verbose=0)
print("onnxruntime" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, seeded_graph("sea-64")], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


def test_damaged_graphs_are_refused_or_other_graphs(tmp_path):
    model = onnx.load(oracle.write_graph(tmp_path / "g.onnx", NETWORK))
    data = bytearray(model.SerializeToString())
    outcomes = set()
    for position in range(0, len(data), 97):
        flipped = bytes(data[:position]) + bytes([data[position] ^ 0xFF]) + bytes(data[position + 1 :])
        (tmp_path / "g.onnx").write_bytes(flipped)
        try:
            read_network(tmp_path / "g.onnx")
        except EdgeL3Error:
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert outcomes == {"refused", "read"}  # a flipped bit in a weight is another weight
