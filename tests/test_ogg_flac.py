"""FLAC in Ogg, of which pages are missing: the frames that are whole stay where they were, bit by bit."""

import struct
from functools import cache

import numpy as np
import pytest

import odd_recordings as odd
from test_ogg_streams import CONTINUED, FIRST, LAST, page

SR = 8000
BLOCK = 4096  # samples of a frame
NOISE = np.random.default_rng(0).integers(-20000, 20000, 8 * BLOCK).astype(np.int16)
FLAC = odd.encoded(NOISE, SR, "FLAC", "PCM_16")


def packets():
    """The header, a comment, and the frames; by https://xiph.org/flac/ogg_mapping.html."""
    sync = FLAC[FLAC.index(b"\xff\xf8", 42) :][:4]
    offsets = [at for at in range(len(FLAC)) if FLAC.startswith(sync, at)]
    assert len(offsets) == 8
    head = b"\x7fFLAC\1\0" + struct.pack(">H", 1) + b"fLaC\0" + FLAC[5:42]
    comment = b"\x84\0\0\x08" + bytes(8)
    return head, comment, [FLAC[at:end] for at, end in zip(offsets, [*offsets[1:], len(FLAC)], strict=True)]


HEAD, COMMENT, FRAMES = packets()


@cache  # the checksums take their time
def pages(segments, first_bad=8):
    """Pages of so many segments of 255 bytes, and which frames are on each; bad frames are none."""
    frames = [b"\xff\0" + frame[2:] if number >= first_bad else frame for number, frame in enumerate(FRAMES)]
    cut = [
        (number, frame[begin : begin + 255], begin == 0)
        for number, frame in enumerate(frames)
        for begin in range(0, len(frame) + 1, 255)
    ]
    made, on = [page([HEAD], FIRST), page([COMMENT], number=1)], [set(), set()]
    for first in range(0, len(cut), segments):
        here = cut[first : first + segments]
        ended = [number for number, piece, _ in here if len(piece) < 255]
        flags = CONTINUED * (not here[0][2]) | LAST * (first + segments >= len(cut))
        position = (ended[-1] + 1) * BLOCK if ended else -1
        lacing = [len(piece) for _, piece, _ in here]
        made.append(page([piece for _, piece, _ in here], flags, position, len(made), lacing=lacing))
        on.append({number for number, _, _ in here})
    return made, on


@pytest.fixture
def read(tmp_path):
    def read(made):
        (tmp_path / "recording").write_bytes(b"".join(made))
        audio, rate, findings = odd.read(tmp_path / "recording")
        assert rate == SR
        return audio, findings

    return read


@pytest.mark.parametrize("segments", [7, 20, 33, 255])
def test_whole(read, segments):
    audio, findings = read(pages(segments)[0])
    np.testing.assert_array_equal(audio, NOISE / 32768)
    assert findings.complete and not findings.warnings and not findings.notes


@pytest.mark.parametrize("segments", [20, 33])
@pytest.mark.parametrize("missing", [[2], [5], [5, 6], [4, 6], [3, 5, 7]])
def test_only_frames_on_a_missing_page_are_lost(read, segments, missing):
    made, on = pages(segments)
    lost = set().union(*(on[number] for number in missing))
    assert max(lost) < 7
    audio, findings = read([each for number, each in enumerate(made) if number not in missing])
    expected = NOISE / 32768
    for number in lost:
        expected[number * BLOCK : (number + 1) * BLOCK] = 0
    np.testing.assert_array_equal(audio, expected)
    assert not findings.complete
    assert findings.lost_seconds == pytest.approx(len(lost) * BLOCK / SR, abs=1e-6)


def test_the_last_frames_are_lost_with_their_pages(read):
    made, on = pages(33)
    first = min(on[-2])
    audio, findings = read(made[:-2])
    np.testing.assert_array_equal(audio, NOISE[: first * BLOCK] / 32768)
    assert not findings.complete or findings.notes == ("it has no end-of-stream flag",)


def test_frames_that_are_none_behind_a_missing_page(read):
    """Nobody can say where in the recording they belong."""
    made, on = pages(33)
    bad, _ = pages(33, 4)
    first = max(on[4])
    audio, findings = read([*made[:4], *bad[first + 3 :]])
    kept = min(on[4])
    np.testing.assert_array_equal(audio, NOISE[: kept * BLOCK] / 32768)
    assert not findings.complete and findings.lost_seconds == pytest.approx((8 - kept) * BLOCK / SR, abs=2 / SR)
