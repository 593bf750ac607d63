"""Compressed audio from a pipe: MP3 and Ogg through libsndfile, everything else through PyAV.

libsndfile reads from a pipe of its own, which a thread fills: with whole frames of MP3, so that no tag ends the
decoding or makes it complain, and with one Ogg stream after the other, each for a decoder of its own.
"""

import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import mpeg, mpeg_frames, ogg, pyav, sndfile
from edgel3_onnx.recordings.findings import Findings, Ledger
from edgel3_onnx.recordings.pipe_reader import PipeReader
from edgel3_onnx.recordings.walk import Walk

_SECONDS = 0.1  # decoded at a time
_OGG_HEAD = 27  # bytes of a page in front of its segment table
_FIRST = 2  # flag of an Ogg page
_PROBED = 32768  # bytes that PyAV looks at before it decodes


def is_mpeg(magic: bytes) -> bool:
    """Whether the first bytes are the header of a frame of layer 1, 2 or 3."""
    return mpeg_frames.parse(magic[:4]) is not None


class _SndfilePipe(ABC):
    """What MP3 and Ogg have in common: streams of bytes, each for a decoder of its own."""

    def __init__(self, reader: PipeReader) -> None:
        self._reader = reader
        self._walk = Walk()
        self._done = 0  # samples
        self._failure: BaseException | None = None
        self._sound = self._open()
        self.sample_rate = float(self._sound.samplerate)

    def blocks(self) -> Iterator[NDArray[Any]]:
        return _interruptible(self._blocks(), self._reader.waiting)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        import soundfile

        length = max(int(_SECONDS * self.sample_rate), 1)
        while True:
            skip = self._skip()
            try:
                while len(block := self._sound.read(length, dtype="float32", always_2d=True)):
                    dropped = min(skip, len(block))
                    skip -= dropped
                    self._done += len(block) - dropped
                    if dropped < len(block):
                        yield block[dropped:]
            except soundfile.LibsndfileError as error:
                self._walk.is_cut = True
                self._walk.left_out.append(
                    f"damaged behind {self._done / self.sample_rate:.2f} s ({error.error_string})"
                )
            channels = self._sound.channels
            self._sound.close()
            self._drain()
            if self._failure is not None:
                raise self._failure
            if not self._reader.peek(1):
                return
            self._sound = self._open()
            if (self._sound.samplerate, self._sound.channels) != (self.sample_rate, channels):
                self._walk.is_cut = True
                self._walk.left_out.append(
                    f"a second recording at {self._sound.samplerate} Hz, {self._sound.channels} channels"
                )
                self._sound.close()
                self._drain()
                self._reader.skip(2**62)
                return
            self._walk.recordings += 1

    def findings(self) -> Findings:
        return Ledger(self._walk).findings(self._done, self.sample_rate, sndfile.version(), sndfile.version)

    @abstractmethod
    def _stream(self) -> Iterator[bytes]:
        """The bytes for one decoder."""

    def _skip(self) -> int:
        """How many samples are the encoder's delay."""
        return 0

    def _open(self) -> Any:
        ours, theirs = os.pipe()
        self._thread = threading.Thread(target=self._fill, args=(theirs,), daemon=True, name="edgel3-onnx-pipe")
        self._thread.start()
        try:
            return sndfile.open_sound(ours, closefd=True)
        except sndfile.CannotOpen as error:
            with suppress(OSError):
                os.close(ours)
            raise EdgeL3Error(f"standard input cannot be decoded ({error})") from error

    def _fill(self, descriptor: int) -> None:
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as pipe:
                is_read = True
                for data in self._stream():
                    if is_read:
                        try:
                            pipe.write(data)
                        except OSError:  # the decoder has had enough; the rest is taken from who writes to us
                            is_read = False
        except BaseException as error:  # handed to the thread that decodes
            self._failure = error

    def _drain(self) -> None:
        self._thread.join()


class MpegPipe(_SndfilePipe):
    """Frames of layer 1, 2 or 3, without tags."""

    def __init__(self, reader: PipeReader) -> None:
        self._delay = 0
        super().__init__(reader)

    def _skip(self) -> int:
        return self._delay

    def _stream(self) -> Iterator[bytes]:
        reader, walk = self._reader, self._walk
        first: mpeg_frames.Header | None = None
        frames = size = announced = broken = 0  # bytes of all frames; frames by tags; bytes that are in no frame
        while len(head := reader.peek(4)) == 4:
            header = mpeg_frames.parse(head)
            if header is not None and not header.is_free and (first is None or header.format == first.format):
                frame = reader.take(header.size)
                if len(frame) < header.size:
                    walk.is_cut = not announced
                    break
                first = first or header
                if mpeg_frames.is_tagged(frame, header):
                    delay, count = mpeg.read_tag(frame, header)
                    announced += count
                    if not frames:
                        self._delay = delay
                    else:
                        walk.recordings += 1
                    continue
                frames, size = frames + 1, size + len(frame)
                yield frame
            elif length := mpeg_frames.tag_length(reader.peek):
                reader.skip(length)
            elif header is not None and not header.is_free and frames and self._is_followed(header):
                self._leave_out(header)
            else:
                broken += reader.take(1) != b"\0" and frames > 0
        reader.skip(len(head))  # too little for a frame
        if first is not None and announced:
            walk.lost_at_end = max(announced - frames, 0) * first.samples / first.rate
        elif broken * frames > size / 2:  # more than half a frame
            walk.is_cut = True
            walk.left_out.append(f"{broken} bytes are no frames")

    def _is_followed(self, header: mpeg_frames.Header) -> bool:
        """Whether what comes next is a frame in front of another of its kind, or of the end."""
        data = self._reader.peek(header.size + 4)
        following = mpeg_frames.parse(data[header.size :])
        is_last = len(data) == header.size
        return is_last or (following is not None and following.format == header.format)

    def _leave_out(self, header: mpeg_frames.Header) -> None:
        """Take a frame of a recording of another kind."""
        frame, walk = self._reader.take(header.size), self._walk
        if not mpeg_frames.is_tagged(frame, header):
            walk.left_out_seconds += header.samples / header.rate
            said = f"{walk.left_out_seconds:.2f} s joined to it at {header.rate} Hz, {header.channels} channels"
            walk.left_out = [said]


class OggPipe(_SndfilePipe):
    """One Ogg stream after the other."""

    def _stream(self) -> Iterator[bytes]:
        reader = self._reader
        has_begun, page = False, b""
        while len(head := reader.peek(_OGG_HEAD)) == _OGG_HEAD:
            if not head.startswith(b"OggS\0"):
                reader.skip(1)
                continue
            if head[5] & _FIRST and has_begun:
                break
            has_begun = has_begun or not head[5] & _FIRST
            table = reader.peek(_OGG_HEAD + head[26])[_OGG_HEAD:]
            yield page
            page = reader.take(_OGG_HEAD + len(table) + sum(table))
        if page:
            yield ogg.ending(page)  # else libsndfile loses what it decoded last
        if len(head) < _OGG_HEAD:
            reader.skip(_OGG_HEAD)


class AvPipe:
    """What FFmpeg knows."""

    def __init__(self, reader: PipeReader) -> None:
        import av

        self._reader = reader
        try:
            options = {"probesize": str(_PROBED), "analyzeduration": "0"}
            container = av.open(_OneWay(reader), options=options, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EdgeL3Error(
                f"standard input is nothing that libsndfile or FFmpeg reads ({reason}); raw PCM needs --rate HZ "
                "[--pcm s16le|f32le]"
            ) from error
        if not container.streams.audio or not getattr(container.streams.audio[0], "rate", None):
            raise EdgeL3Error("standard input has no stream of audio that FFmpeg decodes")
        self._source = pyav.AvReader(container)
        self._done = 0
        self.sample_rate = self._source.sample_rate

    def blocks(self) -> Iterator[NDArray[Any]]:
        return _interruptible(self._blocks(), self._reader.waiting)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        for block in self._source.blocks(_SECONDS):
            self._done += len(block)
            yield block

    def findings(self) -> Findings:
        walk = Walk(self.sample_rate)
        if self._source.left_out is not None:
            walk.left_out.append(self._source.left_out)
            walk.is_cut = True
        ledger = Ledger(walk, holes=self._source.holes)
        return ledger.findings(self._done, self.sample_rate, pyav.version(), pyav.version)


class _OneWay:
    """A pipe as the file object that PyAV takes: it has no seek."""

    def __init__(self, reader: PipeReader) -> None:
        self._reader = reader

    def read(self, count: int) -> bytes:
        return self._reader.read(count)


def _interruptible(
    blocks: Iterator[NDArray[Any]], waiting: Callable[[], AbstractContextManager[None]]
) -> Iterator[NDArray[Any]]:
    """The same blocks, waited for where a signal can be heard: a decoder that waits for a pipe hears none.

    The thread that decodes is left behind when the caller stops early: nothing can wake it.
    """
    channel: queue.Queue[Any] = queue.Queue(2)

    def work() -> None:
        try:
            for block in blocks:
                channel.put(block)
            channel.put(None)
        except BaseException as error:  # handed to the thread that waits
            channel.put(error)

    threading.Thread(target=work, daemon=True, name="edgel3-onnx-decoder").start()
    while True:
        with waiting():
            item = channel.get()
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item
