"""Networks for the tests of the native engine, and the plain way to compute them, in double precision."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgel3_onnx.engines.graph import Layer, Network


def convolution(images, weight):
    """3x3, 'same': (N, in, rows, cols) -> (N, out, rows, cols)."""
    rows, cols = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    sums = np.zeros((len(images), len(weight), rows, cols))
    for i in range(3):
        for j in range(3):
            sums += np.einsum("oc,ncyx->noyx", weight[:, :, i, j], padded[:, :, i : i + rows, j : j + cols])
    return sums


def embed(network, images):
    """Embeddings float64 (N, D) of images (N, 1, rows, cols)."""
    x = images.astype(np.float64) * network.scale + network.shift
    outputs = []
    for layer in network.layers:
        x = convolution(x, layer.weight.astype(np.float64)) + layer.bias[:, None, None]
        if layer.skip:
            x = x + outputs[-layer.skip]
        if layer.activation == "relu":
            x = np.maximum(x, 0)
        elif layer.activation == "silu":
            x = x / (1 + np.exp(-x))
        outputs.append(x)
        if layer.pool:
            rows, cols = x.shape[2] // 2, x.shape[3] // 2
            x = x[:, :, : 2 * rows, : 2 * cols].reshape(*x.shape[:2], rows, 2, cols, 2).max((3, 5))
    return x.max((2, 3))


def network(rows, cols, filters, *, activations="relu", pools=(), skips=None, density=1.0, seed=5):
    """Seeded weights; ``pools`` and ``skips`` by layer from 1 on, ``activations`` one for all or one for each."""
    rng = np.random.default_rng(seed)
    names = [activations] * len(filters) if isinstance(activations, str) else activations
    layers, cin = [], 1
    for number, cout in enumerate(filters, 1):
        weight = rng.standard_normal((cout, cin, 3, 3)) * np.sqrt(2 / (9 * cin))
        if number > 1:
            weight *= (rng.random(weight.shape) < density) / np.sqrt(max(density, 1e-9))
        bias = 0.1 * rng.standard_normal(cout)
        skip = (skips or {}).get(number, 0)
        layers.append(
            Layer(weight.astype(np.float32), bias.astype(np.float32), names[number - 1], skip, number in pools)
        )
        cin = cout
    return Network(rows, cols, 0.05, 2.0, tuple(layers), {})


def images(network, n, seed=0):
    shape = (n, 1, network.rows, network.cols)
    return (np.random.default_rng(seed).standard_normal(shape) * 20 - 40).astype(np.float32)


def write_graph(path, network, *, sparse_initializers=False, pads=1, edit=None):
    """Write ``network`` as the converter and the training lay their graphs out; ``edit`` changes the model."""
    tensors = {"scale": np.array([network.scale], np.float32), "shift": np.array([network.shift], np.float32)}
    nodes = [helper.make_node("Mul", ["mel", "scale"], ["m"]), helper.make_node("Add", ["m", "shift"], ["a"])]
    last, sparse, outputs = "a", [], []

    def append(operator, name, *inputs, **attributes):
        nonlocal last
        nodes.append(helper.make_node(operator, [last, *inputs], [name], name=name, **attributes))
        last = name

    for number, layer in enumerate(network.layers, 1):
        tensors |= {f"w{number}": layer.weight, f"b{number}": layer.bias}
        append("Conv", f"conv{number}", f"w{number}", f"b{number}", kernel_shape=[3, 3], pads=[pads] * 4)
        if layer.skip:
            append("Add", f"sum{number}", outputs[-layer.skip])
        if layer.activation == "relu":
            append("Relu", f"relu{number}")
        elif layer.activation == "silu":
            before = last
            append("Sigmoid", f"sigmoid{number}")
            append("Mul", f"silu{number}", before)
        outputs.append(last)
        if layer.pool:
            append("MaxPool", f"pool{number}", kernel_shape=[2, 2], strides=[2, 2])
    append("GlobalMaxPool", "pool")
    append("Flatten", "embedding", axis=1)
    if sparse_initializers:
        for name in [name for name in tensors if name[0] == "w"]:
            flat = tensors[name].reshape(-1)
            (index,) = np.nonzero(flat)
            values = numpy_helper.from_array(flat[index], name)
            sparse.append(
                helper.make_sparse_tensor(values, numpy_helper.from_array(index, f"{name}.i"), tensors[name].shape)
            )
            del tensors[name]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["N", 1, network.rows, network.cols])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", network.embedding_dim])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        sparse_initializer=sparse,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if edit:
        edit(model)
    path.write_bytes(model.SerializeToString())
    return path
