"""When a recording began, by the recorder's clock: from what it wrote into the WAV file, or the file's name.

GUANO: https://github.com/riggsd/guano-spec (chunk "guan", ``Timestamp: 2017-04-20T19:50:54-05:00``). AudioMoth: the
comment of the chunk "LIST", ``Recorded at 19:50:54 20/04/2017 (UTC-5) by AudioMoth ...``. Broadcast Wave: EBU Tech 3285
(chunk "bext", OriginationDate and OriginationTime), which knows no time zones.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import BinaryIO

from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.recordings import riff
from edgel3_onnx.recordings.location import open_binary, state
from edgel3_onnx.recordings.view import read_at

_MAX_CHUNKS = 1000
_MAX_CHUNK = 2**16  # bytes that are read of one
_BEXT_DATE = 256 + 32 + 32  # bytes of Description, Originator and OriginatorReference in front of it
_AUDIOMOTH = re.compile(
    r"Recorded at (\d\d:\d\d:\d\d(?:\.\d{1,6})? \d\d/\d\d/\d{4})"
    r"(?: \(UTC(?P<zone>(?:(?P<hours>[+-]\d{1,2})(?::?(?P<minutes>\d\d))?)?)\))? (?:by|during)"
)
_DIRECTIVES = {
    **{"%Y": r"\d{4}", "%y": r"\d{2}", "%j": r"\d{3}", "%f": r"\d{1,6}", "%%": "%"},
    **dict.fromkeys(("%m", "%d", "%H", "%M", "%S"), r"\d{2}"),
    "%z": r"(?:Z|[+-]\d{2}:?\d{2})",
}


@dataclass(frozen=True)
class ClockOptions:
    """What is known about the clocks of recorders.

    Attributes
    ----------
    time_pattern : str or None
        How file names have the time, as of strptime: "%Y%m%d_%H%M%S".
    time_zone : str or None
        Of clocks that do not say theirs: "UTC", "+02:00" or a name such as "Europe/Berlin".
    """

    time_pattern: str | None = None
    time_zone: str | None = None

    @classmethod
    def of(cls, time_pattern: object, time_zone: object) -> "ClockOptions":
        """EdgeL3ArgumentError if a pattern does not give date, hour, minute and zone, or a zone is not known."""
        for name, value in (("time_pattern", time_pattern), ("time_zone", time_zone)):
            if value is not None and not isinstance(value, str):
                raise EdgeL3ArgumentError(f"{name} must be a text or None, got {value!r}")
        options = cls(time_pattern, time_zone)  # type: ignore[arg-type]
        options.zone()
        if isinstance(time_pattern, str):
            _check_pattern(time_pattern, options)
        return options

    def zone(self) -> tzinfo | None:
        """That of ``time_zone``. EdgeL3ArgumentError if it is not known."""
        if self.time_zone is None:
            return None
        from zoneinfo import ZoneInfo

        try:
            if self.time_zone[:1] in ("+", "-"):
                return datetime.strptime(self.time_zone, "%z").tzinfo
            return ZoneInfo(self.time_zone)
        except (ValueError, OSError, KeyError) as error:
            raise EdgeL3ArgumentError(
                "time_zone must be UTC, an offset such as +02:00, or a name such as Europe/Berlin that this machine "
                f"knows (pip install tzdata adds them), got {self.time_zone!r}"
            ) from error


@dataclass(frozen=True)
class Clock:
    """When a recording began.

    Attributes
    ----------
    recorded_at : str or None
        ISO 8601 with offset. None: nobody says, or says the zone, or the hour came twice or never on that day.
    source : str or None
        Where that stands, and how: "GUANO 2017-04-20T19:50:54-05:00".
    """

    recorded_at: str | None = None
    source: str | None = None


def read_clock(path: str, options: ClockOptions) -> Clock:
    """When the recording began, by its name if that has ``options.time_pattern``, else by what is in its file."""
    source, time = _from_name(path, options.time_pattern)
    if time is None:
        source, time = _from_file(path)
    if time is None:
        return Clock()
    if time.tzinfo is None:
        zone = options.zone()
        if zone is None:
            return Clock(None, f"{source}, without a time zone")
        if time.replace(tzinfo=zone).utcoffset() != time.replace(tzinfo=zone, fold=1).utcoffset():
            return Clock(None, f"{source}, which came twice or never in {options.time_zone}")
        time = time.replace(tzinfo=zone)
    return Clock(time.isoformat(), source)


def _check_pattern(pattern: str, options: ClockOptions) -> None:
    found = set(re.findall("%.?", pattern))
    unknown = sorted(found - _DIRECTIVES.keys())
    date = found & {"%Y", "%y"} and ({"%m", "%d"} <= found or "%j" in found)
    if unknown or not date or not {"%H", "%M"} <= found or len(found) < len(re.findall("%[^%]", pattern)):
        raise EdgeL3ArgumentError(
            "time_pattern must have year, month, day, hour and minute once, by "
            f"{' '.join(name for name in _DIRECTIVES if name != '%%')}, got {pattern!r}"
        )
    if "%z" not in found and options.time_zone is None:
        raise EdgeL3ArgumentError(f"time_pattern {pattern!r} has no %z: say with time_zone which zone file names have")


def _from_name(path: str, pattern: str | None) -> tuple[str, datetime | None]:
    """The one time in a file's name; None if there is none, or there are several."""
    stem = os.path.splitext(os.path.basename(path))[0]
    if pattern is None:
        return "", None
    parts = re.split("(%.)", pattern)
    wanted = "".join(_DIRECTIVES[part] if part in _DIRECTIVES else re.escape(part) for part in parts)
    found = set()
    for match in re.finditer(rf"(?<!\d)(?=({wanted})(?!\d))", stem):
        try:
            found.add((match[1], datetime.strptime(match[1], pattern)))
        except ValueError:  # a month 13
            continue
    if len(found) != 1:
        return "", None
    text, time = found.pop()
    return f"name {text}", time


def _from_file(path: str) -> tuple[str, datetime | None]:
    """The first time of GUANO, AudioMoth and Broadcast Wave, in this order."""
    try:
        with open_binary(path) as file:
            chunks = dict(_chunks(file, state(path)[0]))
    except OSError:  # whoever decodes it says so
        return "", None
    for name, read in ((b"guan", _guano), (b"LIST", _audiomoth), (b"bext", _bext)):
        text, time = read(chunks[name]) if name in chunks else ("", None)
        if time is not None:
            return text, time
    return "", None


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a WAV, RF64 or Wave64 file that may have a time, the last of each name that may."""
    magic = read_at(file, 0, 12)
    is_wave64 = magic[:4] == b"riff"
    if not is_wave64 and (magic[:4] not in (b"RIFF", b"RIFX", b"RF64") or magic[8:] != b"WAVE"):
        return
    order = ">" if magic[:4] == b"RIFX" else "<"
    at, long_size = 40 if is_wave64 else 12, 0
    for _ in range(_MAX_CHUNKS):
        name, offset, length = riff.chunk(file, at, is_wave64, order)
        if not name or length < 0:
            return
        if name == b"ds64":
            long_size = int.from_bytes(read_at(file, offset, 16)[8:], "little")
        elif name == b"data" and length == 0xFFFFFFFF:
            length = long_size
        elif name in (b"guan", b"bext") or (name == b"LIST" and read_at(file, offset, 4) == b"INFO"):
            yield name, read_at(file, offset, min(length, _MAX_CHUNK))
        at = offset + length + -(offset + length) % (8 if is_wave64 else 2)
        if at >= size:
            return


def _guano(body: bytes) -> tuple[str, datetime | None]:
    for line in body.decode("utf-8", "replace").split("\n"):
        name, _, value = (part.strip(" \t\r\0") for part in line.partition(":"))
        if name == "Timestamp":
            return f"GUANO {value}", _parse(datetime.fromisoformat, value)
    return "", None


def _audiomoth(body: bytes) -> tuple[str, datetime | None]:
    match = _AUDIOMOTH.search(body.decode("ascii", "replace"))
    if match is None:
        return "", None
    form = "%H:%M:%S.%f %d/%m/%Y" if "." in match[1] else "%H:%M:%S %d/%m/%Y"
    time = _parse(lambda text: datetime.strptime(text, form), match[1])
    text = f"AudioMoth {match[1]}"
    if time is None or match["zone"] is None:  # the first firmware said none
        return text, time
    hours, minutes = match["hours"] or "+0", match["minutes"] or "0"
    sign = -1 if hours.startswith("-") else 1
    offset = timedelta(hours=int(hours), minutes=sign * int(minutes))
    if abs(offset) >= timedelta(days=1):
        return text, None
    return f"{text} (UTC{match['zone']})", time.replace(tzinfo=timezone(offset))


def _bext(body: bytes) -> tuple[str, datetime | None]:
    text = body[_BEXT_DATE : _BEXT_DATE + 18].decode("ascii", "replace")
    match = re.fullmatch(
        r"(\d{4}).(\d\d).(\d\d)(\d\d).(\d\d).(\d\d)", text
    )  # which marks stand between, writers differ
    if match is None:
        return "", None
    joined = "{}-{}-{}T{}:{}:{}".format(*match.groups())
    return f"bext {joined}", _parse(datetime.fromisoformat, joined)


def _parse(parse: Callable[[str], datetime], text: str) -> datetime | None:
    try:
        return parse(text)
    except ValueError:
        return None
