"""Windows of a signal that arrives in chunks, and what the network takes for them."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx import frontend
from edgel3_onnx.audio import check_long_enough, to_mono
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.options import EmbeddingOptions

Float32 = NDArray[np.float32]


class WindowStream:
    """Cuts a signal that arrives in chunks into windows and makes what the network takes.

    One call of ``feed`` or ``finish`` at a time, read to its end; a second one meanwhile is refused.

    Parameters
    ----------
    first, stop : int, int or None
        The windows wanted, of those of the whole signal; ``stop`` is not among them. None: all to the end.

    Attributes
    ----------
    begin : int
        The sample of the signal that is to be fed first, at the rate of the input.
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
        first: int = 0,
        stop: int | None = None,
    ) -> None:
        self.samples = 0
        self.silent = True
        self._ended = False
        self._in_use = threading.Lock()
        self._model = model
        self._sr = sr
        self._hop_length = options.hop_length(model)
        self._window_length = model.spec.window_length
        self._next, self._stop = first, stop
        at = first * self._hop_length - options.lead(model)  # where the first window begins, at the model's rate
        self.begin = output = wanted = max(at, 0)
        self._resampler: frontend.Resampler | None = None
        if sr != model.sample_rate:
            self._resampler = frontend.Resampler(sr, model.sample_rate, options.resampler, wanted)
            self.begin, output = self._resampler.first_input, self._resampler.first_output
        self._pieces = [np.zeros(max(-at, 0), np.float32)]
        self._held = self._pieces[0].size  # samples in _pieces
        self._skip = wanted - output  # samples still to be dropped before the next window, as where the hop exceeds it
        self._padded = output + options.lead(model)  # samples at the model's rate so far, with the zeros in front

    @property
    def is_complete(self) -> bool:
        """Whether all windows that are wanted were given."""
        return self._stop is not None and self._next >= self._stop

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
                check_long_enough(self.begin + self.samples, self._sr, self._model.sample_rate)
            self._ended = True
            if self.begin + self.samples == 0 or self.is_complete:
                return
            if self._resampler is not None:
                self._hold(self._resampler.flush())
            beyond = max(self._padded - self._window_length, 0)
            total = 1 + -(-beyond // self._hop_length)
            end = (min(total, self._stop or total) - 1) * self._hop_length + self._window_length
            self._skip_zeros(max(end - self._padded, 0))
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
        if self.is_complete:
            return
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
            if self._stop is not None:
                count = min(count, self._stop - self._next)
                if count == 0:
                    self._pieces, self._held = [], 0
                    return
            end = (count - 1) * hop_length + self._window_length
            batch = self._model.prepare(buffer[:end], hop_length=hop_length, count=count)
            rest = buffer[count * hop_length :]
            self._skip = max(count * hop_length - buffer.size, 0)
            self._pieces, self._held = [rest], rest.size
            self._next += count
            yield batch
