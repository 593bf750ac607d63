"""Write a network as an ONNX graph: fold BatchNorm, drop dead channels, describe the result."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.convert.hdf5 import Weights
from edgel3_onnx.metadata import GraphMetadata
from edgel3_onnx.spec import FRONTENDS, POOL_AFTER, NetworkSpec
from edgel3_onnx.version import __version__

if TYPE_CHECKING:
    import onnx

# Opset 17 with IR version 8 is read by every ONNX Runtime since 1.13 (October 2022), so also by the builds
# that phones, boards and web pages carry. The graphs need nothing newer: what their operators mean has not
# changed since opset 13, and a newer opset would only shut older runtimes out.
OPSET = 17
IR_VERSION = 8

FloatArray = npt.NDArray[np.float32]


def folded_convs(weights: Weights, network: NetworkSpec) -> list[tuple[FloatArray, FloatArray]]:
    """Fold each convolution's BatchNorm into it.

    Returns per convolution ``weight`` float32 (out, in, 3, 3) and ``bias`` float32 (out,). The arithmetic is
    float64, so the fold costs one rounding. It is exact because BatchNorm follows its convolution: zero
    padding has been summed already. The input BatchNorm precedes one, and is therefore not folded.
    """
    folded = []
    for conv in weights.convs:
        kernel = conv.kernel.astype(np.float64)
        bias = conv.bias.astype(np.float64)
        if conv.batch_norm is not None:
            scale, shift = conv.batch_norm.scale_and_shift(network.batch_norm_epsilon)
            kernel, bias = kernel * scale, bias * scale + shift
        weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), dtype=np.float32)
        folded.append((weight, bias.astype(np.float32)))
    return folded


def remove_dead_channels(convs: list[tuple[FloatArray, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
    """Remove the channels between convolutions that cannot influence the embedding.

    Such a channel either is zero everywhere (no incoming weight, bias <= 0, then ReLU) or is read by no later
    weight. A channel with no incoming weight but a positive bias stays: it is constant inside the map, but
    the next convolution sees zeros around it. Channels of the last convolution are the embedding and always
    stay.
    """
    convs = list(convs)
    changed = True
    while changed:  # a channel removed from one convolution can leave another one unread, or unfed
        changed = False
        for index in range(len(convs) - 1):
            (weight, bias), (next_weight, next_bias) = convs[index], convs[index + 1]
            silent = ~weight.any(axis=(1, 2, 3)) & (bias <= 0)
            unread = ~next_weight.any(axis=(0, 2, 3))
            keep = ~(silent | unread)
            if not keep.any():
                keep[0] = True  # a convolution needs one channel
            if not keep.all():
                convs[index] = weight[keep], bias[keep]
                convs[index + 1] = np.ascontiguousarray(next_weight[:, keep]), next_bias
                changed = True
    return convs


def build_mel_graph(
    weights: Weights, network: NetworkSpec, *, variant: str | None, source_file: str, source_sha256: str
) -> bytes:
    """Build the graph from log-mel image to embedding and check it.

    Input ``melspectrogram`` float32 (N, 1, n_mels, n_frames) in dB relative to the window's maximum; output
    ``embedding`` float32 (N, D). Returns the serialised ModelProto. Raises EdgeL3Error if folding overflows
    float32.
    """
    from onnx import TensorProto, helper, numpy_helper

    frontend = FRONTENDS[network.frontend]
    scale, shift = weights.input_batch_norm.scale_and_shift(network.batch_norm_epsilon)
    convs = remove_dead_channels(folded_convs(weights, network))
    tensors = {"input_scale": scale.astype(np.float32), "input_shift": shift.astype(np.float32)}

    nodes = [
        helper.make_node("Mul", ["melspectrogram", "input_scale"], ["input_scaled"], name="input_scale"),
        helper.make_node("Add", ["input_scaled", "input_shift"], ["input_normalised"], name="input_shift"),
    ]
    last = "input_normalised"

    def append(operator: str, name: str, inputs: tuple[str, ...] = (), **attributes: Any) -> None:
        nonlocal last
        nodes.append(helper.make_node(operator, [last, *inputs], [f"{name}.out"], name=name, **attributes))
        last = f"{name}.out"

    for number, (weight, bias) in enumerate(convs, 1):
        tensors[f"conv{number}.weight"], tensors[f"conv{number}.bias"] = weight, bias
        append(
            "Conv",
            f"conv{number}",
            (f"conv{number}.weight", f"conv{number}.bias"),
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
        )
        if number < len(convs) or network.final_activation:
            append("Relu", f"relu{number}")
        if number in POOL_AFTER:
            append("MaxPool", f"pool{number}", kernel_shape=[2, 2], strides=[2, 2])
    append("GlobalMaxPool", "pool")
    nodes.append(helper.make_node("Flatten", [last], ["embedding"], name="flatten", axis=1))

    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise EdgeL3Error(f"{source_file}: {name} overflows float32 once BatchNormalization is folded in")
    graph = helper.make_graph(
        nodes,
        "edgel3",
        [
            helper.make_tensor_value_info(
                "melspectrogram", TensorProto.FLOAT, ["N", 1, frontend.n_mels, frontend.n_frames]
            )
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", network.embedding_dim])],
    )
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    describe(
        model,
        network,
        kind="mel",
        variant=variant,
        filters=[len(bias) for _, bias in convs],
        source_file=source_file,
        source_sha256=source_sha256,
    )
    return serialise(model)


def describe(
    model: "onnx.ModelProto",
    network: NetworkSpec,
    *,
    kind: str,
    variant: str | None,
    filters: list[int],
    source_file: str,
    source_sha256: str,
) -> None:
    """Write into an fp32 graph what it is and what it was made from; ``filters`` are its channels per convolution."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "edgel3-onnx", __version__
    metadata = GraphMetadata(
        variant=variant,
        kind=kind,
        precision="fp32",
        frontend=FRONTENDS[network.frontend],
        network=dataclasses.asdict(network),
        filters=filters,
        source_file=source_file,
        source_sha256=source_sha256,
        exporter=__version__,
    )
    write_metadata(model, metadata)


def parse(graph: bytes, source_file: str) -> "onnx.ModelProto":
    """Read a serialised graph. Raises EdgeL3Error, naming ``source_file``, if it is not an ONNX model."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise EdgeL3Error(f"{source_file}: not an ONNX graph, or a truncated one") from error
    if not model.graph.node:
        raise EdgeL3Error(f"{source_file}: not an ONNX graph (it has no nodes)")
    return model


def read_metadata(model: "onnx.ModelProto", source_file: str) -> GraphMetadata | None:
    """What this package wrote about a graph, or None for a graph of other origin.

    Raises EdgeL3Error, naming ``source_file``, if that is damaged.
    """
    return GraphMetadata.read({entry.key: entry.value for entry in model.metadata_props}, source_file)


def write_metadata(model: "onnx.ModelProto", metadata: GraphMetadata) -> None:
    """Replace what is written about a graph."""
    from onnx import helper

    others = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**others, **metadata.write()})


def serialise(model: "onnx.ModelProto") -> bytes:
    """Check a finished graph, shapes included, and return its bytes: the same for the same graph."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
