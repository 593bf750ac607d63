"""The teacher: SEA-64 from the published weight file, run by ONNX Runtime in float32."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgel3_onnx.export.convert.h5_to_onnx import convert
from edgel3_onnx.export.convert.source import decompress
from edgel3_onnx.spec import NETWORKS

VARIANT = "sea-64"


def session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def graph(weights: Path) -> bytes:
    """SEA-64's mel graph from `edgel3_sea_ust_audio_emb_64.h5.gz`."""
    data = weights.read_bytes()
    return convert(
        decompress(data, weights.name),
        NETWORKS[VARIANT],
        variant=VARIANT,
        source_file=weights.name,
        source_sha256=hashlib.sha256(data).hexdigest(),
    )


class Teacher:
    """Embeddings, and the activation map just before the global maximum."""

    def __init__(self, weights: Path, threads: int = 1) -> None:
        model = onnx.load_from_string(graph(weights))
        self._map = next(node.input[0] for node in model.graph.node if node.op_type == "GlobalMaxPool")
        model.graph.output.append(onnx.helper.make_tensor_value_info(self._map, onnx.TensorProto.FLOAT, None))
        self._session = session(model.SerializeToString(), threads)

    def maps(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, 64, 8, 6) for images float32 (n, 1, 64, 50); their maximum over a map is the embedding."""
        return self._session.run([self._map], {"melspectrogram": images})[0]
