"""From audio files to embeddings: decoded in blocks, so that memory does not grow with their length."""

import hashlib
import os
import warnings as python_warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import check_hop_size, check_sample_rate, mix_down
from edgel3_onnx.embedding import check_options, embed
from edgel3_onnx.engines.session import NATIVE
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.models import EmbeddingModel, load_embedding_model
from edgel3_onnx.outputs.arrays import Metadata, write_npz
from edgel3_onnx.recordings.decode import open_recording
from edgel3_onnx.streaming import WindowStream
from edgel3_onnx.version import __version__

_MIN_BLOCK = 1.0  # seconds decoded at a time, at least


@dataclass(frozen=True)
class Options:
    """How recordings are cut into windows, as of :func:`edgel3_onnx.get_embedding`."""

    center: bool = True
    hop_size: float = 0.1  # seconds
    resampler: str = "kaiser_best"
    batch_size: int | None = None  # windows per run; None: the model's own choice


@dataclass(eq=False)
class Job:
    """One file, and what became of it.

    Attributes
    ----------
    path : str
    skip : bool
        Do not even open the file.
    error : str or None
        Why there is no embedding, without the path.
    warnings : list of str
        What is unusual about the audio, without the path.
    sample_rate : float
        Of the recording, in Hz.
    samples : int
        Per channel, at that rate.
    embedding : float32 (T, D) or None
    timestamps : float64 (T,) or None
        Seconds.
    """

    path: str
    skip: bool = False
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    sample_rate: float = 0.0
    samples: int = 0
    embedding: NDArray[np.float32] | None = None
    timestamps: NDArray[np.float64] | None = None

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    def metadata(self) -> Metadata:
        """What decoding told about the file."""
        rate = self.sample_rate
        return {"sample_rate": int(rate) if rate.is_integer() else rate, "samples": self.samples}


def embed_files(
    model: EmbeddingModel, jobs: Iterable[Job], options: Options, *, show_progress: bool = False
) -> Iterator[Job]:
    """Compute the embeddings of many files, in batches that files share.

    Parameters
    ----------
    jobs : iterable of Job
        Read in a thread of its own, ahead of the runs.
    show_progress : bool
        Show a progress bar of windows where standard error is a terminal.

    Yields
    ------
    Job
        The same objects in the same order, each with its embedding or its error.

    Raises
    ------
    EdgeL3ArgumentError
        If an option is not one of those allowed.
    """
    check_options(options.center, 0, options.batch_size, options.resampler)
    hop_length = check_hop_size(options.hop_size, model.sample_rate)
    batch_size = options.batch_size or model.batch_size
    started: deque[Job] = deque()

    def signals() -> Iterator[Iterator[NDArray[np.float32]]]:
        for job in jobs:
            started.append(job)
            yield _windows(model, job, hop_length, batch_size, options)

    for embedding in embed(model, signals(), batch_size, show_progress=show_progress):
        job = started.popleft()
        if not job.skip and job.error is None:
            job.embedding = embedding
            job.timestamps = np.arange(len(embedding), dtype=np.float64) * float(options.hop_size)
        yield job


def _windows(
    model: EmbeddingModel, job: Job, hop_length: int, batch_size: int, options: Options
) -> Iterator[NDArray[np.float32]]:
    """What the network takes for one file; ends early, with ``job.error`` set, where the file is bad."""
    if job.skip:
        return
    try:
        with open_recording(job.path) as recording:
            job.sample_rate = check_sample_rate(recording.sample_rate)
            stream = WindowStream(model, job.sample_rate, hop_length, options.center, options.resampler)
            for block in recording.blocks(max(batch_size * hop_length / model.sample_rate, _MIN_BLOCK)):
                try:
                    yield from stream.feed(mix_down(block), batch_size)
                except EdgeL3ArgumentError as error:
                    raise EdgeL3Error(f"{error} (counted from {job.seconds:.2f} s on)") from error
                job.samples = stream.samples
        if stream.samples == 0:
            raise EdgeL3Error("has no samples")
        yield from stream.finish(batch_size)
    except (EdgeL3Error, OSError, MemoryError) as error:
        job.error = str(error) or type(error).__name__
    except Exception as error:  # a decoder's surprise about one file must not end a run over others
        job.error = f"cannot be decoded ({type(error).__name__}: {error})"
    else:
        if stream.silent:
            job.warnings.append("the audio is all zeros")
        if stream.samples * model.sample_rate < model.sample_rate * job.sample_rate:
            job.warnings.append(f"shorter than the window of 1 second ({job.seconds:.3f} s); padded with zeros")


def provenance(model: EmbeddingModel, options: Options) -> Metadata:
    """How embeddings are made: what every output of a run has in common."""
    return {
        "package": "edgel3-onnx",
        "version": __version__,
        "onnxruntime": _onnxruntime_version(model),
        "provider": model.providers[0],
        "variant": model.info.variant,
        "weights_sha256": model.info.weights_sha256 or _sha256(model.info.path),
        "precision": model.info.precision,
        "resampler": options.resampler,
        "hop_size": float(options.hop_size),
        "center": bool(options.center),
    }


def source_identity(path: str) -> Metadata:
    """By what a later run tells whether this is the same recording, without reading it."""
    try:
        status = os.stat(path)
    except OSError:
        size = modified = None  # opening it will fail, and say why
    else:
        size, modified = status.st_size, status.st_mtime_ns
    return {"source": os.path.basename(path), "source_bytes": size, "source_mtime_ns": modified}


def _onnxruntime_version(model: EmbeddingModel) -> str | None:
    if model.providers == [NATIVE]:
        return None  # it took no part, and need not be there
    from onnxruntime import __version__

    return str(__version__)


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def process_file(
    filepath: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    model: EmbeddingModel | None = None,
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: bool = True,
    *,
    provider: str = "cpu",
    batch_size: int | None = None,
    resampler: str = "kaiser_best",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
) -> None:
    """Compute the embedding of an audio file and save it as .npz.

    The file is decoded in blocks: memory grows with its length only by the embedding itself.

    Parameters
    ----------
    filepath : path
        What libsndfile reads; with the extra ``[av]`` also m4a, mp4, webm and so on.
    output_dir : path or None
        Made if need be. None: the directory of the audio file.
    suffix : str or None
        The output is ``<stem>.npz``, or ``<stem>_<suffix>.npz``.
    verbose : bool
        Show a progress bar where standard error is a terminal.

    The other parameters are those of :func:`edgel3_onnx.get_embedding`. The .npz holds ``embedding`` float32
    (T, D), ``timestamps`` float64 (T,) and ``metadata``, a JSON string that says how they were made.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed.
    EdgeL3Error
        If the model cannot be loaded, the file cannot be read, is empty, damaged or truncated, has NaN or infinite
        samples, or the output cannot be written. No part of an output is left behind.

    Warns
    -----
    EdgeL3Warning
        If the audio is all zeros or shorter than one window.
    """
    check_options(center, verbose, batch_size, resampler)
    if model is None:
        model = load_embedding_model(
            model_type,
            emb_dim,
            retrain_type,
            sparsity,
            provider=provider,
            num_threads=num_threads,
            weights=weights,
            precision=precision,
            verbose=bool(verbose),
        )
    elif not isinstance(model, EmbeddingModel):
        raise EdgeL3ArgumentError(
            f"model must come from load_embedding_model, got an object of type {type(model).__name__}"
        )
    path = os.fspath(filepath)
    output = get_output_path(path, f"{suffix or ''}.npz", output_dir)
    options = Options(bool(center), hop_size, resampler, batch_size)
    source = source_identity(path)
    (job,) = embed_files(model, [Job(path)], options, show_progress=bool(verbose))
    if job.embedding is None or job.timestamps is None:
        raise EdgeL3Error(f"{path}: {job.error}")
    for warning in job.warnings:
        python_warnings.warn(f"{path}: {warning}", EdgeL3Warning, stacklevel=2)
    metadata = {**provenance(model, options), **source, **job.metadata()}
    write_npz(output, job.embedding, job.timestamps, metadata)


def get_output_path(
    filepath: str | os.PathLike[str], suffix: str, output_dir: str | os.PathLike[str] | None = None
) -> str:
    """Where the embedding of an audio file goes.

    Parameters
    ----------
    suffix : str
        What follows the name of the audio file without its extension, with the output's extension: ".npz" gives
        ``<stem>.npz``, "sea.npz" gives ``<stem>_sea.npz``.
    output_dir : path or None
        None: the directory of the audio file.

    Raises
    ------
    EdgeL3ArgumentError
        If ``suffix`` would lead to another directory.
    """
    if os.path.basename(suffix) != suffix:
        raise EdgeL3ArgumentError(f"suffix must not contain a path separator, got {suffix!r}")
    filepath = os.fspath(filepath)
    folder = os.fspath(output_dir) if output_dir else os.path.dirname(filepath)
    stem = os.path.splitext(os.path.basename(filepath))[0]
    joint = "" if suffix.startswith(".") else "_"
    return os.path.join(folder, f"{stem}{joint}{suffix}")
