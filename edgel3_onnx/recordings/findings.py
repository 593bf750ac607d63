"""What decoding found out about a recording: what is kept, what is lost, and which decoder says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from edgel3_onnx.recordings.walk import Walk

TOLERANCE = 0.1  # seconds that may be missing by our own count without a word
CONTAINER_TOLERANCE = 0.25  # the same by a container's duration, which has encoder delay and padding


@dataclass(frozen=True)
class Findings:
    """About one recording.

    Attributes
    ----------
    complete : bool
        Whether all that there should be was decoded, but for a tenth of a second.
    announced_seconds : float or None
        What the headers say. None: they do not.
    lost_seconds : float
        In holes, which are filled with zeros, and at the end, which is left out. At least, where the file does not
        say how long it should be.
    holes : tuple of (start, length)
        Seconds.
    decoder : str
        Name and version. Of a recording that is not complete, all decoders that were at hand.
    warnings : tuple of str
        What is lost, and what had to be guessed.
    notes : tuple of str
        What is odd about the file and does no harm.
    raw : str or None
        What the samples were said to be, where the file has no header.
    is_doubtful : bool
        Whether something is lost, or the length had to be guessed.
    """

    complete: bool = True
    announced_seconds: float | None = None
    lost_seconds: float = 0.0
    holes: tuple[tuple[float, float], ...] = ()
    decoder: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_doubtful: bool = False
    raw: str | None = None

    @property
    def loss(self) -> str | None:
        """The warning that says what is lost."""
        return None if self.complete else self.warnings[0]

    def record(self) -> dict[str, Any]:
        """What an output's record says of it."""
        return {
            "complete": self.complete,
            "announced_seconds": self.announced_seconds,
            "lost_seconds": self.lost_seconds,
            "holes": [list(hole) for hole in self.holes],
            "decoder": self.decoder,
            "raw": self.raw,
        }


@dataclass
class Ledger:
    """Takes down what is lost while a recording is decoded."""

    walk: Walk
    holes: list[tuple[float, float]] = field(default_factory=list)  # seconds
    lost_at_end: float = 0.0  # seconds
    reason: str = ""  # of the decoder that gave up
    tolerance: float = TOLERANCE
    raw: str | None = None

    def restrict(self, spans: Sequence[tuple[float, float | None]], has_ended: bool) -> None:
        """Keep what there is to say about some stretches, in seconds; ``has_ended``: they reach the end."""
        walk = self.walk
        found = [*self.holes, *walk.silenced]
        self.holes = [
            (max(start, begin), min(start + length, inf if end is None else end) - max(start, begin))
            for start, length in found
            for begin, end in spans
            if start + length > begin and (end is None or start < end)
        ]
        kept = replace(walk, silenced=[], announced=None)
        if not has_ended:
            self.lost_at_end = 0.0
            kept = Walk(walk.sample_rate, walk.parts, notes=walk.notes)
        self.walk = kept

    def findings(self, samples: int, rate: float, decoder: str, at_hand: Callable[[], str]) -> Findings:
        """What there is to say after ``samples`` per channel, zeros in holes included.

        ``at_hand`` gives all decoders that might have done better.
        """
        walk = self.walk
        holes = sorted(self.holes + walk.silenced)
        in_holes = sum(length for _, length in holes)
        at_end = self.lost_at_end + walk.lost_at_end
        lost = in_holes + at_end + walk.left_out_seconds
        complete = lost <= self.tolerance and not walk.is_cut
        kept = samples / rate - in_holes
        announced = walk.announced
        if announced is None and at_end and not walk.is_cut:
            announced = samples / rate + at_end
        warnings = [] if complete else [self._loss(kept, announced, lost, holes, at_end)]
        if walk.recordings > 1:
            warnings.append(f"{walk.recordings} recordings joined in one file are embedded as one ({kept:.2f} s)")
        return Findings(
            complete,
            None if announced is None else round(announced, 6),
            round(lost, 6),
            tuple((round(start, 6), round(length, 6)) for start, length in holes),
            decoder if complete else at_hand(),
            (*warnings, *walk.warnings),
            tuple(walk.notes),
            not complete or bool(walk.warnings),
            self.raw,
        )

    def _loss(
        self, kept: float, announced: float | None, lost: float, holes: list[tuple[float, float]], at_end: float
    ) -> str:
        reasons = []
        if holes:
            places = ", ".join(f"{length:.2f} s at {start:.2f} s" for start, length in holes[:3])
            more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
            reasons.append(f"damaged, zeros for {places}{more}")
        if at_end or self.walk.is_cut:
            reasons.append("the end is missing" + (f": {self.reason}" if self.reason else ""))
        reasons += self.walk.left_out
        said = f"of {announced:.2f} s announced" if announced is not None else "(its header does not say of how many)"
        least = "at least " if self.walk.is_cut else ""
        return f"{kept:.2f} s kept {said}, {least}{lost:.2f} s lost ({'; '.join(reasons)})"
