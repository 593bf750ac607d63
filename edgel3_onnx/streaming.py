"""Embeddings of audio that arrives in chunks: the same as of the whole, with bounded state."""

import threading
from collections.abc import Generator
from contextlib import closing

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgel3_onnx.audio import check_sample_rate, warn
from edgel3_onnx.embedding import EmbeddingOptions, drift_warning
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.windows import WindowStream

__all__ = ["EmbeddingStream", "WindowStream"]

Float32 = NDArray[np.float32]


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
