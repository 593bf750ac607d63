"""Loading embedding models by the names that edgel3 gave them."""

import hashlib
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx import frontend
from edgel3_onnx.audio import check_finite, frame, to_float
from edgel3_onnx.checks import check_choice, check_flag, check_optional_count
from edgel3_onnx.engines.providers import check_provider
from edgel3_onnx.engines.session import Engine, open_engine
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.metadata import COMPUTED, GraphMetadata, graph_precision
from edgel3_onnx.spec import FrontEndSpec
from edgel3_onnx.store import weights as store
from edgel3_onnx.store.registry import Variant, find_variant

_BATCH_SIZES = {"sea": 32, "sparse": 4}  # windows; activations of a batch stay around 100 MB


@dataclass(frozen=True)
class ModelOptions:
    """The arguments of :func:`load_embedding_model`, checked: they travel together, also between processes."""

    model_type: str = "sparse"
    emb_dim: int = 128
    retrain_type: str = "ft"
    sparsity: float = 95.45
    provider: str = "cpu"
    num_threads: int | None = None
    weights: str | None = None  # absolute path
    precision: str = "fp32"
    provider_options: tuple[tuple[str, str], ...] = ()
    verbose: bool = field(default=True, compare=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "ModelOptions":
        """Those of ``arguments`` that are a model's, such as a function finds in its own ``locals()``.

        Raises
        ------
        EdgeL3ArgumentError
            If one is not allowed.
        """
        given = {each.name: arguments[each.name] for each in fields(cls) if each.name in arguments}
        options = cls(
            **{
                **given,
                "num_threads": check_optional_count("num_threads", given.get("num_threads")),
                "weights": _absolute(given.get("weights")),
                "precision": check_choice("precision", given.get("precision", "fp32"), COMPUTED),
                "provider_options": _pairs(given.get("provider_options")),
                "verbose": check_flag("verbose", given.get("verbose", True)),
            }
        )
        variant = options.variant
        check_provider(options.provider)
        if options.weights is not None and variant.network is None:
            raise EdgeL3ArgumentError(f"weights cannot be given for model_type {options.model_type!r}")
        return options

    @property
    def variant(self) -> Variant:
        return find_variant(self.model_type, self.emb_dim, self.retrain_type, self.sparsity)

    def graph(self) -> Path:
        """The graph, which is downloaded and converted on first use. EdgeL3Error if it cannot be had."""
        precision = graph_precision(self.precision)
        if self.weights is None:
            return store.embedding_model_path(self.variant, precision=precision, verbose=self.verbose)
        assert self.variant.network is not None
        return store.convert_file(self.weights, self.variant.network, precision=precision)

    def load(self) -> "EmbeddingModel":
        """The model, or the one that is in use if it was loaded with the same options from the same file."""
        path = self.graph()
        with _loading:
            stamp = path.stat()
            key = (self, path, stamp.st_mtime_ns, stamp.st_size)
            model = _in_use.get(key)
            if model is None:
                model = _in_use[key] = _open(self, path)
        return model


_loading = threading.Lock()
_in_use: "weakref.WeakValueDictionary[object, EmbeddingModel]" = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class ModelInfo:
    """Where a loaded model comes from."""

    variant: str  # id in the registry, which a graph of one's own shares with the network it stands in for
    kind: str  # "mel" (takes log-mel images) or "waveform" (takes samples)
    precision: str  # "fp32", "int8", "fp16" or "bf16"
    path: Path  # the graph
    graph_sha256: str  # hex, of the graph
    source_sha256: str | None  # hex, of the file that the graph was made from; None if the graph does not say
    licence: str
    citation: str


class EmbeddingModel:
    """A loaded network together with its front end. Threads may share it.

    It is pickled as what it was loaded from, and opened anew where it arrives.

    Parameters
    ----------
    engine, variant, info, options : Engine, Variant, ModelInfo, ModelOptions
        What :func:`edgel3_onnx.load_embedding_model` makes it of.

    Attributes
    ----------
    sample_rate : int
        Rate in Hz that audio is resampled to.
    embedding_dim : int
        Size D of one embedding.
    input_shape : (None, 1, int)
        ``(None, 1, sample_rate)``: windows of one second, channels first, as the Keras model has it.
    output_shape : (None, int)
        ``(None, embedding_dim)``, likewise.
    providers : list of str
        The ONNX Runtime execution providers of the session, the one asked for first; the name of this package's
        own engine where that runs.
    batch_size : int
        Windows per run unless the caller says otherwise.
    spec : FrontEndSpec
    info : ModelInfo
    options : ModelOptions
        What it was loaded with.

    Examples
    --------
    >>> model = edgel3_onnx.load_embedding_model("micro")
    >>> model.sample_rate, model.embedding_dim, model.info.licence
    (8000, 64, 'MIT')
    """

    def __init__(self, engine: Engine, variant: Variant, info: ModelInfo, options: ModelOptions) -> None:
        self.spec: FrontEndSpec = variant.spec
        self.sample_rate = variant.spec.sample_rate
        self.embedding_dim = variant.embedding_dim
        self.input_shape = (None, 1, variant.spec.window_length)
        self.output_shape = (None, variant.embedding_dim)
        self.batch_size = _BATCH_SIZES[variant.frontend]
        self.info = info
        self.options = options
        self._engine = engine

    def __repr__(self) -> str:
        return (
            f"<EmbeddingModel {self.info.variant}: 1 s of audio at {self.sample_rate} Hz -> {self.embedding_dim} "
            f"values, {self.info.precision}, {self.providers[0]}, {self.info.path}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.options, _origin(self.options, self.info))

    def __copy__(self) -> "EmbeddingModel":
        return self  # nothing of it changes, and what it was loaded from need not be there any more

    def __deepcopy__(self, memo: object) -> "EmbeddingModel":
        return self

    @property
    def providers(self) -> list[str]:
        """Names of the execution providers.

        Examples
        --------
        >>> model.providers
        ['CPUExecutionProvider']
        """
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
        center : bool
            Put half a second of zeros in front.
        start : int
            The first window.
        count : int or None
            None: all from there on.

        Returns
        -------
        float32 (count, 1, n_mels, n_frames), or (count, sample_rate) for a waveform graph
            Images or samples, for :meth:`predict`.

        Examples
        --------
        >>> model.prepare(numpy.zeros(24000, numpy.float32), hop_length=8000).shape
        (3, 1, 64, 50)
        """
        make = frontend.log_mel if self.info.kind == "mel" else frame
        return make(audio, self.spec, hop_length=hop_length, center=center, start=start, count=count)

    def predict(self, x: ArrayLike, batch_size: int | None = None, verbose: object = 0) -> NDArray[np.float32]:
        """Embed windows, as a Keras model does.

        Parameters
        ----------
        x : array (N, sample_rate), (N, 1, sample_rate), or what ``prepare`` returned for N windows
            Windows of one second of mono audio at ``sample_rate``: floating point, or integer PCM as in
            :func:`edgel3_onnx.get_embedding`.
        batch_size : int or None
            Windows of samples per run; None: the model's own choice.
        verbose : object
            Ignored.

        Returns
        -------
        float32 (N, embedding_dim)
            A row for each window.

        Raises
        ------
        EdgeL3ArgumentError
            If ``x`` has another shape, is not numeric, or has a NaN or infinite sample.

        Examples
        --------
        >>> model.predict(numpy.zeros((2, 8000))).shape
        (2, 64)
        """
        length, image = self.spec.window_length, (1, self.spec.n_mels, self.spec.n_frames)
        if isinstance(x, np.ndarray) and x.shape[1:] == image and x.dtype.kind == "f" and self.info.kind == "mel":
            return self._engine.run(np.asarray(x, np.float32))
        windows = to_float(x)
        if windows.ndim == 3 and windows.shape[1] == 1:
            windows = windows[:, 0]
        if windows.ndim != 2 or windows.shape[1] != length:
            raise EdgeL3ArgumentError(
                f"x must have shape (N, {length}) or (N, 1, {length}), or come from prepare, got {windows.shape}"
            )
        check_finite("x", windows)
        step = check_optional_count("batch_size", batch_size) or self.batch_size
        parts = [np.zeros((0, self.embedding_dim), np.float32)]
        for start in range(0, len(windows), step):
            samples = np.ascontiguousarray(windows[start : start + step])
            parts.append(self._engine.run(self.prepare(samples.reshape(-1), hop_length=length)))
        return np.concatenate(parts)


def load_embedding_model_path(
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    *,
    precision: str = "fp32",
) -> str:
    """Path of a variant's ONNX graph, which is downloaded and converted on first use.

    Parameters
    ----------
    model_type, emb_dim, retrain_type, sparsity, precision : str, int, str, float, str
        As of :func:`load_embedding_model`.

    Returns
    -------
    str
        The file, which others may use but must not change.

    Raises
    ------
    EdgeL3ArgumentError
        If there is no such variant.
    EdgeL3Error
        If its weights cannot be had; the message says what was tried and the ways out.

    Examples
    --------
    >>> edgel3_onnx.load_embedding_model_path("micro").endswith("micro.onnx")
    True
    """
    return os.fspath(ModelOptions.of(locals()).graph())


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
    """Load an embedding model.

    As long as a model is in use, the same arguments give the same object, to every thread; it is freed when nobody
    uses it any more. A graph that was replaced on disk is another model.

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
        "cpu", "cuda", "tensorrt", "tensorrt-rtx", "openvino", "coreml", "directml", "xnnpack", "qnn", "migraphx",
        "mlx", "webgpu", or ONNX Runtime's own name of one, "native" (this package's own engine on the CPU; "sparse" is
        another name of it), or "auto". A device may follow: "cuda:1", "openvino:gpu".
    num_threads : int or None
        CPU threads; None: as many as this process may use CPUs.
    weights : path or None
        A .h5, .h5.gz or .onnx file of one's own in place of the published weights.
    precision : {"fp32", "int8", "fp16", "bf16"}
        int8 and fp16 graphs are made from the fp32 one on first use; micro in int8 comes with the package. bf16
        computes the fp32 graph in bfloat16, on the CPUs that do it fast. fp32 is fp32 on every provider.
    provider_options : mapping of str to str, or None
        Options of the ONNX Runtime execution provider; and ``fallback="cpu"``, which lets the CPU run the nodes that
        the provider does not take.
    verbose : bool
        Show a progress bar while weights are downloaded, where standard error is a terminal.

    Returns
    -------
    EmbeddingModel
        Which threads may share.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed.
    EdgeL3Error
        If the weights cannot be had or do not fit, or the provider is absent, does not load, leaves nodes to the CPU,
        or cannot compute in that precision.

    Examples
    --------
    >>> edgel3_onnx.load_embedding_model("micro", precision="int8").embedding_dim
    64
    """
    return ModelOptions.of(locals()).load()


def models_in_use() -> list[EmbeddingModel]:
    """The models that somebody in this process holds."""
    return list(_in_use.values())


def given_or_loaded(model: object, arguments: Mapping[str, Any]) -> EmbeddingModel:
    """``model`` if it is one; if it is None, the one that ``arguments`` name, which is kept for the next call.

    Raises
    ------
    EdgeL3ArgumentError
        If ``model`` is something else.
    """
    global _kept
    if isinstance(model, EmbeddingModel):
        return model
    if model is not None:
        raise EdgeL3ArgumentError(
            f"model must come from load_embedding_model, got an object of type {type(model).__name__}"
        )
    _kept = loaded = ModelOptions.of(arguments).load()
    return loaded


_kept: EmbeddingModel | None = None


def _open(options: ModelOptions, path: Path) -> EmbeddingModel:
    variant = options.variant
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
    engine = open_engine(
        path,
        options.provider,
        num_threads=options.num_threads,
        provider_options=dict(options.provider_options),
        precision=options.precision,
    )
    metadata = GraphMetadata.read(engine.metadata, path)
    if metadata is not None:
        metadata.check(variant.spec, variant.network_spec, path)
    precision = metadata.precision if metadata else "fp32"
    if options.precision == "bf16":
        if precision != "fp32":
            raise EdgeL3Error(f"{path}: precision bf16 is computed from an fp32 graph, and this one is {precision}")
        precision = "bf16"
    info = ModelInfo(
        variant=variant.id,
        kind=metadata.kind if metadata else engine.kind,
        precision=precision,
        path=path,
        graph_sha256=digest,
        source_sha256=metadata.source_sha256 if metadata else None,
        licence=variant.licence,
        citation=variant.citation,
    )
    return EmbeddingModel(engine, variant, info, options)


def _reopen(options: ModelOptions, origin: str | None) -> EmbeddingModel:
    """Unpickle. EdgeL3Error if what lies where the model was loaded from is another one."""
    model = options.load()
    if _origin(options, model.info) != origin:
        raise EdgeL3Error(f"{model.info.path}: is another graph than the one that was pickled (sha256 {origin})")
    return model


def _origin(options: ModelOptions, info: ModelInfo) -> str | None:
    """What a model must have in common with its pickled self. Graphs made on two machines may differ in some bytes."""
    own_graph = options.weights is not None and Path(options.weights) == info.path
    return info.graph_sha256 if own_graph else info.source_sha256


def _absolute(weights: object) -> str | None:
    if weights is None:
        return None
    if not isinstance(weights, str | os.PathLike):
        raise EdgeL3ArgumentError(f"weights must be the path of a file or None, got {weights!r}")
    return os.path.abspath(os.fspath(weights))


def _pairs(options: object) -> tuple[tuple[str, str], ...]:
    if options is None:
        return ()
    if not isinstance(options, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str | int | float) for key, value in options.items()
    ):
        raise EdgeL3ArgumentError(f"provider_options must be a mapping of names to values, got {options!r}")
    return tuple(sorted((key, str(value)) for key, value in options.items()))


def _construct_sparsified_audio_network(**kwargs: Any) -> Any:
    """The uninitialised Keras network of the ``sparse`` models. Needs the extra ``[export-tf]``."""
    from edgel3_onnx.export.keras_to_onnx import construct_sparsified_audio_network

    return construct_sparsified_audio_network()


def _construct_ust_specialized_audio_network(emb_dim: int = 128, **kwargs: Any) -> Any:
    """The uninitialised Keras network of a ``sea`` model. Needs the extra ``[export-tf]``."""
    from edgel3_onnx.export.keras_to_onnx import construct_ust_specialized_audio_network

    return construct_ust_specialized_audio_network(emb_dim)


MODELS = {"sparse": _construct_sparsified_audio_network, "sea": _construct_ust_specialized_audio_network}
