"""From arrays of samples to embeddings: windows are made ahead in a thread, and run in full batches."""

import os
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx import frontend
from edgel3_onnx.audio import (
    check_hop_size,
    check_long_enough,
    check_sample_rate,
    to_mono,
    warn_about_length,
    warn_about_silence,
)
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.models import EmbeddingModel, load_embedding_model
from edgel3_onnx.spec import RESAMPLERS
from edgel3_onnx.terminal import shows_progress

Float32 = NDArray[np.float32]
Embedding = tuple[Float32, NDArray[np.float64]]
T = TypeVar("T")


@overload
def get_embedding(
    audio: Sequence[NDArray[Any]], sr: Any, *args: Any, **kwargs: Any
) -> tuple[list[Float32], list[NDArray[np.float64]]]: ...
@overload
def get_embedding(audio: ArrayLike, sr: Any, *args: Any, **kwargs: Any) -> Embedding: ...
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
        ``emb_dim``, ``retrain_type``, ``sparsity``, ``provider``, ``num_threads``, ``weights`` and ``precision``
        as :func:`edgel3_onnx.models.load_embedding_model` has them, and kept for the next call.
    center : bool
        Put half a second of zeros in front, so that a timestamp is the centre of its window.
    hop_size : float
        Seconds between windows, rounded down to a whole number of samples at the model's rate.
    verbose : {0, 1}
        1 shows a progress bar where standard error is a terminal.
    batch_size : int or None
        Windows per run; None: the model's own choice.
    resampler : {"kaiser_best", "soxr"}
        How audio at another rate is resampled. "kaiser_best" gives the numbers of edgel3.

    Returns
    -------
    embedding : float32 (T, D)
        For a list of arrays, a list of such.
    timestamps : float64 (T,)
        Seconds, ``arange(T) * hop_size``. For a list of arrays, a list of such.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or the audio is empty or not finite.
    EdgeL3Error
        If the model cannot be loaded.

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
    hop_length = check_hop_size(hop_size, model.sample_rate)
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
            warn_about_silence()
        if int(mono.size * (model.sample_rate / rate)) < model.sample_rate:
            warn_about_length(mono.size / rate)
        signals.append((mono, rate))

    batch_size = batch_size or model.batch_size
    batches = (_batches(model, *signal, hop_length, bool(center), batch_size, resampler) for signal in signals)
    embeddings = list(embed(model, batches, batch_size, show_progress=bool(verbose)))
    timestamps = [np.arange(len(embedding)) * float(hop_size) for embedding in embeddings]
    return (embeddings, timestamps) if several else (embeddings[0], timestamps[0])


def check_options(center: object, verbose: object, batch_size: object, resampler: object) -> None:
    """Refuse what no model can make sense of. Raises EdgeL3ArgumentError."""
    if center not in (True, False):
        raise EdgeL3ArgumentError(f"center must be True or False, got {center!r}")
    if verbose not in (0, 1):
        raise EdgeL3ArgumentError(f"verbose must be 0 or 1, got {verbose!r}")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise EdgeL3ArgumentError(f"batch_size must be a positive integer or None, got {batch_size!r}")
    if resampler not in RESAMPLERS:
        raise EdgeL3ArgumentError(f"resampler must be one of {', '.join(RESAMPLERS)}, got {resampler!r}")


def _batches(
    model: EmbeddingModel,
    mono: Float32,
    rate: float,
    hop_length: int,
    center: bool,
    batch_size: int,
    resampler: str,
) -> Iterator[Float32]:
    """What the network takes, for all windows of one signal, at most ``batch_size`` at a time."""
    if rate != model.sample_rate:
        mono = frontend.resample(mono, rate, model.sample_rate, resampler)
    total = frontend.num_windows(mono.size, model.spec, hop_length, center)
    for start in range(0, total, batch_size):
        count = min(batch_size, total - start)
        yield model.prepare(mono, hop_length=hop_length, center=center, start=start, count=count)


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
