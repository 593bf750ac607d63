"""Make a smaller graph: int8 for CPUs with integer dot products, fp16 for GPUs."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.export.convert.calibration import Calibration, built_in
from edgel3_onnx.export.convert.compact import expand
from edgel3_onnx.export.convert.graph import parse, read_metadata, serialise, write_metadata

if TYPE_CHECKING:
    import onnx

_BATCH = 8  # images per run while calibrating


def quantize(graph: bytes, precision: str, calibration: Calibration | None = None) -> bytes:
    """Convert an fp32 graph of kind "mel" to ``precision`` "int8" or "fp16"; input and output stay float32.

    int8: activations are asymmetric uint8 with one scale per tensor, weights symmetric int8 with one scale
    per output channel, both as QuantizeLinear/DequantizeLinear pairs that any runtime can read. Ranges are
    the extremes over ``calibration``, by default the built-in set. The weights use 7 of their 8 bits: x86
    CPUs without VNNI add pairs of products in 16 bits, which 8-bit weights overflow. The input BatchNorm and
    the first convolution, 1 % of the work but most of the error (its input spans 80 dB), stay float32.

    fp16: weights and activations are float16 behind the input BatchNorm.

    Raises EdgeL3ArgumentError for another precision, EdgeL3Error if ``graph`` is not an fp32 mel graph.
    """
    if precision not in ("int8", "fp16"):
        raise EdgeL3ArgumentError(f"precision must be int8 or fp16, got {precision!r}")
    model = parse(graph, "graph")
    metadata = read_metadata(model, "graph")
    if metadata is None:
        raise EdgeL3Error(f"only graphs with metadata of this package can be made {precision}")
    if (metadata.kind, metadata.precision) != ("mel", "fp32"):
        found = f"{metadata.kind} {metadata.precision}"
        raise EdgeL3Error(f"only a graph of kind mel in fp32 can be made {precision}, this one is {found}")
    images = None
    if precision == "int8":
        calibration = calibration or built_in(metadata.frontend)
        metadata, images = dataclasses.replace(metadata, calibration=calibration.name), calibration.images
    try:
        expand(model)
        model = _to_fp16(model) if images is None else _to_int8(model, images)
        write_metadata(model, dataclasses.replace(metadata, precision=precision))
        return serialise(model)
    except (EdgeL3Error, MemoryError):
        raise
    except Exception as error:  # onnx and ONNX Runtime raise what a graph of another make suggests to them
        reason = " ".join(str(error).split())[:200]
        raise EdgeL3Error(f"this graph cannot be made {precision} ({reason})") from error


def _head(model: "onnx.ModelProto") -> list["onnx.NodeProto"]:
    """The nodes in front of the first convolution."""
    nodes = list(model.graph.node)
    convs = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    if not convs:
        raise EdgeL3Error("the graph has no convolution")
    return nodes[: convs[0]]


def _to_int8(model: "onnx.ModelProto", images: npt.NDArray[np.float32]) -> "onnx.ModelProto":
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    nodes, head = list(model.graph.node), _head(model)
    end = len(head) + 1
    while nodes[end].op_type == "Relu":
        end += 1
    in_fp32 = nodes[:end]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands the calibration images to ONNX Runtime, a few at a time."""

        def __init__(self) -> None:
            self._batches: Iterator[dict[str, npt.NDArray[np.float32]]] = iter(
                {model.graph.input[0].name: images[start : start + _BATCH]} for start in range(0, len(images), _BATCH)
            )

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self._batches, None)

    # Says that shapes are inferred and BatchNorm is folded already; without it ONNX Runtime logs a warning.
    prepared = model.metadata_props.add()
    prepared.key, prepared.value = "onnx.quant.pre_process", "onnxruntime.quant"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            output,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[node.name for node in in_fp32],
        )
        quantized = onnx.load_model(output)
    kept = [entry for entry in quantized.metadata_props if not entry.key.startswith("onnx.")]
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(kept)
    return quantized


def _to_fp16(model: "onnx.ModelProto") -> "onnx.ModelProto":
    from onnx import TensorProto, helper, numpy_helper

    graph, head = model.graph, _head(model)
    in_head = {name for node in head for name in node.input}
    halves = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        is_weight = array.dtype == np.float32 and tensor.name not in in_head
        halves.append(numpy_helper.from_array(_half(array, tensor.name), tensor.name) if is_weight else tensor)
    tail = list(graph.node)[len(head) :]
    source, result = tail[0].input[0], graph.output[0].name
    tail[0].input[0], tail[-1].output[0] = f"{source}.fp16", f"{result}.fp16"
    nodes = [
        *head,
        helper.make_node("Cast", [source], [f"{source}.fp16"], name="to_fp16", to=TensorProto.FLOAT16),
        *tail,
        helper.make_node("Cast", [f"{result}.fp16"], [result], name="to_fp32", to=TensorProto.FLOAT),
    ]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(halves)
    return model


def _half(array: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise EdgeL3Error(f"{name} has values beyond the range of fp16 (65504)")
    return half
