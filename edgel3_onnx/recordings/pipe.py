"""Audio that arrives on a pipe: what its bytes turn out to be."""

from collections.abc import Iterator
from typing import Any, Protocol

from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import pipe_coded, pipe_wav, pyav
from edgel3_onnx.recordings.findings import Findings
from edgel3_onnx.recordings.linear import Linear
from edgel3_onnx.recordings.pipe_reader import PipeReader


class Live(Protocol):
    """Audio while it arrives.

    Attributes
    ----------
    sample_rate : float
        Hz.
    """

    sample_rate: float

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Samples (N, C), as soon as they are there: float in ±1, or integer PCM."""
        ...

    def findings(self) -> Findings:
        """What is to be said at the end."""
        ...


def open_pipe(reader: PipeReader, raw: Linear | None = None) -> Live:
    """Find out what arrives; ``raw`` says what the samples are if there is no header.

    Raises
    ------
    EdgeL3Error
        If nothing arrives, or it is nothing that can be decoded.
    """
    magic = reader.peek(12)
    if not magic:
        raise EdgeL3Error("standard input has no samples")
    if magic[:4] in (b"RIFF", b"RF64") and magic[8:12] == b"WAVE":
        return pipe_wav.WavPipe(reader)
    if raw is not None:
        return pipe_wav.RawPipe(reader, raw)
    if magic[:4] == b"OggS" and b"\x7fFLAC" not in reader.peek(40):
        return pipe_coded.OggPipe(reader)
    if magic[:3] == b"ID3" or pipe_coded.is_mpeg(magic):
        return pipe_coded.MpegPipe(reader)
    if pyav.has_av():
        return pipe_coded.AvPipe(reader)
    raise EdgeL3Error(
        "standard input is neither WAV, Ogg nor MP3; raw PCM needs --rate HZ [--pcm s16le|f32le], FLAC, AAC and WebM "
        "need PyAV: pip install 'edgel3-onnx[av]'"
    )
