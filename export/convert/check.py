"""Compare an ONNX graph of unknown origin with a network, layer by layer."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert import isolated
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


def check_file(graph: bytes, network: NetworkSpec, source_file: str) -> str:
    """Check a graph that may come from anywhere, and return its precision.

    As ``check_graph``, but in a process of its own, in which ONNX Runtime also loads the graph and runs it once.

    Raises EdgeL3Error as ``check_graph`` does, and if the graph does not run.
    """
    return isolated.call(_checked_precision, graph, network, source_file, source_file=source_file).decode()


def _checked_precision(graph: bytes, network: NetworkSpec, source_file: str) -> bytes:
    check_graph(graph, network, source_file)
    _check_it_runs(graph, network, source_file)
    metadata = read_metadata(parse(graph, source_file), source_file)
    return (metadata.precision if metadata else "fp32").encode()


def check_graph(graph: bytes, network: NetworkSpec, source_file: str) -> None:
    """Refuse a serialised ONNX graph that is not ``network``.

    Kind "mel" or "waveform", any precision, BatchNorm folded or not. Compared are the input and the output,
    what this package's metadata say if there are any, and, in the order of the graph, every 3x3 convolution
    (shape of its weights, stride, padding), ReLU (unless the graph is quantised, where it may have become a
    clipped range) and pooling. Operators with graphs of their own (loops, branches) are refused.

    Raises EdgeL3Error, in one line, naming the field or the first layer that differs, with what was expected
    and found; or the weights that are not finite.
    """
    model = parse(graph, source_file)
    _check_self_contained(model, source_file)
    try:
        arrays = constant_arrays(model.graph)
    except EdgeL3Error as error:
        raise EdgeL3Error(f"{source_file}: {error}") from error
    metadata = _check_metadata(model, network, source_file)
    kind = _check_ends(model, network, source_file)
    if metadata is not None and metadata.kind != kind:
        raise EdgeL3Error(f"{source_file}: metadata, kind: expected {kind}, found {metadata.kind}")
    _check_layers(model, arrays, network, metadata, kind, source_file)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise EdgeL3Error(f"{source_file}: {name}: contains NaN or infinite weights")


def _check_self_contained(model: "onnx.ModelProto", source_file: str) -> None:
    """Refuse graphs within the graph, and arrays in other files, wherever a field could hold them."""
    from onnx.external_data_helper import uses_external_data

    if model.functions:
        raise EdgeL3Error(f"{source_file}: defines operators of its own, {model.functions[0].name!r}")
    tensors = list(model.graph.initializer)
    sparse = list(model.graph.sparse_initializer)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise EdgeL3Error(f"{source_file}: {node.op_type} {node.name!r}: has a graph of its own")
            tensors += [attribute.t, *attribute.tensors]
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for array in sparse:
        tensors += [array.values, array.indices]
    for tensor in tensors:
        if uses_external_data(tensor):
            raise EdgeL3Error(
                f"{source_file}: {tensor.name}: its weights are in another file; save the graph as one file"
            )


def _check_it_runs(graph: bytes, network: NetworkSpec, source_file: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
        window = np.zeros([1 if not isinstance(size, int) else size for size in entry.shape], np.float32)
        (embedding,) = session.run(None, {entry.name: window})
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        raise EdgeL3Error(f"{source_file}: ONNX Runtime does not run it ({error})") from error
    if embedding.shape != (1, network.embedding_dim) or not np.isfinite(embedding).all():
        raise EdgeL3Error(
            f"{source_file}: gives values of shape {embedding.shape} for one window of silence, "
            f"expected {network.embedding_dim} finite ones"
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
            weight = node.input[1] if len(node.input) > 1 else ""
            layers.append((node, _weight_shape(weight, producers, arrays)))
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
    automatic = found.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER") and node.op_type == "Conv":  # the same for 3x3 at stride 1
        found["pads"] = [1, 1, 1, 1]
    elif automatic == b"VALID":
        found["pads"] = [0, 0, 0, 0]
    elif automatic != b"NOTSET":
        found["pads"] = automatic
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
    for _ in range(len(producers) + 1):  # a damaged graph may run in circles
        if name in arrays:
            return arrays[name].shape
        node = producers.get(name)
        if node is None or node.op_type not in _TRANSPARENT or not node.input:
            return None
        name = node.input[0]
    return None
