"""Embedding within pipelines of Ray Data: a class for ``Dataset.map_batches``."""

from dataclasses import fields
from typing import Any

import numpy as np

from edgel3_onnx.embedding import EmbeddingOptions, Embeddings, get_embedding
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.models import ModelOptions
from edgel3_onnx.pipeline import EmbeddedFile, embed_files


class Embedder:
    """Embeds the rows of a batch: recordings by their paths, or arrays of samples.

    Parameters
    ----------
    column : str
        Of paths (str), or of arrays of samples (N,) or (N, C).
    rate : float, str or None
        Of arrays: their sample rate in Hz, or the column that has it. None: ``column`` has paths.
    **options : dict
        Those of :func:`edgel3_onnx.load_embedding_model` and :func:`edgel3_onnx.get_embedding`: ``model_type``,
        ``emb_dim``, ``hop_size``, ``num_threads`` and so on.

    Raises
    ------
    EdgeL3ArgumentError
        If an option is not one of those allowed.
    EdgeL3Error
        If the model cannot be loaded.

    Examples
    --------
    >>> ds.map_batches(  # doctest: +SKIP
    ...     edgel3_onnx.ray.Embedder,
    ...     fn_constructor_kwargs={"column": "path", "model_type": "sea", "emb_dim": 64, "num_threads": 1},
    ...     compute=ray.data.ActorPoolStrategy(size=4),
    ...     batch_size=16,
    ... )
    """

    def __init__(self, column: str = "path", rate: float | str | None = None, **options: Any) -> None:
        known = {each.name for kind in (EmbeddingOptions, ModelOptions) for each in fields(kind)}
        if unknown := sorted(options.keys() - known):
            raise EdgeL3ArgumentError(f"options must be some of {', '.join(sorted(known))}, got {', '.join(unknown)}")
        self._column, self._rate = column, rate
        self._options = EmbeddingOptions.of(options)
        self._model = ModelOptions.of(options).load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add to a batch ``embedding`` float32 (T, D) and ``timestamps`` float64 (T,) of each row, and ``error``.

        ``error`` is None, or says why a row has no embedding; T is 0 there.
        """
        found = self._of_paths(batch) if self._rate is None else self._of_arrays(batch)
        columns: dict[str, Any] = {}
        for name, values in zip(("embedding", "timestamps", "error"), zip(*found, strict=True), strict=True):
            columns[name] = np.empty(len(values), object)
            for row, value in enumerate(values):  # all at once, arrays of one length would become one array
                columns[name][row] = value
        return {**batch, **columns}

    def _of_paths(self, batch: dict[str, Any]) -> list[tuple[Any, Any, str | None]]:
        files = [EmbeddedFile(str(path)) for path in batch[self._column]]
        return [self._row(file.embeddings, file.error) for file in embed_files(self._model, files, self._options)]

    def _of_arrays(self, batch: dict[str, Any]) -> list[tuple[Any, Any, str | None]]:
        arrays = batch[self._column]
        rates = batch[self._rate] if isinstance(self._rate, str) else [self._rate] * len(arrays)
        rows = []
        for samples, rate in zip(arrays, rates, strict=True):
            try:
                embedding, timestamps = get_embedding(
                    np.asarray(samples),
                    float(rate),
                    self._model,
                    center=self._options.center,
                    hop_size=self._options.hop_size,
                    verbose=0,
                    batch_size=self._options.batch_size,
                    resampler=self._options.resampler,
                )
            except EdgeL3Error as error:
                rows.append(self._row(None, str(error)))
            else:
                rows.append((embedding, timestamps, None))
        return rows

    def _row(self, embeddings: Embeddings | None, error: str | None) -> tuple[Any, Any, str | None]:
        if embeddings is None:
            return np.zeros((0, self._model.embedding_dim), np.float32), np.zeros(0), error
        return embeddings.embedding, embeddings.timestamps, None
