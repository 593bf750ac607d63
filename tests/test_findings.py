"""What is said of a recording after what was counted while it was decoded: to the letter."""

import pytest

from edgel3_onnx.recordings.findings import CONTAINER_TOLERANCE, TOLERANCE, Findings, Ledger
from edgel3_onnx.recordings.walk import Walk

RATE = 8000.0


def findings(samples, *, holes=(), lost_at_end=0.0, reason="", tolerance=TOLERANCE, rate=RATE, **walk) -> Findings:
    ledger = Ledger(Walk(rate, **walk), [*holes], lost_at_end, reason, tolerance)
    return ledger.findings(samples, rate, "decoder", lambda: "all decoders")


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (
            {"holes": [(0.5, 0.25)], "announced": 1.0},
            "0.75 s kept of 1.00 s announced, 0.25 s lost (damaged, zeros for 0.25 s at 0.50 s)",
        ),
        (
            {"holes": [(0.5, 0.25)], "silenced": [(0.1, 0.05)]},
            "0.70 s kept (its header does not say of how many), 0.30 s lost "
            "(damaged, zeros for 0.05 s at 0.10 s, 0.25 s at 0.50 s)",
        ),
        (
            {"holes": [(k / 10, 0.05) for k in range(5)], "announced": 1.0},
            "0.75 s kept of 1.00 s announced, 0.25 s lost "
            "(damaged, zeros for 0.05 s at 0.00 s, 0.05 s at 0.10 s, 0.05 s at 0.20 s and 2 more)",
        ),
        (
            {"holes": [(k / 10, 0.05) for k in range(3)], "announced": 1.0},
            "0.85 s kept of 1.00 s announced, 0.15 s lost "
            "(damaged, zeros for 0.05 s at 0.00 s, 0.05 s at 0.10 s, 0.05 s at 0.20 s)",
        ),
        ({"lost_at_end": 1.0}, "1.00 s kept of 2.00 s announced, 1.00 s lost (the end is missing)"),
        (
            {"lost_at_end": 1.0, "reason": "lost sync"},
            "1.00 s kept of 2.00 s announced, 1.00 s lost (the end is missing: lost sync)",
        ),
        (
            {"is_cut": True},
            "1.00 s kept (its header does not say of how many), at least 0.00 s lost (the end is missing)",
        ),
        (
            {"is_cut": True, "lost_at_end": 0.5},
            "1.00 s kept (its header does not say of how many), at least 0.50 s lost (the end is missing)",
        ),
        (
            {"left_out": ["another rate"], "left_out_seconds": 2.0, "announced": 3.0},
            "1.00 s kept of 3.00 s announced, 2.00 s lost (another rate)",
        ),
    ],
)
def test_what_is_lost(arguments, warning):
    """Of a second that was decoded, zeros included."""
    found = findings(8000, **arguments)
    assert found.warnings == (warning,) and not found.complete and found.is_doubtful
    assert found.decoder == "all decoders"


@pytest.mark.parametrize("tolerance", [TOLERANCE, CONTAINER_TOLERANCE])
def test_little_may_be_missing_without_a_word(tolerance):
    assert (TOLERANCE, CONTAINER_TOLERANCE) == (0.1, 0.25)
    for lost, complete in ((tolerance, True), (tolerance + 1e-3, False)):
        found = findings(8000, lost_at_end=lost, tolerance=tolerance)
        assert found.complete is complete and bool(found.warnings) is not complete
        assert found.decoder == ("decoder" if complete else "all decoders")
        assert found.announced_seconds == pytest.approx(1 + lost) and found.is_doubtful is not complete


def test_seconds_are_told_to_the_microsecond():
    found = findings(
        44100, rate=44100.0, holes=[(1 / 3, 2 / 3)], lost_at_end=1 / 7, announced=4 / 3, silenced=[(1 / 7, 1 / 9)]
    )
    assert found.holes == ((0.142857, 0.111111), (0.333333, 0.666667))
    assert found.lost_seconds == 0.920635 and found.announced_seconds == 1.333333


def test_several_recordings_in_one_file_and_what_was_noticed():
    found = findings(8000, recordings=2, notes=["a note"], announced=1.0)
    assert found.warnings == ("2 recordings joined in one file are embedded as one (1.00 s)",)
    assert found.complete and found.notes == ("a note",) and not found.is_doubtful
    found = findings(8000, recordings=1, warnings=["odd"])
    assert found.warnings == ("odd",) and found.complete and found.is_doubtful
    assert found.announced_seconds is None


@pytest.mark.parametrize(
    ("spans", "has_ended", "holes", "lost"),
    [
        ([(0, None)], True, ((1.0, 1.0), (5.0, 0.5)), 3.5),
        ([(0, None)], False, ((1.0, 1.0), (5.0, 0.5)), 1.5),
        ([(0, 1.5)], False, ((1.0, 0.5),), 0.5),
        ([(1.5, 5.25)], False, ((1.5, 0.5), (5.0, 0.25)), 0.75),
        ([(0, 1.0)], False, (), 0.0),
        ([(2.0, 5.0)], False, (), 0.0),
        ([(0, 1.25), (1.75, 3.0)], False, ((1.0, 0.25), (1.75, 0.25)), 0.5),
        ([(5.25, None)], True, ((5.25, 0.25),), 2.25),
    ],
)
def test_of_stretches_only_what_lies_in_them_counts(spans, has_ended, holes, lost):
    walk = Walk(RATE, silenced=[(5.0, 0.5)], announced=9.0, lost_at_end=1.0, notes=["a note"])
    ledger = Ledger(walk, [(1.0, 1.0)], 1.0)
    ledger.restrict(spans, has_ended)
    found = ledger.findings(8000, RATE, "decoder", lambda: "all decoders")
    assert (found.holes, found.lost_seconds, found.notes) == (holes, lost, ("a note",))
    assert found.announced_seconds == (1 + 2.0 if has_ended else None)
