"""Embeddings of audio that arrives in chunks: the same as of the whole, with bounded state."""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx import frontend
from edgel3_onnx.audio import check_long_enough, check_sample_rate, to_mono, warn
from edgel3_onnx.embedding import EmbeddingOptions, drift_warning
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.models import EmbeddingModel

Float32 = NDArray[np.float32]


class WindowStream:
    """Cuts a signal that arrives in chunks into windows and makes what the network takes.

    One call of ``feed`` or ``finish`` at a time, read to its end; a second one meanwhile is refused.

    Attributes
    ----------
    samples : int
        Samples per channel that were fed so far, at the rate of the input.
    silent : bool
        Whether all of them were zero.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        sr: float,
        options: EmbeddingOptions,
    ) -> None:
        self.samples = 0
        self.silent = True
        self._ended = False
        self._in_use = threading.Lock()
        self._model = model
        self._sr = sr
        self._hop_length = options.hop_length(model)
        self._window_length = model.spec.window_length
        self._resampler = (
            None if sr == model.sample_rate else frontend.Resampler(sr, model.sample_rate, options.resampler)
        )
        self._pieces = [np.zeros(self._window_length // 2 if options.center else 0, np.float32)]
        self._held = self._pieces[0].size  # samples in _pieces
        self._skip = 0  # samples still to be dropped before the next window, where the hop exceeds the window
        self._padded = self._held  # samples at the model's rate so far, with the zeros in front

    def feed(self, chunk: ArrayLike, batch_size: int) -> Generator[Float32, None, None]:
        """Take samples (N,) or (N, C) and give the windows that they complete.

        Yields
        ------
        float32 (K, ...), K <= batch_size
            As of :meth:`EmbeddingModel.prepare`. To be read to the end before the next call.

        Raises
        ------
        EdgeL3ArgumentError
            As of :func:`edgel3_onnx.get_embedding`.
        EdgeL3Error
            If ``finish`` was called before, or another call is not at its end.
        """
        with self._one_call():
            if np.size(chunk) == 0:
                return
            mono = to_mono(chunk)
            self.samples += mono.size
            self.silent = self.silent and not mono.any()
            self._hold(mono if self._resampler is None else self._resampler.push(mono))
            yield from self._complete(batch_size)

    def finish(self, batch_size: int) -> Generator[Float32, None, None]:
        """Give the last windows, padded with zeros at the end. Nothing may be fed afterwards.

        Raises
        ------
        EdgeL3ArgumentError
            If the signal was shorter than one sample at the model's rate. It may go on, then.
        EdgeL3Error
            If it was called before, or another call is not at its end.
        """
        with self._one_call():
            if self.samples:
                check_long_enough(self.samples, self._sr, self._model.sample_rate)
            self._ended = True
            if self.samples == 0:
                return
            if self._resampler is not None:
                self._hold(self._resampler.flush())
            beyond = max(self._padded - self._window_length, 0)
            total = 1 + -(-beyond // self._hop_length)
            end = (total - 1) * self._hop_length + self._window_length
            self._skip_zeros(end - self._padded)
            yield from self._complete(batch_size)

    @contextmanager
    def _one_call(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise EdgeL3Error("the stream is in use: another call, perhaps of another thread, is not at its end")
        try:
            if self._ended:
                raise EdgeL3Error("the stream has ended; make a new one for another signal")
            yield
        finally:
            self._in_use.release()

    def _skip_zeros(self, count: int) -> None:
        """Hold ``count`` zeros, of which those that a long hop passes over are never made."""
        dropped = min(self._skip, count)
        self._skip -= dropped
        self._padded += dropped
        self._hold(np.zeros(count - dropped, np.float32))

    def _hold(self, samples: Float32) -> None:
        self._padded += samples.size
        dropped = min(self._skip, samples.size)
        self._skip -= dropped
        if dropped < samples.size:
            self._pieces.append(samples[dropped:])
            self._held += samples.size - dropped

    def _complete(self, batch_size: int) -> Iterator[Float32]:
        hop_length = self._hop_length
        while self._held >= self._window_length:
            buffer = np.concatenate(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
            count = min(1 + (buffer.size - self._window_length) // hop_length, batch_size)
            end = (count - 1) * hop_length + self._window_length
            batch = self._model.prepare(buffer[:end], hop_length=hop_length, count=count)
            rest = buffer[count * hop_length :]
            self._skip = max(count * hop_length - buffer.size, 0)
            self._pieces, self._held = [rest], rest.size
            yield batch


class EmbeddingStream:
    """Embeddings of audio while it arrives, such as from a microphone.

    Whatever the sizes of the chunks, the embeddings and timestamps together are those that
    :func:`edgel3_onnx.get_embedding` gives for the whole signal. Calls from several threads wait for each other; in
    which order they come is the caller's business.

    Parameters
    ----------
    model : EmbeddingModel
        From :func:`edgel3_onnx.load_embedding_model`.
    sr : float
        Sample rate in Hz of the samples that will be pushed.
    hop_size : float
        Seconds between windows.
    center : bool
        Put half a second of zeros in front, so that a timestamp is the centre of its window.
    resampler : {"kaiser_best", "soxr"}
        As of :func:`edgel3_onnx.get_embedding`.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed.

    Warns
    -----
    EdgeL3Warning
        Once, when a timestamp is more than half a hop ahead of its window (see :func:`edgel3_onnx.get_embedding`).

    Examples
    --------
    >>> stream = edgel3_onnx.EmbeddingStream(model, 8000)
    >>> for chunk in numpy.zeros((3, 4000)):  # from a microphone, say
    ...     print(stream.push(chunk)[1])
    [0.]
    [0.1 0.2 0.3 0.4 0.5]
    [0.6 0.7 0.8 0.9 1. ]
    """

    def __init__(
        self,
        model: EmbeddingModel,
        sr: float,
        hop_size: float = 0.1,
        center: bool = True,
        resampler: str = "kaiser_best",
    ) -> None:
        self._model = model
        self._options = EmbeddingOptions.of(locals())
        self._windows = WindowStream(model, check_sample_rate(sr), self._options)
        self._count = 0
        self._has_drifted = False
        self._lock = threading.Lock()

    @property
    def samples(self) -> int:
        """Samples per channel that were pushed so far.

        Examples
        --------
        >>> edgel3_onnx.EmbeddingStream(model, 8000).samples
        0
        """
        return self._windows.samples

    def push(self, samples: ArrayLike) -> tuple[Float32, NDArray[np.float64]]:
        """Take samples, of any number, and give what they complete.

        Parameters
        ----------
        samples : array (N,) or (N, C)
            The next ones, as of :func:`edgel3_onnx.get_embedding`.

        Returns
        -------
        embedding : float32 (K, D)
            Of the windows that end within these samples; often K is 0.
        timestamps : float64 (K,)
            Seconds since the first sample.

        Raises
        ------
        EdgeL3ArgumentError
            If the samples are not numeric and finite. The stream is as before, then.
        EdgeL3Error
            If ``flush`` was called before: another signal needs a stream of its own.

        Examples
        --------
        >>> embedding, timestamps = edgel3_onnx.EmbeddingStream(model, 8000).push(numpy.zeros(8000))
        >>> embedding.shape
        (6, 64)
        """
        return self._run(self._windows.feed(samples, self._model.batch_size))

    def flush(self) -> tuple[Float32, NDArray[np.float64]]:
        """Give the remaining windows, the last padded with zeros. Ends the stream.

        Returns
        -------
        embedding : float32 (K, D)
            Of the windows that reach beyond the last sample.
        timestamps : float64 (K,)
            Seconds since the first sample.

        Raises
        ------
        EdgeL3ArgumentError
            If what was pushed is shorter than one sample at the model's rate. The stream is as before, then.
        EdgeL3Error
            If it was called before.

        Examples
        --------
        >>> stream = edgel3_onnx.EmbeddingStream(model, 8000)
        >>> stream.push(numpy.ones(5000))[1], stream.flush()[1]
        (array([0. , 0.1]), array([0.2]))
        """
        return self._run(self._windows.finish(self._model.batch_size))

    def _run(self, batches: Generator[Float32, None, None]) -> tuple[Float32, NDArray[np.float64]]:
        with self._lock, closing(batches):
            parts = [self._model.predict(batch) for batch in batches]
            embedding = np.concatenate(parts) if parts else np.zeros((0, self._model.embedding_dim), np.float32)
            timestamps = np.arange(self._count, self._count + len(embedding), dtype=np.float64) * self._options.hop_size
            self._count += len(embedding)
            drift = None if self._has_drifted else drift_warning(self._count, self._model, self._options)
            self._has_drifted |= drift is not None
        if drift is not None:
            warn(drift)
        return embedding, timestamps
