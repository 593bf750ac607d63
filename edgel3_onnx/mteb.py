"""An encoder for the audio tasks of MTEB, the massive text embedding benchmark (MAEB is its audio part)."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.embedding import get_embedding
from edgel3_onnx.models import EmbeddingModel, given_or_loaded

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
except ImportError as error:
    raise ImportError("edgel3_onnx.mteb needs mteb: pip install 'edgel3-onnx[mteb]'") from error


class EdgeL3Encoder(AbsEncoder):  # type: ignore[misc]
    """Embeds each sound of a task as the mean over its windows.

    Parameters
    ----------
    model : EmbeddingModel or None
        From :func:`edgel3_onnx.load_embedding_model`. None: micro, which comes with the package.
    hop_size : float
        Seconds between windows.

    Attributes
    ----------
    mteb_model_meta : mteb.models.ModelMeta
        What MTEB files the results under: name ``edgel3-onnx/<variant>``, revision the graph's digest.

    Examples
    --------
    >>> mteb.evaluate(EdgeL3Encoder(), mteb.get_tasks(["ESC50"]))  # doctest: +SKIP
    """

    def __init__(self, model: EmbeddingModel | None = None, *, hop_size: float = 0.25) -> None:
        self.model = given_or_loaded(model, {"model_type": "micro"})
        self.hop_size = hop_size
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"edgel3-onnx/{self.model.info.variant}",
                "revision": self.model.info.graph_sha256,
                "embed_dim": self.model.embedding_dim,
                "license": self.model.info.licence.lower(),
                "open_weights": True,
                "framework": ["ONNX"],
                "similarity_fn_name": "cosine",
                "modalities": ["audio"],
            }
        )

    def encode(self, inputs: Iterable[Mapping[str, Any]], **options: object) -> NDArray[np.float32]:
        """Embed the sounds of a task.

        Parameters
        ----------
        inputs : iterable of mappings
            Batches: their "audio" is a list of {"array": (N,) or (C, N), "sampling_rate": Hz}.
        **options : object
            What MTEB says about the task; ignored.

        Returns
        -------
        float32 (S, D)
            In the order of ``inputs``.

        Raises
        ------
        EdgeL3ArgumentError
            If a sound is empty, or not finite.

        Examples
        --------
        >>> EdgeL3Encoder().encode([{"audio": [{"array": numpy.ones(8000), "sampling_rate": 8000}]}]).shape
        (1, 64)
        """
        rows = []
        for batch in inputs:
            sounds = [np.atleast_2d(np.asarray(sound["array"])).T for sound in batch["audio"]]
            rates = [sound["sampling_rate"] for sound in batch["audio"]]
            found, _ = get_embedding(sounds, rates, self.model, center=False, hop_size=self.hop_size, verbose=0)
            rows += [each.mean(axis=0, dtype=np.float64) for each in found]
        return np.asarray(rows, np.float32).reshape(len(rows), self.model.embedding_dim)
