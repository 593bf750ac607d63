"""Route B: weights through Keras and tf2onnx, as an independent check of route A. Needs the extra
``[export-tf]``.

Keras itself reads the HDF5 file and matches it to its own layers; nothing is shared with route A but the
numbers of the networks. Run ``python -m edgel3_onnx.export --route tf``.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.export.convert.graph import OPSET, describe, serialise
from edgel3_onnx.spec import FRONTENDS, NETWORKS, NetworkSpec

if TYPE_CHECKING:
    import onnx


def construct_sparsified_audio_network() -> Any:
    """The ``sparse`` network as a keras.Model without trained weights, audio (N, 1, 48000) to embedding (N, 512).

    Its front end computes, its kernels are random, with an L2 penalty. Its ``load_weights`` takes the published
    files, decompressed. Raises EdgeL3Error if TensorFlow is not installed.
    """
    return _construct(NETWORKS["sparse"])


def construct_ust_specialized_audio_network(emb_dim: int = 128) -> Any:
    """A ``sea`` network as a keras.Model without trained weights, audio (N, 1, 8000) to embedding (N, emb_dim).

    Else as :func:`construct_sparsified_audio_network`. Raises EdgeL3ArgumentError unless ``emb_dim`` is 64, 128, 256
    or 512, EdgeL3Error if TensorFlow is not installed.
    """
    network = NETWORKS.get(f"sea-{emb_dim}")
    if network is None:
        raise EdgeL3ArgumentError(f"emb_dim must be one of 512, 256, 128, 64, got {emb_dim!r}")
    return _construct(network)


def convert(
    data: bytes,
    network: NetworkSpec,
    *,
    kind: str = "mel",
    variant: str | None = None,
    source_file: str,
    source_sha256: str,
) -> bytes:
    """Convert the uncompressed HDF5 file ``data`` into a serialised fp32 ONNX graph of ``kind`` "mel" or
    "waveform".

    Parameters, input, output and metadata as of route A (``h5_to_onnx.convert``); a waveform graph stores its
    front end's kernels as the HDF5 file has them. Raises EdgeL3Error if TensorFlow or tf2onnx is not
    installed, or Keras cannot load the weights.
    """
    from onnx import TensorProto, helper

    model = _construct(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.h5"
        path.write_bytes(data)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise EdgeL3Error(f"{source_file}: Keras cannot load these weights ({reason})") from error

    onnx_model = _trace(model, network, kind)
    graph = onnx_model.graph
    frontend = FRONTENDS[network.frontend]
    shape = [1, frontend.n_mels, frontend.n_frames] if kind == "mel" else [frontend.window_length]
    name = graph.input[0].name
    output = graph.output[0].name
    for node in graph.node:  # tf2onnx names the output after the function's last operation
        node.input[:] = ["embedding" if value == output else value for value in node.input]
        node.output[:] = ["embedding" if value == output else value for value in node.output]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", network.embedding_dim]))
    describe(
        onnx_model,
        network,
        kind=kind,
        variant=variant,
        filters=list(network.filters),
        source_file=source_file,
        source_sha256=source_sha256,
    )
    return serialise(onnx_model)


def _construct(network: NetworkSpec) -> Any:
    # TensorFlow reports on standard error what it would do with a GPU; errors still get through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from edgel3_onnx.export.keras_network import build_network
    except ImportError as error:
        raise EdgeL3Error(
            f"the Keras network needs TensorFlow 2.16 or newer ({error}): pip install 'edgel3-onnx[export-tf]'"
        ) from error
    return build_network(network)


def _trace(model: Any, network: NetworkSpec, kind: str) -> "onnx.ModelProto":
    """The graph that tf2onnx makes of ``model``, with this package's axes: channels second in an image."""
    import tensorflow as tf

    try:
        import tf2onnx
    except ImportError as error:
        raise EdgeL3Error("tf2onnx is not installed: pip install 'edgel3-onnx[export-tf]'") from error
    from edgel3_onnx.export.keras_network import mel_network

    frontend = FRONTENDS[network.frontend]
    if kind == "mel":
        network_only = mel_network(model)
        signature = [tf.TensorSpec((None, 1, frontend.n_mels, frontend.n_frames), tf.float32, name="melspectrogram")]

        def embed(image: tf.Tensor) -> tf.Tensor:
            return network_only(tf.transpose(image, (0, 2, 3, 1)), training=False)
    else:
        signature = [tf.TensorSpec((None, frontend.window_length), tf.float32, name="audio")]

        def embed(image: tf.Tensor) -> tf.Tensor:
            return model(image[:, tf.newaxis], training=False)

    traced: onnx.ModelProto
    traced, _ = tf2onnx.convert.from_function(
        tf.function(embed, input_signature=signature), input_signature=signature, opset=OPSET
    )
    return traced
