"""An embedding model for the zoo of perch-hoplite, Google's tool for search and agile modelling in bioacoustics."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.embedding import get_embedding
from edgel3_onnx.models import EmbeddingModel, load_embedding_model

try:
    from perch_hoplite.zoo import zoo_interface
except ImportError as error:
    raise ImportError("edgel3_onnx.hoplite needs perch-hoplite: pip install 'edgel3-onnx[hoplite]'") from error


@dataclass
class EdgeL3HopliteModel(zoo_interface.EmbeddingModel):  # type: ignore[misc]
    """Embeds windows of one second, of which the first begins with the audio.

    Parameters
    ----------
    sample_rate : int
        Of the audio to give, in Hz; it is resampled to the model's own.
    hop_size_s : float
        Seconds between windows.
    model : EmbeddingModel or None
        From :func:`edgel3_onnx.load_embedding_model`. None: micro, which comes with the package.

    Attributes
    ----------
    window_size_s : float
        1: what hoplite reads to place the windows.

    Examples
    --------
    >>> EdgeL3HopliteModel(16000, hop_size_s=0.5).embed(numpy.ones(32000)).embeddings.shape
    (3, 1, 64)
    """

    hop_size_s: float = 1.0
    model: EmbeddingModel | None = None
    window_size_s: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        if self.model is None:
            self.model = load_embedding_model("micro")

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Make one from hoplite's configuration.

        Parameters
        ----------
        config : ml_collections.ConfigDict
            ``sample_rate``, ``hop_size_s``, and what else :func:`edgel3_onnx.load_embedding_model` takes.

        Returns
        -------
        EdgeL3HopliteModel
            With its model loaded.

        Examples
        --------
        >>> EdgeL3HopliteModel.from_config({"sample_rate": 16000, "model_type": "micro"}).hop_size_s
        1.0
        """
        own = {name: config[name] for name in ("sample_rate", "hop_size_s") if name in config}
        chosen = {name: value for name, value in config.items() if name not in (*own, "window_size_s")}
        return cls(**own, model=load_embedding_model(**{"model_type": "micro", **chosen}))

    def embed(self, audio_array: NDArray[np.floating[Any]]) -> zoo_interface.InferenceOutputs:
        """Embed one signal.

        Parameters
        ----------
        audio_array : float (N,)
            Samples in ±1 at ``sample_rate``.

        Returns
        -------
        zoo_interface.InferenceOutputs
            ``embeddings`` float32 (T, 1, D): the last window ends with zeros where the audio ends inside it.

        Raises
        ------
        EdgeL3ArgumentError
            If the audio is empty, or not finite.

        Examples
        --------
        >>> EdgeL3HopliteModel(8000).embed(numpy.ones(16000)).embeddings.shape
        (2, 1, 64)
        """
        found, _ = get_embedding(
            audio_array, self.sample_rate, self.model, center=False, hop_size=self.hop_size_s, verbose=0
        )
        return zoo_interface.InferenceOutputs(embeddings=found[:, np.newaxis], batched=False)

    def batch_embed(self, audio_batch: NDArray[np.floating[Any]]) -> zoo_interface.InferenceOutputs:
        """Embed signals of one length.

        Parameters
        ----------
        audio_batch : float (B, N)
            As of :meth:`embed`.

        Returns
        -------
        zoo_interface.InferenceOutputs
            ``embeddings`` float32 (B, T, 1, D).

        Examples
        --------
        >>> EdgeL3HopliteModel(8000).batch_embed(numpy.ones((3, 16000))).embeddings.shape
        (3, 2, 1, 64)
        """
        found, _ = get_embedding(
            list(audio_batch), self.sample_rate, self.model, center=False, hop_size=self.hop_size_s, verbose=0
        )
        return zoo_interface.InferenceOutputs(embeddings=np.stack(found)[:, :, np.newaxis], batched=True)
