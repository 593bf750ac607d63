"""From arrays of samples to embeddings: windows are made ahead in a thread, and run in full batches."""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx.audio import check_finite, check_long_enough, check_sample_rate, check_shape, mix_down, to_mono, warn
from edgel3_onnx.channels import channel
from edgel3_onnx.checks import check_flag
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.gathering import Embeddings, Gathering, drift_warning
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.parts import Parts, plan
from edgel3_onnx.terminal import shows_progress

__all__ = ["EmbeddingOptions", "Embeddings", "ahead", "drift_warning", "embed", "get_embedding"]

Float32 = NDArray[np.float32]
Embedding = tuple[Float32, NDArray[np.float64]]
T = TypeVar("T")


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
    offset: float = 0.0,
    duration: float | None = None,
    edges: str = "context",
    channels: str | int | Sequence[int] = "mix",
    pool: str = "none",
    normalize: str | None = None,
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
    offset: float = 0.0,
    duration: float | None = None,
    edges: str = "context",
    channels: str | int | Sequence[int] = "mix",
    pool: str = "none",
    normalize: str | None = None,
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
    offset: float = 0.0,
    duration: float | None = None,
    edges: str = "context",
    channels: str | int | Sequence[int] = "mix",
    pool: str = "none",
    normalize: str | None = None,
) -> Any:
    """Compute the embedding of each window of one second.

    Parameters
    ----------
    audio : array (N,) or (N, C), or list of such arrays
        Samples; channels are averaged unless ``channels`` says otherwise. Integer PCM is scaled by its full scale.
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
    offset, duration : float, float or None
        Seconds. Only windows whose time lies in this part, with the same embeddings and timestamps as in the whole:
        their centre or, without ``center``, their start. None: to the end.
    edges : {"context", "cut"}
        Whether windows at the edges of a part see the audio beyond it, or zeros as if it were all the audio.
    channels : {"mix", "each"}, int, or sequence of int
        The mean of the channels, each on its own, or those of these numbers, from 1.
    pool : {"none", "mean", "max", "mean+std"}
        One row for all windows, added up in double precision: (1, D), or for "mean+std" (1, 2 * D), means first.
    normalize : {"l2"} or None
        Divide each row by its Euclidean length, after pooling; rows of zeros stay zeros.

    Returns
    -------
    embedding : float32 (T, D)
        For "each" and a sequence of ``channels``, (C, T, D). For a list of arrays, a list of such.
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
    parts = Parts.of(offset, duration, edges)
    model = given_or_loaded(model, locals())
    options.hop_length(model)  # or refused
    several = isinstance(audio, list | tuple) and any(isinstance(item, np.ndarray) for item in audio)
    arrays = audio if several else [audio]
    rates = sr if several and isinstance(sr, list | tuple | np.ndarray) else [sr] * len(arrays)
    if len(rates) != len(arrays):
        raise EdgeL3ArgumentError(f"sr must be one rate or one per array: got {len(rates)} for {len(arrays)}")
    signals = [
        _Array(model, array, check_sample_rate(rate), options, parts) for array, rate in zip(arrays, rates, strict=True)
    ]
    for signal in signals:
        if signal.is_silent:
            warn("Provided audio is all zeros")
        if parts is None and int(signal.samples * (model.sample_rate / signal.rate)) < model.sample_rate:
            warn(
                f"Provided audio is shorter than the window of 1 second ({signal.samples / signal.rate:.3f} s); "
                "it is padded with zeros"
            )

    batch_size = options.batch_size or model.batch_size
    found, windows = [], 0
    batches = (signal.windows(batch_size) for signal in signals)
    for signal, rows in zip(signals, embed(model, batches, batch_size, show_progress=show_progress), strict=True):
        signal.gathering.add(rows)
        embeddings, _ = signal.gathering.result()
        windows = max(windows, signal.gathering.windows)
        numbers = signal.gathering.numbers
        embedding, timestamps = embeddings.embedding, embeddings.timestamps
        if numbers is not None and not isinstance(channels, int | np.integer):
            embedding = embedding.reshape(len(numbers), -1, embedding.shape[1])
            timestamps = timestamps[: embedding.shape[1]]
        found.append((embedding, timestamps))
    drift = drift_warning(windows, model, options)
    if drift is not None:
        warn(drift)
    return tuple(map(list, zip(*found, strict=True))) if several else found[0]


class _Array:
    """A signal in memory, checked. Raises EdgeL3ArgumentError."""

    def __init__(
        self, model: EmbeddingModel, audio: Any, rate: float, options: EmbeddingOptions, parts: Parts | None
    ) -> None:
        array = check_shape(audio)
        self.samples, self.rate = len(array), rate
        check_long_enough(self.samples, rate, model.sample_rate)
        wanted = plan(parts, self.samples, rate, model, options)
        if wanted.outside:
            raise EdgeL3ArgumentError(f"audio: {wanted.outside[0]}")
        count = 1 if array.ndim == 1 else array.shape[1]
        try:
            self.gathering = Gathering(model, rate, count, options, wanted)
        except EdgeL3Error as error:
            raise EdgeL3ArgumentError(f"audio {error}") from error
        self._blocks: list[tuple[int, NDArray[Any]]] = []
        for begin, end in wanted.spans:
            block = array[begin:end]
            if self.gathering.numbers is None:
                block = to_mono(block)
            else:
                for number in self.gathering.numbers:
                    check_finite("audio", mix_down(channel(block, number)))
            self._blocks.append((begin, block))

    @property
    def is_silent(self) -> bool:
        return not any(block.any() for _, block in self._blocks)

    def windows(self, batch_size: int) -> Iterator[Float32]:
        """What the network takes, for all windows, at most ``batch_size`` at a time."""
        for begin, block in self._blocks:
            yield from self.gathering.feed(begin, block, batch_size)
        yield from self.gathering.finish(batch_size)


def embed(
    model: EmbeddingModel,
    signals: Iterable[Iterable[Float32]],
    batch_size: int,
    *,
    show_progress: bool = False,
    on_rows: Callable[[Float32], None] | None = None,
    rows_at_once: int = 0,
) -> Iterator[Float32]:
    """Run the windows of many signals in batches that signals share.

    Parameters
    ----------
    signals : iterable of iterables of float32 (K, ...)
        Per signal, what :meth:`EmbeddingModel.prepare` returned for its windows, in order, in portions of any
        size. It is read in a thread of its own, ahead of the runs.
    batch_size : int
        Windows per run; only the last run has fewer.
    on_rows : callable or None
        Is given the next rows of the signal whose turn it is, whenever there are ``rows_at_once`` of them, so that
        they need not be held until its end.

    Yields
    ------
    float32 (T, D)
        Per signal, in order, as soon as all its windows were run: those that ``on_rows`` was not given.

    Raises
    ------
    Exception
        What reading ``signals`` raised.
    """
    order: deque[_Signal] = deque()
    pending: deque[tuple[_Signal, Float32]] = deque()
    rows = 0
    with _bar_of_windows(show_progress and shows_progress()) as update:
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
                update(batch_size)
            if on_rows is not None and order and order[0].rows >= rows_at_once:
                on_rows(order[0].take(model))
            yield from _finished(order, model)
        if rows:
            _run(model, pending, rows)
            update(rows)
        yield from _finished(order, model)


@contextmanager
def _bar_of_windows(shown: bool) -> Iterator[Callable[[int], object]]:
    """A progress bar, by the function that tells it how many windows more were run."""
    if not shown:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(unit="window") as bar:
        yield bar.update


@dataclass(eq=False)
class _Signal:
    parts: list[Float32] = field(default_factory=list)  # embeddings so far
    missing: int = 0  # windows that were read and not run yet
    read: bool = False  # whether there are no further windows

    @property
    def rows(self) -> int:
        return sum(map(len, self.parts))

    def take(self, model: EmbeddingModel) -> Float32:
        """The embeddings so far, which it does not keep."""
        parts, self.parts = self.parts, []
        return np.concatenate(parts) if parts else np.zeros((0, model.embedding_dim), np.float32)


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
        yield order.popleft().take(model)


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
