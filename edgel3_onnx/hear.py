"""The common API of HEAR 2021, the holistic evaluation of audio representations.

Source: https://hearbenchmark.com/hear-api.html. ``hear-validator edgel3_onnx.hear --model sea-64`` checks it.
"""

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.embedding import get_embedding
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.models import EmbeddingModel, load_embedding_model
from edgel3_onnx.store.registry import variants

try:
    import torch
except ImportError as error:
    raise ImportError("edgel3_onnx.hear needs PyTorch: pip install 'edgel3-onnx[hear]'") from error

_HOP_SIZE = 0.05  # seconds; what HEAR suggests for events
_SCENE_HOP_SIZE = 0.25  # seconds
_RATES = (16000, 22050, 44100, 48000)  # Hz; what HEAR allows


class HearModel(torch.nn.Module):  # type: ignore[misc]
    """An embedding model in the clothes of PyTorch. It computes on the CPU, wherever the audio is.

    Parameters
    ----------
    model : EmbeddingModel
        From :func:`edgel3_onnx.load_embedding_model`.

    Attributes
    ----------
    sample_rate : int
        Of the audio to give, in Hz: the least of HEAR's that is no less than the model's own, which it is resampled to.
    scene_embedding_size, timestamp_embedding_size : int
        The size of the model's embedding.

    Examples
    --------
    >>> HearModel(edgel3_onnx.load_embedding_model("micro")).sample_rate
    16000
    """

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.model = model
        self.sample_rate = next(rate for rate in _RATES if rate >= model.sample_rate)
        self.scene_embedding_size = self.timestamp_embedding_size = model.embedding_dim


def load_model(model_file_path: str = "") -> HearModel:
    """Load a model.

    Parameters
    ----------
    model_file_path : str
        A name that ``edgel3-onnx --list-models`` shows, such as "sea-64"; "NAME=FILE" takes weights of one's own, as
        ``weights`` of :func:`edgel3_onnx.load_embedding_model`. Empty: micro, which comes with the package.

    Returns
    -------
    HearModel
        On the CPU.

    Raises
    ------
    EdgeL3Error
        If there is no such model, or it cannot be loaded.

    Examples
    --------
    >>> load_model("micro").scene_embedding_size
    64
    """
    name, _, weights = (model_file_path or "micro").partition("=")
    if name not in variants():
        raise EdgeL3ArgumentError(f"model_file_path must begin with one of {', '.join(variants())}, got {name!r}")
    chosen = variants()[name]
    training = (chosen.retrain_type or "ft", chosen.sparsity or 95.45)
    return HearModel(load_embedding_model(chosen.model_type, chosen.embedding_dim, *training, weights=weights or None))


def get_timestamp_embeddings(audio: torch.Tensor, model: HearModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed the second around each moment, every 50 ms up to the last sample.

    Parameters
    ----------
    audio : torch.Tensor (S, N)
        S sounds of N samples in ±1, mono, at ``model.sample_rate``.
    model : HearModel
        From :func:`load_model`.

    Returns
    -------
    embeddings : float32 torch.Tensor (S, T, D)
        Of each sound at each moment.
    timestamps : float32 torch.Tensor (S, T)
        Milliseconds, the middle of each window.

    Raises
    ------
    EdgeL3ArgumentError
        If ``audio`` has another shape, or is not finite.

    Examples
    --------
    >>> embeddings, timestamps = get_timestamp_embeddings(torch.rand(2, 32000), load_model())
    >>> embeddings.shape, timestamps[0, -1].item()
    (torch.Size([2, 41, 64]), 2000.0)
    """
    # Half a second more, so that there are windows up to the last sample and not only up to half a second before it.
    embeddings, timestamps = _embed(audio, model, pad=model.sample_rate // 2, center=True, hop_size=_HOP_SIZE)
    times = torch.from_numpy(1000 * timestamps).to(audio.device, torch.float32)
    return torch.from_numpy(embeddings).to(audio.device), times.expand(len(embeddings), -1)


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """Embed each sound as a whole: the mean over windows that begin every quarter of a second.

    Parameters
    ----------
    audio, model : torch.Tensor (S, N), HearModel
        As of :func:`get_timestamp_embeddings`, and errors likewise.

    Returns
    -------
    float32 torch.Tensor (S, D)
        A row for each sound.

    Examples
    --------
    >>> get_scene_embeddings(torch.rand(2, 32000), load_model()).shape
    torch.Size([2, 64])
    """
    embeddings, _ = _embed(audio, model, pad=0, center=False, hop_size=_SCENE_HOP_SIZE)
    return torch.from_numpy(embeddings.mean(axis=1, dtype=np.float64).astype(np.float32)).to(audio.device)


def _embed(
    audio: torch.Tensor, model: HearModel, *, pad: int, center: bool, hop_size: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    if audio.ndim != 2:
        raise EdgeL3ArgumentError(f"audio must have shape (sounds, samples), got {tuple(audio.shape)}")
    sounds = list(np.pad(audio.detach().cpu().numpy(), [(0, 0), (0, pad)]))
    found = get_embedding(sounds, model.sample_rate, model.model, center=center, hop_size=hop_size, verbose=0)
    return np.stack(found[0]), found[1][0]
