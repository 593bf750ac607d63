"""Embeddings as a step of a scikit-learn pipeline."""

import os
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import check_sample_rate, warn
from edgel3_onnx.checks import check_choice
from edgel3_onnx.embedding import EmbeddingOptions, get_embedding
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.pipeline import EmbeddedFile, embed_files

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import validate_data
except ImportError as error:
    raise ImportError("edgel3_onnx.sklearn needs scikit-learn: pip install 'edgel3-onnx[sklearn]'") from error


class EdgeL3Transformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns each recording into one embedding, pooled over its windows.

    It learns nothing: ``transform`` needs no ``fit``.

    Parameters
    ----------
    model : EmbeddingModel or None
        From :func:`edgel3_onnx.load_embedding_model`. None: micro, which comes with the package.
    sample_rate : float or None
        Of signals, in Hz. Files know their own.
    pool : {"mean", "max", "mean+std"}
        How the windows of a recording become one row; "mean+std" has twice as many columns.
    center, hop_size, resampler : bool, float, str
        As of :func:`edgel3_onnx.get_embedding`.

    Examples
    --------
    >>> EdgeL3Transformer(pool="mean+std").fit_transform(["examples/street.flac"]).shape
    (1, 128)
    """

    def __init__(
        self,
        model: EmbeddingModel | None = None,
        *,
        sample_rate: float | None = None,
        pool: str = "mean",
        center: bool = True,
        hop_size: float = 0.1,
        resampler: str = "kaiser_best",
    ) -> None:
        self.model = model
        self.sample_rate = sample_rate
        self.pool = pool
        self.center = center
        self.hop_size = hop_size
        self.resampler = resampler

    def fit(self, X: Any, y: object = None) -> Self:
        """Check the parameters and ``X``; nothing is decoded.

        Parameters
        ----------
        X : recordings
            As of :meth:`transform`.
        y : object
            Ignored.

        Returns
        -------
        EdgeL3Transformer
            This one.

        Examples
        --------
        >>> EdgeL3Transformer().fit(["examples/street.flac"])
        EdgeL3Transformer()
        """
        self._options()
        self._recordings(X, reset=True)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embed recordings.

        Parameters
        ----------
        X : sequence of N paths, list of N arrays (T,) or (T, C), or array (N, T)
            Files, or signals at ``sample_rate``.

        Returns
        -------
        float32 (N, D), or (N, 2 D) for "mean+std"
            A row for each recording.

        Raises
        ------
        EdgeL3Error
            If a parameter is not allowed, or files cannot be embedded: all these are named.
        ValueError
            If ``X`` is no such collection.

        Examples
        --------
        >>> EdgeL3Transformer(sample_rate=8000).transform(numpy.ones((2, 12000))).shape
        (2, 64)
        """
        options = self._options()
        recordings, model = self._recordings(X, reset=False), self._model()
        if isinstance(recordings[0], str):
            return _embed_paths(model, recordings, options)
        cut = {name: getattr(options, name) for name in ("center", "hop_size", "resampler", "pool")}
        embeddings, _ = get_embedding(recordings, check_sample_rate(self.sample_rate), model, verbose=0, **cut)
        return np.concatenate(embeddings)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Name the columns.

        Parameters
        ----------
        input_features : object
            Ignored.

        Returns
        -------
        object (D,), or (2 D,) for "mean+std"
            Strings.

        Examples
        --------
        >>> list(EdgeL3Transformer(pool="max").get_feature_names_out()[:2])
        ['max_0', 'max_1']
        """
        size = self._model().embedding_dim
        return np.array([f"{name}_{k}" for name in self._options().pool.split("+") for k in range(size)], object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _model(self) -> EmbeddingModel:
        return given_or_loaded(self.model, {"model_type": "micro"})

    def _options(self) -> EmbeddingOptions:
        check_choice("pool", self.pool, ("mean", "max", "mean+std"))
        return EmbeddingOptions.of(vars(self))

    def _recordings(self, X: Any, reset: bool) -> list[Any]:
        """Paths as str, or arrays."""
        several = isinstance(X, list | tuple)
        items = X if several else np.ravel(X) if hasattr(X, "ndim") else ()
        if len(items) and all(isinstance(item, str | os.PathLike) for item in items):
            return [os.fspath(item) for item in items]
        if several and X and all(isinstance(item, np.ndarray) for item in X):
            return list(X)
        return list(validate_data(self, X, reset=reset))


def _embed_paths(model: EmbeddingModel, paths: list[str], options: EmbeddingOptions) -> NDArray[np.float32]:
    files = list(embed_files(model, map(EmbeddedFile, paths), options))
    for file in files:
        for warning in file.warnings:
            warn(f"{file.path}: {warning}")
    if failed := [f"{file.path}: {file.error}" for file in files if file.error is not None]:
        raise EdgeL3Error("\n  ".join([f"{len(failed)} of {len(files)} files failed:", *failed]))
    return np.concatenate([file.embeddings.embedding for file in files if file.embeddings is not None])
