"""A graph of one's own is accepted in every form this package can run, and refused by the first thing that differs."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgel3_onnx import EdgeL3Error
from edgel3_onnx.export.convert.check import check_file, check_graph
from edgel3_onnx.export.convert.compact import compact
from edgel3_onnx.export.convert.graph import read_metadata, write_metadata
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.spec import NETWORKS

SEA = NETWORKS["sea-64"]


@pytest.fixture
def fp32(seeded_graph):
    return seeded_graph("sea-64").read_bytes()


def edited(graph, edit):
    model = onnx.load_model_from_string(graph)
    edit(model)
    return model.SerializeToString()


def node(model, name):
    return next(node for node in model.graph.node if node.name == name)


def tensor(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def without_metadata(model):
    del model.metadata_props[:]


@pytest.mark.parametrize("network", ["sea-64", "sea-512", "sparse"])
def test_exported_graphs_fit(network, seeded_graph):
    mel = seeded_graph(network).read_bytes()
    for graph in (mel, compact(mel), add_front_end(mel), compact(quantize(mel, "fp16"))):
        check_graph(graph, NETWORKS[network], "x.onnx")
        check_graph(edited(graph, without_metadata), NETWORKS[network], "x.onnx")


def test_int8_graphs_fit(fp32):
    int8 = quantize(fp32, "int8")
    for graph in (int8, add_front_end(int8)):
        check_graph(graph, SEA, "x.onnx")
        check_graph(edited(graph, without_metadata), SEA, "x.onnx")


def test_separate_batch_norm_and_automatic_padding_fit(fp32):
    def unfold(model):
        channels = SEA.filters[2]
        norm = helper.make_node("BatchNormalization", ["conv3.out", "g", "b", "m", "v"], ["normalised"], name="bn")
        for name in "gbmv":
            model.graph.initializer.append(numpy_helper.from_array(np.ones(channels, np.float32), name))
        position = list(model.graph.node).index(node(model, "conv3"))
        model.graph.node.insert(position + 1, norm)
        node(model, "relu3").input[0] = "normalised"
        conv = node(model, "conv5")
        kept = [attribute for attribute in conv.attribute if attribute.name != "pads"]
        del conv.attribute[:]
        conv.attribute.extend([*kept, helper.make_attribute("auto_pad", "SAME_UPPER")])
        without_metadata(model)

    check_graph(edited(fp32, unfold), SEA, "x.onnx")


def _remove(name):
    def edit(model):
        removed = node(model, name)
        for other in model.graph.node:
            other.input[:] = [removed.input[0] if i == removed.output[0] else i for i in other.input]
        model.graph.node.remove(removed)

    return edit


def _attribute(name, attribute, value):
    def edit(model):
        found = node(model, name)
        kept = [entry for entry in found.attribute if entry.name != attribute]
        del found.attribute[:]
        found.attribute.extend([*kept, helper.make_attribute(attribute, value)])

    return edit


def _rename_input(model):
    model.graph.input[0].name = "image"
    model.graph.node[0].input[0] = "image"


def _second_input(model):
    model.graph.input.append(helper.make_tensor_value_info("extra", TensorProto.INT64, [1]))


def _more_bands(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 128


def _two_outputs(model):
    model.graph.output.append(helper.make_tensor_value_info("relu1.out", TensorProto.FLOAT, None))


def _nan(model):
    array = numpy_helper.to_array(tensor(model, "conv4.bias")).copy()
    array[3] = np.nan
    tensor(model, "conv4.bias").CopyFrom(numpy_helper.from_array(array, "conv4.bias"))


def _external(model):
    found = tensor(model, "conv6.weight")
    found.data_location = TensorProto.EXTERNAL
    found.ClearField("raw_data")
    entry = found.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def _other_rate(model):
    metadata = read_metadata(model, "x")
    frontend = dataclasses.replace(metadata.frontend, sample_rate=16000)
    write_metadata(model, dataclasses.replace(metadata, frontend=frontend))


def _broken_metadata(model):
    model.metadata_props[0].value = "{"


def _kind(model):
    write_metadata(model, dataclasses.replace(read_metadata(model, "x"), kind="waveform"))


def _filters(model):
    filters = [32, 32, 64, 64, 128, 128, 64, 65]
    write_metadata(model, dataclasses.replace(read_metadata(model, "x"), filters=filters))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_rename_input, r"input: expected melspectrogram float32 \[N, 1, 64, 50\] or audio .*found image float32"),
        (_second_input, r"input: expected .*, found melspectrogram .*, extra int64 \[1\]"),
        (_more_bands, r"input: .*found melspectrogram float32 \[N, 1, 128, 50\]"),
        (_two_outputs, r"output: expected embedding float32 \[N, 64\], found embedding .*, relu1.out"),
        (_remove("relu3"), r"activation 3: expected Relu, found Conv 'conv4'"),
        (_remove("pool4"), r"pooling after convolution 4: expected MaxPool, found Conv 'conv5'"),
        (_remove("conv8"), r"convolution 8: expected Conv, found Relu 'relu8'"),
        (_remove("pool"), r"pooling after the last convolution: expected GlobalMaxPool, found the end of the graph"),
        (_attribute("conv2", "strides", [2, 2]), r"convolution 2: expected strides \[1, 1\], found \[2, 2\]"),
        (
            _attribute("conv2", "pads", [0, 0, 0, 0]),
            r"convolution 2: expected pads \[1, 1, 1, 1\], found \[0",
        ),
        (_attribute("pool2", "ceil_mode", 1), r"pooling after convolution 2: expected ceil_mode 0, found 1"),
        (_nan, r"conv4.bias: contains NaN or infinite weights"),
        (_external, r"conv6.weight: its weights are in another file"),
        (_other_rate, r"metadata, frontend.sample_rate: expected 8000, found 16000"),
        (_broken_metadata, r"graph metadata is damaged"),
        (_kind, r"metadata, kind: expected mel, found waveform"),
        (_filters, r"metadata, filters: expected \[32, .*, found \[32, .*65\]"),
    ],
)
def test_a_graph_that_differs_is_refused_by_what_differs(fp32, edit, message):
    with pytest.raises(EdgeL3Error, match=message) as caught:
        check_graph(edited(fp32, edit), SEA, "own.onnx")
    assert str(caught.value).startswith("own.onnx: ")
    assert "\n" not in str(caught.value)


def _conv_without_weights(model):
    del node(model, "conv2").input[1:]


def _auto_pad_is_a_number(model):
    node(model, "conv2").attribute.append(helper.make_attribute("auto_pad", 7))


def _attribute_of_no_type(model):
    node(model, "conv2").attribute.add().name = "strides"


def _circle(model):
    node(model, "conv2").input[1] = "a"
    for a, b in ("ab", "ba"):
        model.graph.node.append(helper.make_node("Identity", [b], [a], name=f"to_{a}"))


def _loop(model):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["forever"], name="loop", body=body))


def _function(model):
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [], [helper.make_opsetid("", 17)]))


def _external_constant(model):
    value = numpy_helper.from_array(np.zeros(2, np.float32), "secret")
    value.data_location = TensorProto.EXTERNAL
    entry = value.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=value))


def _sparse(dims, indices, values):
    def edit(model):
        sparse = helper.make_sparse_tensor(
            numpy_helper.from_array(np.ones(values, np.float32)), numpy_helper.from_array(np.array(indices)), dims
        )
        model.graph.node.append(helper.make_node("Constant", [], ["sparse"], sparse_value=sparse))

    return edit


def _truncated_weights(model):
    tensor(model, "conv3.weight").raw_data = tensor(model, "conv3.weight").raw_data[:-4]


def _huge_shape(model):
    tensor(model, "conv3.weight").dims[0] = 1 << 60


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_conv_without_weights, r"convolution 2: expected weights \(32, 32, 3, 3\), found None"),
        (_auto_pad_is_a_number, r"convolution 2: expected pads \[1, 1, 1, 1\], found 7"),
        (_attribute_of_no_type, r"convolution 2: expected strides \[1, 1\], found None"),
        (_circle, r"convolution 2: expected weights \(32, 32, 3, 3\), found None"),
        (_loop, r"Loop 'loop': has a graph of its own"),
        (_function, r"defines operators of its own, 'F'"),
        (_external_constant, r"secret: its weights are in another file"),
        (_sparse([1 << 20, 1 << 20], [0], 1), r"sparse: cannot be read \(a sparse array of shape"),
        (
            _sparse([4, 4], [-1], 1),
            r"sparse: cannot be read \(indices that do not fit a sparse array of shape \(4, 4\)",
        ),
        (_sparse([4, 4], [16], 1), r"sparse: cannot be read \(indices"),
        (_sparse([4, 4], [1, 2], 3), r"sparse: cannot be read \(indices"),
        (_truncated_weights, r"conv3\.weight: cannot be read"),
        (_huge_shape, r"conv3\.weight: cannot be read"),
    ],
)
def test_a_hostile_graph_is_refused_by_what_is_wrong(fp32, edit, message):
    with pytest.raises(EdgeL3Error, match=rf"^own\.onnx: {message}") as caught:
        check_graph(edited(fp32, edit), SEA, "own.onnx")
    assert "\n" not in str(caught.value)


def _behind_the_input(operators):
    """Insert nodes between the input and the first one, which pass it on but for what they do besides."""

    def edit(model):
        model.graph.node[0].input[0] = "passed"
        for position, (operator, inputs, output) in enumerate(operators):
            model.graph.node.insert(position, helper.make_node(operator, inputs, [output], name=output))

    return edit


def _bomb(model):
    for name, values in (("size", [1 << 20, 1 << 16]), ("all", [-1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    _behind_the_input(
        [
            ("ConstantOfShape", ["size"], "huge"),
            ("ReduceSum", ["huge"], "sum"),
            ("Reshape", ["sum", "all"], "one"),
            ("Add", ["melspectrogram", "one"], "passed"),
        ]
    )(model)


def _not_a_number(model):
    model.graph.initializer.append(numpy_helper.from_array(np.float32(-1), "minus_one"))
    _behind_the_input(
        [
            ("Abs", ["melspectrogram"], "positive"),
            ("Sub", ["positive", "minus_one"], "at_least_one"),
            ("Mul", ["at_least_one", "minus_one"], "negative"),
            ("Log", ["negative"], "passed"),
        ]
    )(model)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_bomb, r"(ONNX Runtime does not run it|damaged)"),
        (_not_a_number, r"gives values of shape \(1, 64\) for one window of silence, expected 64 finite ones"),
        (_loop, r"Loop 'loop': has a graph of its own"),
    ],
)
def test_a_graph_that_does_not_run_is_refused(fp32, edit, message):
    with pytest.raises(EdgeL3Error, match=rf"^own\.onnx: {message}"):
        check_file(edited(fp32, edit), SEA, "own.onnx")
    assert check_file(fp32, SEA, "own.onnx") == "fp32"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("sea-128", r"metadata, network.filters: expected \[32, .*128, 128\], found \[32, .*64, 64\]"),
        ("sparse", r"metadata, network.frontend: expected sparse, found sea"),
    ],
)
def test_a_graph_of_another_variant_is_refused_by_its_metadata(fp32, network, message):
    with pytest.raises(EdgeL3Error, match=message):
        check_graph(fp32, NETWORKS[network], "own.onnx")


def test_a_graph_of_another_network_is_refused_by_its_first_layer_that_differs(seeded_graph):
    wide = edited(seeded_graph("sea-512").read_bytes(), without_metadata)
    narrow = edited(seeded_graph("sea-64").read_bytes(), without_metadata)
    with pytest.raises(EdgeL3Error, match=r"output: expected embedding float32 \[N, 256\], found .*\[N, 512\]"):
        check_graph(wide, NETWORKS["sea-256"], "own.onnx")

    def claim(model):
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 128

    message = r"convolution 7: expected weights \(128, 128, 3, 3\), found \(64, 128, 3, 3\)"
    with pytest.raises(EdgeL3Error, match=message):
        check_graph(edited(narrow, claim), NETWORKS["sea-128"], "own.onnx")


@pytest.mark.parametrize("data", [b"", b"not a graph", bytes(1000)])
def test_what_is_no_graph_is_refused(data, fp32):
    with pytest.raises(EdgeL3Error, match=r"^own.onnx: not an ONNX graph"):
        check_graph(data, SEA, "own.onnx")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_graph_is_refused(share, fp32):
    with pytest.raises(EdgeL3Error, match=r"^own.onnx: "):
        check_graph(fp32[: int(share * len(fp32))], SEA, "own.onnx")
