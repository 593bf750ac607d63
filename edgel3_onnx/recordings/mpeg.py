"""MP3, MP2 and MP1: the true length is the number of frames; the view has frames only, and silence where some are lost.

The frame that encoders put first, with "Xing" or "Info" behind its side information, says how many frames there should
be, and with the tag that LAME introduced, how many samples at both ends are the encoder's delay and padding.
"""

import re
from dataclasses import dataclass, field
from typing import BinaryIO

from edgel3_onnx.recordings.mpeg_frames import Header, Run, parse, scan
from edgel3_onnx.recordings.view import Piece, join, read_at
from edgel3_onnx.recordings.walk import Part, Walk

_DECODER_DELAY = 529  # samples of layer 3, as gapless decoders have it
_PRETENDED = 2**40  # bytes; libsndfile decodes no more than it estimates from the file's length
_GAPLESS = re.compile(b"LAME|Lavf|Lavc|L3[.]9|GOGO")  # encoders that write LAME's tag
_MAX_MUTED = 20  # frames behind a hole that may need bytes from inside it: 511 bytes at 8 kbit/s


@dataclass
class _Track:
    """The frames of one recording; a file has several where recordings were joined."""

    header: Header
    runs: list[Run] = field(default_factory=list)
    count: int = 0  # frames that there should be; 0: not said
    delay: int = 0  # samples at the beginning that are not the recording's
    padding: int = 0  # samples at the end that are not
    broken: int = 0  # bytes behind the last frame that are neither frames, tags nor padding
    is_cut: bool = False  # the file ends inside a frame

    @property
    def frames(self) -> int:
        return sum(run.frames for run in self.runs)

    @property
    def mean_size(self) -> float:
        return max(sum(run.end - run.start for run in self.runs) / self.frames, 1)


def walk(file: BinaryIO, start: int, end: int) -> Walk | None:
    """Walk over the frames between two offsets of a file. None if there are none."""
    tracks = _tracks(file, start, end)
    if not tracks:
        return None
    first = tracks[0].header
    found = Walk(first.rate)
    announced, is_said = 0.0, True
    for track in tracks:
        header = track.header
        seconds = track.frames * header.samples / header.rate
        if (header.rate, header.channels) != (first.rate, first.channels):
            found.left_out.append(f"{seconds:.2f} s joined to it at {header.rate} Hz, {header.channels} channels")
            found.left_out_seconds += seconds
            continue
        part, holes, missing = _part(file, track)
        length = part.frames or 0
        found.silenced += [((announced + begin) / first.rate, count / first.rate) for begin, count in holes]
        found.parts.append(part)
        announced += length + missing
        found.lost_at_end += missing / first.rate
        found.is_cut = found.is_cut or (track.is_cut and not track.count)
        is_said = is_said and (track.count > 0 or missing > 0)
    if is_said:
        found.announced = announced / first.rate
    else:
        found.notes.append("it does not say how long it is: its frames were counted")
    found.recordings = len(found.parts)
    return found


def _tracks(file: BinaryIO, start: int, end: int) -> list[_Track]:
    runs, broken, is_cut = scan(file, start, end)
    tracks: list[_Track] = []
    for run in runs:
        if not tracks or run.is_tagged or run.header.format != tracks[-1].header.format:
            if tracks:
                tracks[-1].broken, run.broken = run.broken, 0
            tracks.append(_Track(run.header))
        if run.is_tagged:
            size = run.header.size + run.free
            _read_tag(tracks[-1], read_at(file, run.start, size))
            run.start, run.frames = run.start + size, run.frames - 1
        if run.frames > 0:
            tracks[-1].runs.append(run)
    if tracks:
        tracks[-1].broken, tracks[-1].is_cut = broken, is_cut
    return [track for track in tracks if track.runs]


def _read_tag(track: _Track, frame: bytes) -> None:
    if frame[36:40] == b"VBRI":
        track.count = int.from_bytes(frame[50:54], "big")
        return
    at = 4 + track.header.side_information
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if flags & 1:
        track.count = int.from_bytes(frame[at + 8 : at + 12], "big")
    at += 8 + 4 * bool(flags & 1) + 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8)
    if _GAPLESS.match(frame, at) and len(frame) >= at + 24:
        both = int.from_bytes(frame[at + 21 : at + 24], "big")
        track.delay, track.padding = (both >> 12) + _DECODER_DELAY, both & 0xFFF


def read_tag(frame: bytes, header: Header) -> tuple[int, int]:
    """By a frame that holds a tag: how many samples are to be dropped, and how many frames follow; 0: not said."""
    track = _Track(header)
    _read_tag(track, frame)
    return track.delay, track.count


def _part(file: BinaryIO, track: _Track) -> tuple[Part, list[tuple[int, int]], int]:
    """The part of one track; (start, length) in samples of what is lost inside; samples that are missing at its end."""
    samples = track.header.samples
    lost = _lost_frames(track)
    starts, ends = [run.start for run in track.runs], [run.end for run in track.runs]
    counts = [run.frames for run in track.runs]
    silent = [0] * len(counts)  # frames at the start of each run that cannot be decoded
    muted: list[list[Piece]] = [[] for _ in track.runs]
    for k, run in enumerate(track.runs):
        if k and lost[k] and counts[k - 1]:  # the last frame before a hole is damaged too, as far as anyone can tell
            ends[k - 1] = track.runs[k - 1].last
            counts[k - 1] -= 1
            lost[k] += 1
        if track.header.layer == 3 and (lost[k] or not k):
            muted[k], starts[k], mutes = _mute(file, run)
            counts[k] -= mutes
            silent[k] = mutes
    if track.broken and counts[-1]:
        ends[-1] = track.runs[-1].last
        counts[-1] -= 1
    pieces: list[Piece] = []
    holes = []
    done = 0  # frames
    for k, run in enumerate(track.runs):
        pieces += [_silence(run.header)] * lost[k] + muted[k]
        if lost[k] and done:
            holes.append((max(done * samples - track.delay, 0), (lost[k] + silent[k]) * samples))
        pieces.append((starts[k], max(ends[k] - starts[k], 0)))
        done += lost[k] + silent[k] + counts[k]
    missing = max(track.count - done, 0) if track.count else round(track.broken / track.mean_size) + bool(track.broken)
    padding = 0 if missing else max(track.padding - _DECODER_DELAY, 0)
    length = max(done * samples - track.delay - padding, 0)
    return Part(length, join(pieces), _PRETENDED, track.delay), holes, missing * samples


def _lost_frames(track: _Track) -> list[int]:
    """How many frames are lost before each run: by the bytes there; by the count, where no more than these are lost."""
    lost = [round(run.broken / track.mean_size) for run in track.runs]
    missing = track.count - track.frames
    if not track.count or not sum(lost) or missing > 2 * sum(lost):
        return lost
    broken = sum(run.broken for run in track.runs)
    before, shares = 0, []
    for run in track.runs:
        before += run.broken
        shares.append(round(max(missing, 0) * before / broken))
    return [share - previous for share, previous in zip(shares, [0, *shares], strict=False)]


def _mute(file: BinaryIO, run: Run) -> tuple[list[Piece], int, int]:
    """Silence the first frames of a run, up to one that needs no bytes from before the run.

    The data of a frame of layer 3 may begin in the frames before it; its side information says how far back. A
    frame that is muted has none, but keeps what those behind it need, and reaches as far back as it can, since a
    decoder only carries on what the frame in between reaches.

    Returns
    -------
    the muted frames, the offset of the first that is not muted, and their number
    """
    pieces: list[Piece] = []
    at, reservoir = run.start, 0
    for number in range(min(run.frames, _MAX_MUTED)):
        data = read_at(file, at, 8)
        header = parse(data[:4])
        if header is None or len(data) < 8:
            break
        side = 4 + 2 * header.has_crc
        back = data[side] << 1 | data[side + 1] >> 7 if header.is_version_1 else data[side]
        if back <= reservoir:
            return pieces, at, number
        size, head = header.size + run.free, side + header.side_information
        reach = min(reservoir, 511) << 7 if header.is_version_1 else min(reservoir, 255) << 8
        muted = (header.bits | 1 << 16).to_bytes(4, "big") + reach.to_bytes(2, "big")
        pieces += [muted.ljust(head, b"\0"), (at + head, size - head)]
        reservoir += size - head
        at += size
    return [], run.start, 0


def _silence(header: Header) -> bytes:
    """A frame that decodes to zeros: nothing is allocated to any band."""
    bits = (header.bits | 1 << 16) & ~(1 << 9)  # neither CRC nor padding
    if header.is_free:
        bits |= 8 << 12
    return bits.to_bytes(4, "big") + bytes(Header(bits).size - 4)
