"""From arrays of samples to embeddings: windows are made ahead in a thread, and run in full batches."""

import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx import frontend
from edgel3_onnx.audio import (
    check_hop_size,
    check_long_enough,
    check_sample_rate,
    to_hop_length,
    to_mono,
    warn,
)
from edgel3_onnx.checks import check_choice, check_flag, check_optional_count
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.spec import RESAMPLERS
from edgel3_onnx.terminal import shows_progress

Float32 = NDArray[np.float32]
Embedding = tuple[Float32, NDArray[np.float64]]
T = TypeVar("T")


@dataclass(frozen=True)
class EmbeddingOptions:
    """How a signal is cut into windows, as of :func:`get_embedding`, checked."""

    center: bool = True
    hop_size: float = 0.1  # seconds
    resampler: str = "kaiser_best"
    batch_size: int | None = None  # windows per run; None: the model's own choice

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "EmbeddingOptions":
        """Those of ``arguments`` that are such options. EdgeL3ArgumentError if one is not allowed."""
        given = {each.name: arguments[each.name] for each in fields(cls) if each.name in arguments}
        options = cls(**given)
        return cls(
            check_flag("center", options.center),
            check_hop_size(options.hop_size),
            check_choice("resampler", options.resampler, RESAMPLERS),
            check_optional_count("batch_size", options.batch_size),
        )

    def hop_length(self, model: EmbeddingModel) -> int:
        """Samples between windows, at the model's rate. EdgeL3ArgumentError if that is less than one."""
        return to_hop_length(self.hop_size, model.sample_rate)


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one recording, and where their windows are.

    Attributes
    ----------
    embedding : float32 (T, D)
    timestamps : float64 (T,)
        ``arange(T) * hop_size``, in seconds, as edgel3 has them.
    start_sample : int64 (T,)
        Where each window really starts: samples at the model's rate since the start of the recording, negative in
        the zeros that centring puts in front. A hop is rounded down to whole samples, so that where it is not
        whole, ``timestamps`` run ahead of ``start_sample``.
    start, end : float64 (T,)
        The same in seconds, exact, and where each window ends.
    channel : int16 (T,) or None
        Counted from 1. None: of the mean of all channels.
    label : list of (str or None) of length T, or None
        Of the region that each window belongs to. None: nobody gave regions.
    """

    embedding: Float32
    timestamps: NDArray[np.float64]
    start_sample: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    channel: NDArray[np.int16] | None = None
    label: list[str | None] | None = None

    @classmethod
    def of(cls, embedding: Float32, model: EmbeddingModel, options: EmbeddingOptions, first: int = 0) -> "Embeddings":
        """Those of the windows from number ``first`` on."""
        count = np.arange(first, first + len(embedding), dtype=np.int64)
        lead = model.spec.window_length // 2 if options.center else 0
        timestamps = count.astype(np.float64) * options.hop_size
        start_sample = count * options.hop_length(model) - lead
        end_sample = start_sample + model.spec.window_length
        return cls(
            embedding, timestamps, start_sample, start_sample / model.sample_rate, end_sample / model.sample_rate
        )


def drift_warning(windows: int, model: EmbeddingModel, options: EmbeddingOptions) -> str | None:
    """What to say where the last timestamp is more than half a hop ahead of its window; else None."""
    hop_length = options.hop_length(model)
    drift = (windows - 1) * (options.hop_size - hop_length / model.sample_rate)
    if drift <= options.hop_size / 2:
        return None
    return (
        f"timestamps are multiples of hop_size, as edgel3 has them, but windows start every {hop_length} samples at "
        f"{model.sample_rate} Hz: the last timestamp is {drift:.3f} s too large (start_sample in outputs is exact)"
    )


@overload
def get_embedding(
    audio: Sequence[NDArray[Any]],
    sr: float | Sequence[float] | NDArray[Any],
    model: EmbeddingModel | None = None,
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: int = 1,
    *,
    provider: str = "cpu",
    batch_size: int | None = None,
    resampler: str = "kaiser_best",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    provider_options: Mapping[str, str] | None = None,
) -> tuple[list[Float32], list[NDArray[np.float64]]]: ...
@overload
def get_embedding(
    audio: ArrayLike,
    sr: float,
    model: EmbeddingModel | None = None,
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: int = 1,
    *,
    provider: str = "cpu",
    batch_size: int | None = None,
    resampler: str = "kaiser_best",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    provider_options: Mapping[str, str] | None = None,
) -> Embedding: ...
def get_embedding(
    audio: Any,
    sr: Any,
    model: EmbeddingModel | None = None,
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: int = 1,
    *,
    provider: str = "cpu",
    batch_size: int | None = None,
    resampler: str = "kaiser_best",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    provider_options: Mapping[str, str] | None = None,
) -> Any:
    """Compute the embedding of each window of one second.

    Parameters
    ----------
    audio : array (N,) or (N, C), or list of such arrays
        Samples; channels are averaged. Integer PCM is scaled by its full scale.
    sr : float, or list of float
        Sample rate in Hz; for a list of arrays, one for all or one for each.
    model : EmbeddingModel or None
        A loaded model, which decides the rate and the network by itself. None: it is loaded by ``model_type``,
        ``emb_dim``, ``retrain_type``, ``sparsity``, ``provider``, ``num_threads``, ``weights``, ``precision`` and
        ``provider_options`` as :func:`edgel3_onnx.load_embedding_model` has them, and kept for the next call.
    model_type, emb_dim, retrain_type, sparsity : str, int, str, float
        Which model is loaded.
    center : bool
        Put half a second of zeros in front, so that a timestamp is the centre of its window.
    hop_size : float
        Seconds between windows, rounded down to a whole number of samples at the model's rate.
    verbose : {0, 1}
        1 shows a progress bar where standard error is a terminal.
    provider : str
        What it runs on.
    batch_size : int or None
        Windows per run; None: the model's own choice.
    resampler : {"kaiser_best", "soxr"}
        How audio at another rate is resampled. "kaiser_best" gives the numbers of edgel3.
    num_threads, weights, precision, provider_options : various
        How the model is loaded.

    Returns
    -------
    embedding : float32 (T, D)
        For a list of arrays, a list of such.
    timestamps : float64 (T,)
        Seconds, ``arange(T) * hop_size``, as edgel3 has them. For a list of arrays, a list of such. Windows start
        every ``int(hop_size * model.sample_rate)`` samples; where ``hop_size`` is no whole number of samples,
        timestamps run ahead of them.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or the audio is empty or not finite.
    EdgeL3Error
        If the model cannot be loaded.

    Warns
    -----
    EdgeL3Warning
        If the audio is all zeros or shorter than one window, or the last timestamp is more than half a hop ahead of
        its window.

    Examples
    --------
    >>> audio = numpy.random.default_rng(0).uniform(-1, 1, 3 * 44100)
    >>> embedding, timestamps = edgel3_onnx.get_embedding(audio, 44100, model_type="micro", center=False)
    >>> embedding.shape, timestamps.max().item()
    ((21, 64), 2.0)
    """
    options, show_progress = EmbeddingOptions.of(locals()), check_flag("verbose", verbose)
    model = given_or_loaded(model, locals())
    hop_length = options.hop_length(model)
    several = isinstance(audio, list | tuple) and any(isinstance(item, np.ndarray) for item in audio)
    arrays = audio if several else [audio]
    rates = sr if several and isinstance(sr, list | tuple | np.ndarray) else [sr] * len(arrays)
    if len(rates) != len(arrays):
        raise EdgeL3ArgumentError(f"sr must be one rate or one per array: got {len(rates)} for {len(arrays)}")
    signals = []
    for array, rate in zip(arrays, rates, strict=True):
        rate = check_sample_rate(rate)
        mono = to_mono(array)
        check_long_enough(mono.size, rate, model.sample_rate)
        if not mono.any():
            warn("Provided audio is all zeros")
        if int(mono.size * (model.sample_rate / rate)) < model.sample_rate:
            warn(
                f"Provided audio is shorter than the window of 1 second ({mono.size / rate:.3f} s); "
                "it is padded with zeros"
            )
        signals.append((mono, rate))

    batch_size = options.batch_size or model.batch_size
    batches = (_batches(model, *signal, hop_length, options, batch_size) for signal in signals)
    found = list(embed(model, batches, batch_size, show_progress=show_progress))
    drift = drift_warning(max((len(embedding) for embedding in found), default=0), model, options)
    if drift is not None:
        warn(drift)
    timestamps = [Embeddings.of(embedding, model, options).timestamps for embedding in found]
    return (found, timestamps) if several else (found[0], timestamps[0])


def _batches(
    model: EmbeddingModel, mono: Float32, rate: float, hop_length: int, options: EmbeddingOptions, batch_size: int
) -> Iterator[Float32]:
    """What the network takes, for all windows of one signal, at most ``batch_size`` at a time."""
    if rate != model.sample_rate:
        mono = frontend.resample(mono, rate, model.sample_rate, options.resampler)
    total = frontend.num_windows(mono.size, model.spec, hop_length, options.center)
    for start in range(0, total, batch_size):
        count = min(batch_size, total - start)
        yield model.prepare(mono, hop_length=hop_length, center=options.center, start=start, count=count)


def embed(
    model: EmbeddingModel,
    signals: Iterable[Iterable[Float32]],
    batch_size: int,
    *,
    show_progress: bool = False,
) -> Iterator[Float32]:
    """Run the windows of many signals in batches that signals share.

    Parameters
    ----------
    signals : iterable of iterables of float32 (K, ...)
        Per signal, what :meth:`EmbeddingModel.prepare` returned for its windows, in order, in portions of any
        size. It is read in a thread of its own, ahead of the runs.
    batch_size : int
        Windows per run; only the last run has fewer.

    Yields
    ------
    float32 (T, D)
        Per signal, in order, as soon as all its windows were run.

    Raises
    ------
    Exception
        What reading ``signals`` raised.
    """
    from tqdm import tqdm

    order: deque[_Signal] = deque()
    pending: deque[tuple[_Signal, Float32]] = deque()
    rows = 0
    with tqdm(unit="window", disable=not (show_progress and shows_progress())) as bar:
        for signal, windows in ahead(_read(signals)):
            if not order or order[-1] is not signal:
                order.append(signal)
            if windows is None:
                signal.read = True
            else:
                signal.missing += len(windows)
                pending.append((signal, windows))
                rows += len(windows)
            while rows >= batch_size:
                _run(model, pending, batch_size)
                rows -= batch_size
                bar.update(batch_size)
            yield from _finished(order, model)
        if rows:
            _run(model, pending, rows)
            bar.update(rows)
        yield from _finished(order, model)


@dataclass(eq=False)
class _Signal:
    parts: list[Float32] = field(default_factory=list)  # embeddings so far
    missing: int = 0  # windows that were read and not run yet
    read: bool = False  # whether there are no further windows


def _read(signals: Iterable[Iterable[Float32]]) -> Iterator[tuple[_Signal, Float32 | None]]:
    for portions in signals:
        signal = _Signal()
        for windows in portions:
            yield signal, windows
        yield signal, None


def _run(model: EmbeddingModel, pending: deque[tuple[_Signal, Float32]], count: int) -> None:
    """Run the first ``count`` windows and hand each signal its embeddings."""
    taken: list[tuple[_Signal, Float32]] = []
    left = count
    while left:
        signal, windows = pending.popleft()
        if len(windows) > left:
            pending.appendleft((signal, windows[left:]))
            windows = windows[:left]
        taken.append((signal, windows))
        left -= len(windows)
    batch = taken[0][1] if len(taken) == 1 else np.concatenate([windows for _, windows in taken])
    result = model.predict(batch)
    first = 0
    for signal, windows in taken:
        signal.parts.append(result[first : first + len(windows)])
        signal.missing -= len(windows)
        first += len(windows)


def _finished(order: deque[_Signal], model: EmbeddingModel) -> Iterator[Float32]:
    while order and order[0].read and not order[0].missing:
        parts = order.popleft().parts
        yield np.concatenate(parts) if parts else np.zeros((0, model.embedding_dim), np.float32)


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Iterate over ``items`` in a thread that is at most ``depth`` items ahead.

    An exception in ``items`` is raised here. When the caller stops early, so does the thread.
    """
    done = object()
    channel: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    failure: list[BaseException] = []

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                channel.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # handed to the thread that reads
            failure.append(error)
        finally:
            put(done)

    thread = threading.Thread(target=work, name="edgel3-onnx-front-end", daemon=True)
    thread.start()
    try:
        while (item := channel.get()) is not done:
            yield item
        if failure:
            raise failure[0]
    finally:
        stop.set()
        thread.join()
