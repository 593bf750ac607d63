"""The ONNX graph of the student, written without PyTorch."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgel3_onnx.spec import FRONTENDS
from edgel3_onnx.version import __version__
from training.architecture import ARCHITECTURE, EMBEDDING_DIM, INPUT_SCALE, INPUT_SHIFT, describe

OUTPUT = Path(__file__).parent.parent / "onnx_models" / "micro.onnx"
INT8_OUTPUT = OUTPUT.with_suffix(".int8.onnx")
OPSET, IR_VERSION = 17, 8


def build(layers: list[tuple[np.ndarray, np.ndarray]], teacher_file: str, teacher_sha256: str) -> bytes:
    """Serialised ModelProto: `melspectrogram` float32 (N, 1, 64, 50) to `embedding` float32 (N, 64).

    `layers` holds weight (out, in, 3, 3) and bias (out,), float32, of each convolution.
    """
    spec = FRONTENDS["sea"]
    constants = {
        "input_scale": np.array([INPUT_SCALE], np.float32),
        "input_shift": np.array([INPUT_SHIFT], np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["melspectrogram", "input_scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "input_shift"], ["normalised"]),
    ]
    x = "normalised"
    outputs: list[str] = []
    for k, (layer, (weight, bias)) in enumerate(zip(ARCHITECTURE, layers, strict=True), start=1):
        names = [f"conv{k}.weight", f"conv{k}.bias"]
        constants |= dict(zip(names, (weight, bias), strict=True))
        nodes.append(helper.make_node("Conv", [x, *names], [f"conv{k}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        x = f"conv{k}"
        if layer.skip:
            nodes.append(helper.make_node("Add", [x, outputs[-layer.skip]], [f"sum{k}"]))
            x = f"sum{k}"
        if layer.activation == "relu":
            nodes.append(helper.make_node("Relu", [x], [f"active{k}"]))
        else:  # SiLU: x sigmoid(x)
            nodes.append(helper.make_node("Sigmoid", [x], [f"sigmoid{k}"]))
            nodes.append(helper.make_node("Mul", [x, f"sigmoid{k}"], [f"active{k}"]))
        x = f"active{k}"
        outputs.append(x)
        if layer.pool:
            nodes.append(helper.make_node("MaxPool", [x], [f"pool{k}"], kernel_shape=[2, 2], strides=[2, 2]))
            x = f"pool{k}"
    nodes.append(helper.make_node("GlobalMaxPool", [x], ["maximum"]))
    nodes.append(helper.make_node("Flatten", ["maximum"], ["embedding"], axis=1))
    for node in nodes:
        node.name = node.output[0]
    graph = helper.make_graph(
        nodes,
        "micro",
        [helper.make_tensor_value_info("melspectrogram", TensorProto.FLOAT, ["N", 1, spec.n_mels, spec.n_frames])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", EMBEDDING_DIM])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name, model.producer_version = "edgel3-onnx", __version__
    metadata = {
        "format": 1,
        "variant": "micro",
        "kind": "mel",
        "precision": "fp32",
        "frontend": asdict(spec),
        "network": {"student_of": "sea-64", "embedding_dim": EMBEDDING_DIM, "architecture": describe()},
        "filters": [layer.filters for layer in ARCHITECTURE],
        "source": {"file": teacher_file, "sha256": teacher_sha256},
        "exporter": __version__,
    }
    helper.set_model_props(model, {"edgel3_onnx": json.dumps(metadata, sort_keys=True, separators=(",", ":"))})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
