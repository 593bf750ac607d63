"""What lies in a file, found without decoding: the one language in which the containers' files speak."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgel3_onnx.recordings.view import Piece


@dataclass(frozen=True)
class Part:
    """A stretch that a decoder reads in one go."""

    frames: int | None = None  # samples per channel that it has; None: whatever comes out
    pieces: Sequence[Piece] | None = None  # what to decode, as of view.View; None: the file as it is
    announced: int = 0  # bytes, as of view.View
    skip: int = 0  # samples per channel in front of these, to be dropped: an encoder's delay
    resume: "Callable[[int], list[Part | Gap]] | None" = None  # where decoding failed: what lies behind that many of
    # its samples, without what is damaged; nothing if that is not known


@dataclass(frozen=True)
class Gap:
    """A stretch that is lost."""

    frames: int  # samples per channel


@dataclass
class Walk:
    """What lies in a recording, and what its header says about it."""

    sample_rate: float = 0.0  # Hz; 0: the decoder knows
    parts: list[Part | Gap] = field(default_factory=list)
    announced: float | None = None  # seconds, by headers; None: they do not say
    lost_at_end: float = 0.0  # seconds that headers announce and that are not there
    is_cut: bool = False  # it ends early, though nobody can say how much is missing: no less than lost_at_end
    silenced: list[tuple[float, float]] = field(default_factory=list)  # (start, length) in seconds of what was lost
    # inside a part, and is made to decode as silence
    notes: list[str] = field(default_factory=list)  # harmless: for the record only
    warnings: list[str] = field(default_factory=list)  # nothing is lost, but something had to be guessed
    left_out: list[str] = field(default_factory=list)  # what is there and is not embedded
    left_out_seconds: float = 0.0
    recordings: int = 1  # that were joined in the file
