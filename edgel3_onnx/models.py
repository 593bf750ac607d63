"""Loading embedding models by the names that edgel3 gave them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx import frontend
from edgel3_onnx.audio import frame
from edgel3_onnx.engines.session import Engine, check_provider, open_engine
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.metadata import PRECISIONS, GraphMetadata
from edgel3_onnx.spec import FrontEndSpec
from edgel3_onnx.store import weights as store
from edgel3_onnx.store.registry import Variant, find_variant

_BATCH_SIZES = {"sea": 32, "sparse": 4}  # windows; activations of a batch stay around 100 MB


@dataclass(frozen=True)
class ModelInfo:
    """Where a loaded model comes from."""

    variant: str  # id in the registry, which a graph of one's own shares with the network it stands in for
    kind: str  # "mel" (takes log-mel images) or "waveform" (takes samples)
    precision: str  # "fp32", "int8" or "fp16"
    path: Path  # the graph
    weights_sha256: str | None  # hex, of the file that the graph was made from; None if the graph does not say
    licence: str
    citation: str


class EmbeddingModel:
    """A loaded network together with its front end. Threads may share it.

    Attributes
    ----------
    sample_rate : int
        Rate in Hz that audio is resampled to.
    embedding_dim : int
        Size D of one embedding.
    output_shape : (None, int)
        ``(None, embedding_dim)``, as a Keras model has it.
    providers : list of str
        The ONNX Runtime execution providers of the session, the one asked for first; ``["native"]`` for the
        native engine.
    batch_size : int
        Windows per run unless the caller says otherwise.
    spec : FrontEndSpec
    info : ModelInfo
    """

    def __init__(self, engine: Engine, variant: Variant, info: ModelInfo) -> None:
        self.spec: FrontEndSpec = variant.spec
        self.sample_rate = variant.spec.sample_rate
        self.embedding_dim = variant.embedding_dim
        self.output_shape = (None, variant.embedding_dim)
        self.batch_size = _BATCH_SIZES[variant.frontend]
        self.info = info
        self._engine = engine

    @property
    def providers(self) -> list[str]:
        return list(self._engine.providers)

    def prepare(
        self,
        audio: NDArray[np.float32],
        *,
        hop_length: int,
        center: bool = False,
        start: int = 0,
        count: int | None = None,
    ) -> NDArray[np.float32]:
        """What the network takes for ``count`` windows of ``audio`` from window ``start`` on.

        Parameters
        ----------
        audio : float32 (N,)
            Mono, at ``sample_rate``.
        hop_length : int
            Samples between windows.

        Returns
        -------
        float32 (count, 1, n_mels, n_frames), or (count, sample_rate) for a waveform graph
        """
        make = frontend.log_mel if self.info.kind == "mel" else frame
        return make(audio, self.spec, hop_length=hop_length, center=center, start=start, count=count)

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings float32 (N, D) of what ``prepare`` returned for N windows."""
        return self._engine.run(batch)


def load_embedding_model_path(
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    *,
    precision: str = "fp32",
) -> str:
    """Path of a variant's ONNX graph, which is downloaded and converted on first use.

    Parameters as of :func:`load_embedding_model`.

    Raises
    ------
    EdgeL3ArgumentError
        If there is no such variant.
    EdgeL3Error
        If its weights cannot be had; the message says what was tried and the ways out.
    """
    variant = find_variant(model_type, emb_dim, retrain_type, sparsity)
    return os.fspath(store.embedding_model_path(variant, precision=_check_precision(precision)))


def load_embedding_model(
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    *,
    provider: str = "cpu",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    provider_options: Mapping[str, str] | None = None,
    verbose: bool = True,
) -> EmbeddingModel:
    """Load an embedding model. The same arguments give the same object as long as it is in use.

    Parameters
    ----------
    model_type : {"sparse", "sea", "micro"}
    emb_dim : {512, 256, 128, 64}
        Size of a ``sea`` embedding. ``sparse`` embeddings have 512 values, whatever this says.
    retrain_type : {"ft", "kd"}
        How a ``sparse`` network was trained after pruning.
    sparsity : {53.5, 63.5, 72.3, 73.5, 81.0, 87.0, 90.5, 95.45}
        Percentage of zero weights of a ``sparse`` network.
    provider : str
        What runs the network: "cpu", "cuda", "tensorrt", "openvino", "coreml", "directml", "xnnpack", "qnn",
        "migraphx", "webgpu", "native" (this package's own engine on the CPU; "sparse" is another name of it), or
        "auto". A device number may follow: "cuda:1".
    num_threads : int or None
        CPU threads; None: as many as this process may use CPUs.
    weights : path or None
        A .h5, .h5.gz or .onnx file of one's own in place of the published weights.
    precision : {"fp32", "int8", "fp16"}
        int8 and fp16 graphs are made from the fp32 one on first use; micro in int8 comes with the package.
    provider_options : mapping of str to str, or None
        Options of the ONNX Runtime execution provider.
    verbose : bool
        Show a progress bar while weights are downloaded, where standard error is a terminal.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed.
    EdgeL3Error
        If the weights cannot be had or do not fit, or the provider is absent or does not load.
    """
    variant = find_variant(model_type, emb_dim, retrain_type, sparsity)
    check_provider(provider)
    if num_threads is not None and (not isinstance(num_threads, int) or num_threads < 1):
        raise EdgeL3ArgumentError(f"num_threads must be a positive integer or None, got {num_threads!r}")
    _check_precision(precision)
    if weights is None:
        path = store.embedding_model_path(variant, precision=precision, verbose=verbose)
    elif variant.network is None:
        raise EdgeL3ArgumentError(f"weights cannot be given for model_type {model_type!r}")
    else:
        path = store.convert_file(Path(weights), variant.network, precision=precision)
    options = tuple(sorted((provider_options or {}).items()))
    stamp = path.stat()
    return _open_model(variant, path, (stamp.st_mtime_ns, stamp.st_size), provider, num_threads, options)


@lru_cache(maxsize=4)
def _open_model(
    variant: Variant,
    path: Path,
    stamp: tuple[int, int],  # only so that a graph that was replaced on disk is opened anew
    provider: str,
    num_threads: int | None,
    provider_options: tuple[tuple[str, str], ...],
) -> EmbeddingModel:
    engine = open_engine(
        path,
        provider,
        num_threads=num_threads,
        provider_options=dict(provider_options),
    )
    metadata = GraphMetadata.read(engine.metadata, path)
    if metadata is not None:
        metadata.check(variant.spec, variant.network_spec, path)
    info = ModelInfo(
        variant=variant.id,
        kind=metadata.kind if metadata else engine.kind,
        precision=metadata.precision if metadata else "fp32",
        path=path,
        weights_sha256=metadata.source_sha256 if metadata else None,
        licence=variant.licence,
        citation=variant.citation,
    )
    return EmbeddingModel(engine, variant, info)


def _check_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise EdgeL3ArgumentError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    return precision


def _construct_sparsified_audio_network() -> Any:
    """The uninitialised Keras network of the ``sparse`` models. Needs the extra ``[export-tf]``."""
    from edgel3_onnx.export.keras_to_onnx import construct_sparsified_audio_network

    return construct_sparsified_audio_network()


def _construct_ust_specialized_audio_network(emb_dim: int = 128) -> Any:
    """The uninitialised Keras network of a ``sea`` model. Needs the extra ``[export-tf]``."""
    from edgel3_onnx.export.keras_to_onnx import construct_ust_specialized_audio_network

    return construct_ust_specialized_audio_network(emb_dim)
