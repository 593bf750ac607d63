"""The names of ``edgel3.core``."""

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.embedding import get_embedding
from edgel3_onnx.files import get_output_path, process_file
from edgel3_onnx.spec import FRONTENDS

__all__ = [
    "L3_TARGET_SR",
    "SEA_TARGET_SR",
    "_center_audio",
    "_pad_audio",
    "get_embedding",
    "get_output_path",
    "process_file",
]

L3_TARGET_SR = FRONTENDS["sparse"].sample_rate
SEA_TARGET_SR = FRONTENDS["sea"].sample_rate


def _center_audio(audio: NDArray[np.generic], frame_len: int) -> NDArray[np.generic]:
    """``audio`` (N,) with half of ``frame_len`` zeros in front, so that its first sample is a window's middle."""
    return np.concatenate([np.zeros(frame_len // 2, audio.dtype), audio])


def _pad_audio(audio: NDArray[np.generic], frame_len: int, hop_len: int) -> NDArray[np.generic]:
    """``audio`` (N,) with zeros at its end, so that windows of ``frame_len`` every ``hop_len`` cover it."""
    hops = max(-(-(audio.size - frame_len) // hop_len), 0)
    return np.concatenate([audio, np.zeros(frame_len + hops * hop_len - audio.size, audio.dtype)])
