"""Ogg (RFC 3533) with Vorbis or Opus: the length by the positions of pages; where pages are lost, a view per stretch.

A page has a checksum, a number, and the position in samples at which it ends (its granule position). Pages whose
checksum does not hold are left out. What is whole between two losses becomes a stream of its own: the header pages,
then its pages, numbered anew, the last marked as the end of the stream; its position says where it belongs.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from edgel3_onnx.recordings import ogg_flac, sndfile
from edgel3_onnx.recordings.view import Bytes, Piece, join, read_at
from edgel3_onnx.recordings.walk import Gap, Part, Walk

_HEAD = 27  # bytes in front of a page's segment table
_MAX_PAGE = _HEAD + 255 + 255 * 255  # bytes
_CONTINUED, _FIRST, LAST = 1, 2, 4  # flags of a page
_OPUS_RATE = 48000  # Hz, of positions in Opus whatever the rate of the input
_OPUS_CONVERGENCE = 3840  # samples that a decoder needs to find in, by RFC 7845: 80 ms
_MAX_START = 10  # seconds; a stream that begins later was cut from a longer one
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_KINDS = ((b"\x01vorbis", "Vorbis", 3), (b"OpusHead", "Opus", 2), (b"\x7fFLAC", "FLAC", 0), (b"Speex   ", "Speex", 2))


@dataclass(frozen=True)
class _Page:
    offset: int
    size: int
    flags: int
    position: int  # in samples, at its end; -1 where no packet ends on it
    serial: int  # of the stream
    number: int
    is_whole: bool = True


@dataclass
class _Stream:
    """One logical stream: a link of a chained file."""

    kind: str
    head: bytes  # its first packet
    headers: int  # packets that are headers
    pages: list[_Page] = field(default_factory=list)  # whole ones, headers included
    damaged: list[_Page] = field(default_factory=list)  # with a header that can be believed
    broken_at_end: int = 0  # bytes behind the last whole page that are in none

    @property
    def serial(self) -> int:
        return self.pages[0].serial

    @property
    def rate(self) -> int:
        if self.kind == "FLAC":
            return ogg_flac.info(self.head).rate
        at = {"Vorbis": 12, "Opus": 12, "Speex": 36}[self.kind]
        return int.from_bytes(self.head[at : at + 4], "little")

    @property
    def clock(self) -> int:
        """Positions in a second."""
        return _OPUS_RATE if self.kind == "Opus" else self.rate

    @property
    def channels(self) -> int:
        if self.kind == "FLAC":
            return ogg_flac.info(self.head).channels
        return self.head[{"Vorbis": 11, "Opus": 9, "Speex": 48}[self.kind]]

    @property
    def pre_skip(self) -> int:
        return int.from_bytes(self.head[10:12], "little") if self.kind == "Opus" else 0


def walk(path: str, file: BinaryIO, size: int) -> Walk | None:
    """Walk over the pages. None if there is no stream of audio."""
    streams, is_in_order = _streams(file, size)
    if not streams:
        return None
    first = streams[0]
    if first.kind == "Speex" or not first.rate:  # libsndfile does not read it
        return Walk(first.rate, [Part()])
    alone = Part(pieces=None) if is_in_order else Part(pieces=_view(file, first, first.pages, 0))
    rate = first.rate
    if first.kind == "Opus":  # libsndfile chooses a rate
        try:
            with sndfile.opened(path, alone) as sound:
                rate = sound.samplerate
        except sndfile.CannotOpen:
            rate = _OPUS_RATE
    found = Walk(rate)
    found.recordings = 0
    for stream in streams:
        if (stream.kind, stream.rate, stream.channels) != (first.kind, first.rate, first.channels):
            seconds = stream.pages[-1].position / max(stream.clock, 1)
            found.left_out.append(
                f"{seconds:.2f} s of {stream.kind} joined to it at {stream.rate} Hz, {stream.channels} channels"
            )
            found.left_out_seconds += seconds
            continue
        found.recordings += 1
        _add_stream(found, path, file, stream, rate / stream.clock, is_in_order)
    return found


def _add_stream(found: Walk, path: str, file: BinaryIO, stream: _Stream, unit: float, is_in_order: bool) -> None:
    """Append the parts of a stream; ``unit`` is the number of samples for one of the positions'."""
    headers, runs = _runs(file, stream)
    if not runs:
        found.is_cut = True
        return
    at = 0  # samples up to which there is something
    for number, run in enumerate(runs):
        is_start = number == 0 and run[0].number == headers[-1].number + 1
        end = round((run[-1].position - stream.pre_skip) * unit)
        pieces: list[Piece] | None = None
        if stream.kind == "FLAC":
            pieces, length = ogg_flac.unpack(file, stream.head, run)
        else:
            if not is_in_order:
                pieces = _view(file, stream, headers + run, 0 if is_start else _OPUS_CONVERGENCE)
            is_known = is_start and run[0].position < _MAX_START * stream.clock
            length = end if is_known else sndfile.count(path, Part(pieces=pieces))
        begin = end - length
        if is_start:
            at = begin
        if length <= 0 or begin < at:
            continue
        if begin > at:
            found.parts.append(Gap(begin - at))
        found.parts.append(Part(length, pieces))
        at = end
    last = runs[-1][-1]
    found.is_cut = found.is_cut or max(end, 0) < at  # the last pages say a time that was before: they are not taken
    found.lost_at_end += max((last.position - stream.pre_skip) * unit - at - 1, 0) / found.sample_rate
    if last.flags & LAST:
        return
    lost = max((page.position for page in stream.damaged if page.number > last.number), default=0) - last.position
    if stream.broken_at_end:
        bytes_per_sample = sum(page.size for run in runs for page in run) / max(last.position, 1)
        found.lost_at_end += max(lost * unit, stream.broken_at_end / bytes_per_sample * unit) / found.sample_rate
        found.is_cut = True
    else:
        found.notes.append("it has no end-of-stream flag")


def _runs(file: BinaryIO, stream: _Stream) -> tuple[list[_Page], list[list[_Page]]]:
    """The header pages, and the others in runs of which each ends at a known position."""
    headers: list[_Page] = []
    packets = 0
    rest = list(stream.pages)
    while rest and packets < stream.headers:
        page = rest.pop(0)
        table = read_at(file, page.offset + _HEAD, read_at(file, page.offset + _HEAD - 1, 1)[0])
        packets += sum(size < 255 for size in table)
        headers.append(page)
    runs: list[list[_Page]] = []
    previous = headers[-1].number if headers else -1
    for page in rest:
        if not runs or page.number != previous + 1:
            runs.append([])
        runs[-1].append(page)
        previous = page.number
    for run in runs:
        while run and run[-1].position < 0:  # nothing ends there
            run.pop()
    return headers, [run for run in runs if run]


def _view(file: BinaryIO, stream: _Stream, pages: list[_Page], pre_skip: int) -> list[Piece]:
    """The pages as a stream that begins with them and ends with them."""
    pieces: list[Piece] = []
    base = None
    for number, page in enumerate(pages):
        is_last = number == len(pages) - 1
        change_skip = number == 0 and pre_skip and stream.kind == "Opus"
        if page.number == number and not change_skip and not (is_last and not page.flags & LAST) and base is None:
            pieces.append((page.offset, page.size))
            continue
        data = bytearray(read_at(file, page.offset, page.size))
        if change_skip:
            begin = _HEAD + data[_HEAD - 1] + 10
            data[begin : begin + 2] = pre_skip.to_bytes(2, "little")
        elif stream.kind == "Opus" and page.position > 0 and pre_skip:
            if base is None:
                base = page.position - _opus_duration(data)
            data[6:14] = (page.position - base).to_bytes(8, "little", signed=True)
        data[5] |= LAST * is_last
        data[18:22] = number.to_bytes(4, "little")
        data[22:26] = _checksum(data)
        head = _HEAD + data[_HEAD - 1]
        if change_skip:
            pieces.append(bytes(data))
        else:
            pieces += [bytes(data[:head]), (page.offset + head, page.size - head)]
    return join(pieces)


def _opus_duration(page: bytes | bytearray) -> int:
    """Samples at 48 kHz of the packets that begin and end on a page (RFC 6716, section 3.1)."""
    table = page[_HEAD : _HEAD + page[_HEAD - 1]]
    begin = at = _HEAD + len(table)
    is_continued = bool(page[5] & _CONTINUED)
    total = 0
    for size in table:
        at += size
        if size == 255:
            continue
        if not is_continued and at > begin:
            total += _opus_packet(page[begin : begin + 2])
        begin, is_continued = at, False
    return total


def _opus_packet(packet: bytes | bytearray) -> int:
    configuration, code = packet[0] >> 3, packet[0] & 3
    if configuration < 12:
        frame = (480, 960, 1920, 2880)[configuration & 3]
    elif configuration < 16:
        frame = (480, 960)[configuration & 1]
    else:
        frame = (120, 240, 480, 960)[configuration & 3]
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return frame * count


def _streams(file: BinaryIO, size: int) -> tuple[list[_Stream], bool]:
    """The streams of audio one behind the other, and whether the file as it is is one whole stream."""
    streams: list[_Stream] = []
    is_in_order, at, broken = True, 0, 0
    for page in _pages(Bytes(file, size)):
        broken += page.offset - at
        at = page.offset + page.size
        if not page.is_whole:
            broken += page.size
            if streams and page.serial == streams[-1].serial:
                streams[-1].damaged.append(page)
            continue
        is_in_order = is_in_order and not broken
        has_begun = bool(streams) and not streams[-1].pages[-1].flags & _FIRST  # what begins before goes beside it
        kind = _kind(file, page) if page.flags & _FIRST and (has_begun or not streams) else None
        if kind is not None:
            if streams:
                streams[-1].broken_at_end, is_in_order = broken, False
            streams.append(_Stream(*kind))
        elif not streams or page.serial != streams[-1].serial:
            is_in_order = False
            continue
        pages = streams[-1].pages
        if pages and page.number <= pages[-1].number:  # it came before, as where a capture went on a little earlier
            is_in_order = False
            continue
        is_in_order = is_in_order and (not pages or page.number == pages[-1].number + 1)
        pages.append(page)
        broken = 0
    if streams:
        streams[-1].broken_at_end = broken + size - at
        is_in_order = is_in_order and at + broken == size and bool(streams[-1].pages[-1].flags & LAST)
    return streams, is_in_order


def _kind(file: BinaryIO, page: _Page) -> tuple[str, bytes, int] | None:
    data = read_at(file, page.offset, page.size)
    packet = data[_HEAD + data[_HEAD - 1] :]
    for magic, kind, headers in _KINDS:
        if packet.startswith(magic) and len(packet) >= 19:
            return kind, packet, ogg_flac.headers(packet) if kind == "FLAC" else headers
    return None


def _pages(data: Bytes) -> Iterator[_Page]:
    """The pages, also damaged ones; between them may be bytes that are in none."""
    at = 0
    while at + _HEAD <= data.end:
        page = _parse(data.at(at, _MAX_PAGE), at)
        if page is not None and page.is_whole:
            yield page
            at += page.size
            continue
        buffer = data.buffer(at)
        following = buffer.find(b"OggS", 1)
        length = following if following > 0 else max(len(buffer) - 3, 1)
        if page is not None:
            yield replace(page, size=min(page.size, length))
        at += length


def _parse(data: bytes, offset: int) -> _Page | None:
    """The page at the start of ``data``; None if there is none."""
    if not data.startswith(b"OggS\0") or len(data) < _HEAD or data[5] > 7:
        return None
    size = _HEAD + data[26] + sum(data[_HEAD : _HEAD + data[26]])
    page = data[:size]
    is_whole = len(page) == size and _checksum(page) == page[22:26]
    position = int.from_bytes(data[6:14], "little", signed=True)
    serial, number = (int.from_bytes(data[begin : begin + 4], "little") for begin in (14, 18))
    return _Page(offset, size, data[5], position, serial, number, is_whole)


def ending(page: bytes) -> bytes:
    """The page as the last of its stream."""
    last = bytearray(page)
    last[5] |= LAST
    last[22:26] = _checksum(last)
    return bytes(last)


def _checksum(page: bytes | bytearray) -> bytes:
    """The checksum of a page: as zlib's, but of bits in the other order and without the inversions."""
    reverse = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    value = zlib.crc32(reverse, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return value.to_bytes(4, "big").translate(_REVERSED)
