"""Compare an ONNX graph of unknown origin with a network, layer by layer."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.compact import constant_arrays
from edgel3_onnx.export.convert.graph import parse, read_metadata
from edgel3_onnx.metadata import GraphMetadata
from edgel3_onnx.spec import FRONTENDS, POOL_AFTER, NetworkSpec

if TYPE_CHECKING:
    import onnx

# Operators that hand a weight on without changing its shape: quantised and half-precision weights come
# through these.
_TRANSPARENT = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")
_GLOBAL_POOLS = ("GlobalMaxPool", "ReduceMax")


def check_graph(graph: bytes, network: NetworkSpec, source_file: str) -> None:
    """Refuse a serialised ONNX graph that is not ``network``.

    Kind "mel" or "waveform", any precision, BatchNorm folded or not. Compared are the input and the output,
    what this package's metadata say if there are any, and, in the order of the graph, every 3x3 convolution
    (shape of its weights, stride, padding), ReLU (unless the graph is quantised, where it may have become a
    clipped range) and pooling.

    Raises EdgeL3Error, in one line, naming the field or the first layer that differs, with what was expected
    and found; or the weights that are not finite.
    """
    model = parse(graph, source_file)
    _check_self_contained(model, source_file)
    try:
        arrays = constant_arrays(model.graph)
    except (ValueError, TypeError, KeyError) as error:
        raise EdgeL3Error(f"{source_file}: has weights that cannot be read ({error})") from error
    metadata = _check_metadata(model, network, source_file)
    kind = _check_ends(model, network, source_file)
    if metadata is not None and metadata.kind != kind:
        raise EdgeL3Error(f"{source_file}: metadata, kind: expected {kind}, found {metadata.kind}")
    _check_layers(model, arrays, network, metadata, kind, source_file)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise EdgeL3Error(f"{source_file}: {name}: contains NaN or infinite weights")


def _check_self_contained(model: "onnx.ModelProto", source_file: str) -> None:
    from onnx.external_data_helper import uses_external_data

    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            raise EdgeL3Error(
                f"{source_file}: {tensor.name}: its weights are in another file; save the graph as one file"
            )


def _check_metadata(model: "onnx.ModelProto", network: NetworkSpec, source_file: str) -> GraphMetadata | None:
    """What this package wrote about the graph, None for other graphs. It must name this network and front end."""
    metadata = read_metadata(model, source_file)
    if metadata is not None:
        metadata.check(FRONTENDS[network.frontend], network, source_file)
    return metadata


def _check_ends(model: "onnx.ModelProto", network: NetworkSpec, source_file: str) -> str:
    """Compare the input and the output; returns the kind of the graph."""
    frontend = FRONTENDS[network.frontend]
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    mel = ("melspectrogram", "float32", (None, 1, frontend.n_mels, frontend.n_frames))
    waveform = ("audio", "float32", (None, frontend.window_length))
    outputs = [_signature(value) for value in model.graph.output]
    expected = ("embedding", "float32", (None, network.embedding_dim))
    if outputs != [expected]:
        raise EdgeL3Error(
            f"{source_file}: output: expected {_show(*expected)}, "
            f"found {', '.join(_show(*output) for output in outputs) or 'none'}"
        )
    found = [_signature(value) for value in inputs]
    if found == [mel]:
        return "mel"
    if found == [waveform]:
        return "waveform"
    raise EdgeL3Error(
        f"{source_file}: input: expected {_show(*mel)} or {_show(*waveform)}, "
        f"found {', '.join(_show(*signature) for signature in found) or 'none'}"
    )


def _signature(value: "onnx.ValueInfoProto") -> tuple[str, str, tuple[int | None, ...]]:
    from onnx import helper

    tensor = value.type.tensor_type
    try:
        dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    except KeyError:
        dtype = "of no type"
    shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    return value.name, dtype, tuple(shape)


def _show(name: str, dtype: str, shape: tuple[int | None, ...]) -> str:
    return f"{name} {dtype} [{', '.join('N' if size is None else str(size) for size in shape)}]"


def _check_layers(
    model: "onnx.ModelProto",
    arrays: dict[str, npt.NDArray[Any]],
    network: NetworkSpec,
    metadata: GraphMetadata | None,
    kind: str,
    source_file: str,
) -> None:
    producers = {output: node for node in model.graph.node for output in node.output}
    layers = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            layers.append((node, _weight_shape(node.input[1], producers, arrays)))
        elif node.op_type in ("Relu", "MaxPool", *_GLOBAL_POOLS):
            layers.append((node, None))
    if kind == "waveform":  # what precedes the first 3x3 convolution is the front end
        spatial = [shape is not None and shape[2:] == (3, 3) for _, shape in layers]
        layers = layers[spatial.index(True) :] if True in spatial else []
    quantised = any(node.op_type in ("DequantizeLinear", "QLinearConv") for node in model.graph.node)

    filters = list(network.filters) if metadata is None or metadata.filters is None else metadata.filters
    if not _plausible_filters(filters, network):
        raise EdgeL3Error(f"{source_file}: metadata, filters: expected {list(network.filters)}, found {filters}")
    position = 0

    def expect(what: str, operators: tuple[str, ...]) -> tuple["onnx.NodeProto", tuple[int, ...] | None]:
        nonlocal position
        if position == len(layers):
            raise EdgeL3Error(f"{source_file}: {what}: expected {operators[0]}, found the end of the graph")
        node, shape = layers[position]
        if node.op_type not in operators:
            raise EdgeL3Error(f"{source_file}: {what}: expected {operators[0]}, found {node.op_type} {node.name!r}")
        position += 1
        return node, shape

    channels = 1
    for number, count in enumerate(filters, 1):
        what = f"convolution {number}"
        node, shape = expect(what, ("Conv",))
        if shape != (count, channels, 3, 3):
            raise EdgeL3Error(f"{source_file}: {what}: expected weights {(count, channels, 3, 3)}, found {shape}")
        _check_attributes(node, f"{source_file}: {what}", _CONV)
        if not quantised and (number < len(filters) or network.final_activation):
            expect(f"activation {number}", ("Relu",))
        while quantised and position < len(layers) and layers[position][0].op_type == "Relu":
            position += 1
        if number in POOL_AFTER:
            node, _ = expect(f"pooling after convolution {number}", ("MaxPool",))
            _check_attributes(node, f"{source_file}: pooling after convolution {number}", _POOL)
        channels = count
    expect("pooling after the last convolution", _GLOBAL_POOLS)
    if position != len(layers):
        node = layers[position][0]
        raise EdgeL3Error(f"{source_file}: expected nothing after the last pooling, found {node.op_type} {node.name!r}")


_CONV = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}
_POOL = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0], "ceil_mode": 0, "dilations": [1, 1]}
_DEFAULTS = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1, "ceil_mode": 0}


def _check_attributes(node: "onnx.NodeProto", where: str, expected: dict[str, Any]) -> None:
    from onnx import helper

    found = {**_DEFAULTS, **{entry.name: helper.get_attribute_value(entry) for entry in node.attribute}}
    automatic = found.get("auto_pad", b"NOTSET").decode()
    if automatic == "VALID":
        found["pads"] = [0, 0, 0, 0]
    elif automatic != "NOTSET":  # SAME_UPPER and SAME_LOWER are the same for 3x3 at stride 1
        found["pads"] = [1, 1, 1, 1] if node.op_type == "Conv" else automatic
    for name, value in expected.items():
        shown = found.get(name)
        if shown != value:
            raise EdgeL3Error(f"{where}: expected {name} {value}, found {shown}")


def _plausible_filters(filters: Any, network: NetworkSpec) -> bool:
    """Whether these channel counts are the network's, less those that pruning left dead."""
    return (
        isinstance(filters, list)
        and len(filters) == len(network.filters)
        and all(isinstance(n, int) and 0 < n <= limit for n, limit in zip(filters, network.filters, strict=True))
        and filters[-1] == network.embedding_dim
    )


def _weight_shape(
    name: str, producers: dict[str, "onnx.NodeProto"], arrays: dict[str, npt.NDArray[Any]]
) -> tuple[int, ...] | None:
    """Shape of the stored array that ``name`` comes from; None if it is computed otherwise."""
    while name not in arrays:
        node = producers.get(name)
        if node is None or node.op_type not in _TRANSPARENT:
            return None
        name = node.input[0]
    return arrays[name].shape
