"""Labelled stretches of recordings: label tracks of Audacity, selection tables of Raven, and CSV."""

import codecs
import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgel3_onnx.atomic import write_bytes
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

_BEGIN, _END, _OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"  # as Raven names its columns
_LOW, _HIGH = "Low Freq (Hz)", "High Freq (Hz)"
_PATHS = ("Begin Path", "Begin File")
_LABELS = ("Annotation", "Label", "Species", "Common Name", "Species Code")  # what people call that column in Raven
_LEADING = ("Selection", "View", "Channel")
_CSV = ("path", "start", "end", "label")
_DELIMITERS = ",;\t"
_SHOWN = 60  # characters of a cell that a message quotes


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a recording, and what is heard there.

    Parameters
    ----------
    path : str or None
        The recording, as the file has it. None: the file does not say, as that of Audacity, which belongs to one
        recording.
    start, end : float
        Seconds since the start of the recording, ``0 <= start <= end``.
    label : str or None
        What is heard. None: nobody said.
    low_freq, high_freq : float or None
        Hz, where the label has a frequency range.
    extra : mapping of str to str
        Cells of columns that mean nothing here, by the column's name: they are written again.
    line : int
        Where it was read from, counted from 1; 0: nowhere. Regions that differ in this alone are equal.

    Examples
    --------
    >>> from edgel3_onnx.labels import Region
    >>> Region("a.wav", 1.5, 2.25, "wren").label
    'wren'
    """

    path: str | None
    start: float
    end: float
    label: str | None = None
    low_freq: float | None = None
    high_freq: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    line: int = field(default=0, compare=False)


def read_regions(path: str | os.PathLike[str]) -> list[Region]:
    r"""Read a label track of Audacity, a selection table of Raven, or a CSV. Which it is, its first line says.

    Parameters
    ----------
    path : path
        Text in UTF-8, or in UTF-16 with a byte order mark.

        Audacity: ``start``, ``end`` and ``label`` between tabs, without a header; the lines that begin with ``\``
        are the frequency ranges of those above.

        Raven: columns ``Begin Time (s)``, ``End Time (s)`` and others between tabs. The label is the column
        ``Annotation``, ``Label``, ``Species``, ``Common Name`` or ``Species Code``, the first of these that is
        there, and the recording ``Begin Path`` or ``Begin File``. Where there is ``File Offset (s)``, that is the
        start: Raven counts begin times through all files that were open.

        CSV: a header with ``start`` and ``end``, seconds, and perhaps ``path``, ``label`` and others; between
        commas, semicolons or tabs.

    Returns
    -------
    list of Region
        In the order of the file; none, if it is empty. Raven lists a selection once for each view.

    Raises
    ------
    EdgeL3Error
        With file and line, if it cannot be read, is none of these, or a row has too few or too many cells, no
        numbers where seconds must be, or times that are negative or reversed.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.txt").write_text("0.5\t1.75\twren\n")
    >>> [(region.start, region.end, region.label) for region in read_regions("labels.txt")]
    [(0.5, 1.75, 'wren')]
    """
    path = os.fspath(path)
    text = _read_text(path)
    first = next((line for line in text.split("\n") if line.strip()), None)
    if first is None:
        return []
    if "\t" in first and _is_number(first.partition("\t")[0]):
        return list(_read_audacity(path, text))
    if {_BEGIN, _END} <= {name.strip() for name in first.split("\t")}:
        return list(_read_table(path, text, "\t", _raven_row))
    delimiter = max(_DELIMITERS, key=first.count)
    if {"start", "end"} <= _names(first, delimiter):
        return list(_read_table(path, text, delimiter, _csv_row))
    raise EdgeL3Error(
        f"{path}, line 1: neither a label track of Audacity (start, end and label between tabs), nor a selection table "
        f"of Raven (columns {_BEGIN} and {_END}), nor a CSV with columns start and end: {_quote(first)}"
    )


def write_audacity(path: str | os.PathLike[str], regions: Iterable[Region]) -> None:
    r"""Write a label track of Audacity, with frequency ranges where regions have them. It cannot hold ``extra``.

    Parameters
    ----------
    path : path
        Of the file to write.
    regions : iterable of Region
        In the order that they are to have.

    Raises
    ------
    EdgeL3ArgumentError
        If the regions are of more than one recording, or a label has a tab or a line end.
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_audacity("labels.txt", [Region(None, 0.5, 1.75, "wren")])
    >>> Path("labels.txt").read_text()
    '0.5\t1.75\twren\n'
    """
    lines = []
    recordings: set[str | None] = set()
    for region in _checked(regions):
        recordings.add(region.path)
        lines.append(_joined((repr(region.start), repr(region.end), region.label or "")))
        if region.low_freq is not None and region.high_freq is not None:
            lines.append(_joined(("\\", repr(region.low_freq), repr(region.high_freq))))
    if len(recordings) > 1:
        raise EdgeL3ArgumentError(
            f"a label track is of one recording, got regions of {len(recordings)}: write one file for each"
        )
    write_bytes(path, "".join(lines).encode())


def write_raven(path: str | os.PathLike[str], regions: Iterable[Region]) -> None:
    r"""Write a selection table of Raven. Its columns are those of Raven, ``extra`` and the label.

    Parameters
    ----------
    path : path
        Of the file to write.
    regions : iterable of Region
        In the order that they are to have.

    Raises
    ------
    EdgeL3ArgumentError
        If a cell has a tab or a line end.
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_raven("table.txt", [Region(None, 0.5, 1.75, "wren")])
    >>> Path("table.txt").read_text().count("\n")
    2
    """
    rows = list(_checked(regions))
    extra = _extra_columns(rows)
    label = _first_of(_LABELS, extra) or _LABELS[0]
    recording = _first_of(_PATHS, extra) or (_PATHS[1] if any(row.path is not None for row in rows) else None)
    names = [*_LEADING, _BEGIN, _END, _LOW, _HIGH]
    if recording is not None and recording not in extra:
        names.append(recording)
    names += [name for name in extra if name not in names]
    if label not in names:
        names.append(label)
    lines = [_joined(names)]
    for number, row in enumerate(rows, 1):
        begin = float(row.extra.get(_BEGIN, row.start))  # of all files that Raven had open, where it is kept
        cells = {
            **{"Selection": str(number), "View": "Spectrogram 1", "Channel": "1"},
            **row.extra,
            _BEGIN: repr(begin),
            _END: repr(row.end if begin == row.start else begin + (row.end - row.start)),
            _LOW: "" if row.low_freq is None else repr(row.low_freq),
            _HIGH: "" if row.high_freq is None else repr(row.high_freq),
            label: row.label or "",
        }
        if recording is not None:
            cells[recording] = row.path or ""
        if _OFFSET in extra:
            cells[_OFFSET] = repr(row.start)
        lines.append(_joined([cells.get(name, "") for name in names]))
    write_bytes(path, "".join(lines).encode())


def write_csv(path: str | os.PathLike[str], regions: Iterable[Region]) -> None:
    """Write a CSV with columns ``path``, ``start``, ``end``, ``label``, and those of ``extra``.

    ``path`` is left out where no region has one. Frequencies are ``low_freq`` and ``high_freq``, where there are any.

    Parameters
    ----------
    path : path
        Of the file to write.
    regions : iterable of Region
        In the order that they are to have.

    Raises
    ------
    EdgeL3Error
        If the file cannot be written. What was there before is still there, then.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_csv("regions.csv", [Region(None, 0.5, 1.75, "wren")])
    >>> print(Path("regions.csv").read_text(), end="")
    start,end,label
    0.5,1.75,wren
    """
    rows = list(_checked(regions))
    names = [name for name in _CSV if name != "path" or any(row.path is not None for row in rows)]
    names += [name for name in ("low_freq", "high_freq") if any(getattr(row, name) is not None for row in rows)]
    extra = [name for name in _extra_columns(rows) if name not in names]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*names, *extra])
    for row in rows:
        known = [getattr(row, name) for name in names]  # of which csv writes floats by repr, and None as nothing
        table.writerow([*known, *(row.extra.get(name, "") for name in extra)])
    write_bytes(path, text.getvalue().encode())


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise EdgeL3Error(f"{path}: cannot be read ({error.strerror or error})") from error
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 if is_utf16 else data.count(b"\n", 0, error.start) + 1
        raise EdgeL3Error(f"{path}, line {line}: is no text in UTF-8, by which labels are read") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise EdgeL3Error(f"{path}, line {line}: is no text, it has a byte that is zero")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_audacity(path: str, text: str) -> Iterator[Region]:
    waiting: Region | None = None  # for its frequency range, which may follow
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.split("\t", 2)
        if len(cells) < 2:
            raise EdgeL3Error(f"{path}, line {number}: start and end between tabs are needed, got {_quote(line)}")
        if cells[0] != "\\":
            if waiting is not None:
                yield waiting
            start, end = _times(path, number, *cells[:2])
            waiting = Region(None, start, end, (cells[2] or None) if len(cells) > 2 else None, line=number)
            continue
        if waiting is None or len(cells) != 3:
            raise EdgeL3Error(f"{path}, line {number}: a frequency range that belongs to no label, {_quote(line)}")
        low, high = (_number(path, number, name, cell) for name, cell in zip((_LOW, _HIGH), cells[1:], strict=True))
        yield Region(None, waiting.start, waiting.end, waiting.label, low, high, line=waiting.line)
        waiting = None
    if waiting is not None:
        yield waiting


_Row = Callable[[str, int, dict[str, str]], Region]


def _read_table(path: str, text: str, delimiter: str, make: _Row) -> Iterator[Region]:
    lines = io.StringIO(text, newline="")
    if make is _raven_row:  # Raven quotes nothing
        table = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        table = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from _rows(path, table, delimiter, make)
    except csv.Error as error:
        raise EdgeL3Error(f"{path}, line {table.line_num}: cannot be read as a table ({error})") from error


def _rows(path: str, table: Any, delimiter: str, make: _Row) -> Iterator[Region]:
    names: list[str] | None = None
    for cells in table:
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [cell.strip() if make is _raven_row else _known(cell.strip()) for cell in cells]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise EdgeL3Error(f"{path}, line {table.line_num}: two columns are called {_quote(twice)}")
        elif len(cells) != len(names):
            row = _quote(delimiter.join(cells))
            raise EdgeL3Error(f"{path}, line {table.line_num}: {len(cells)} cells under {len(names)} columns: {row}")
        else:
            yield make(path, table.line_num, dict(zip(names, cells, strict=True)))


def _csv_row(path: str, line: int, cells: dict[str, str]) -> Region:
    start, end = _times(path, line, cells.pop("start"), cells.pop("end"))
    recording, label = cells.pop("path", None), cells.pop("label", None)
    low, high = (_optional(path, line, name, cells.pop(name, "")) for name in ("low_freq", "high_freq"))
    return Region(recording or None, start, end, label or None, low, high, cells, line)


def _raven_row(path: str, line: int, cells: dict[str, str]) -> Region:
    begin, end = _times(path, line, cells[_BEGIN], cells[_END])
    offset = _optional(path, line, _OFFSET, cells.get(_OFFSET, ""))
    start = begin
    if offset is None:
        del cells[_BEGIN]
    elif offset < 0:
        raise EdgeL3Error(f"{path}, line {line}: {_OFFSET} is negative, {_quote(cells[_OFFSET])}")
    else:
        start, end = offset, end if offset == begin else offset + (end - begin)
    del cells[_END]
    low, high = (_optional(path, line, name, cells.pop(name, "")) for name in (_LOW, _HIGH))
    label, recording = _first_of(_LABELS, cells), _first_of(_PATHS, cells)
    return Region(
        cells[recording] or None if recording is not None else None,
        start,
        end,
        cells[label] or None if label is not None else None,
        low,
        high,
        cells,
        line,
    )


def _times(path: str, line: int, start_text: str, end_text: str) -> tuple[float, float]:
    start, end = _number(path, line, "start", start_text), _number(path, line, "end", end_text)
    if start < 0:
        raise EdgeL3Error(f"{path}, line {line}: starts at {start:g} s, before the recording does")
    if end < start:
        raise EdgeL3Error(f"{path}, line {line}: ends at {end:g} s, before it starts at {start:g} s")
    return start, end


def _optional(path: str, line: int, name: str, text: str) -> float | None:
    return _number(path, line, name, text) if text.strip() else None


def _number(path: str, line: int, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise EdgeL3Error(f"{path}, line {line}: {name} must be a number with a decimal point, got {_quote(text)}")
    return number


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))  # a decimal comma is refused where it is read, by its line
    except ValueError:
        return False
    return True


def _names(header: str, delimiter: str) -> set[str]:
    """The columns that a header names; none if it is no header."""
    try:
        cells = next(csv.reader([header], delimiter=delimiter, strict=True))
    except csv.Error:
        return set()
    return {_known(cell.strip()) for cell in cells}


def _known(name: str) -> str:
    """The name of a column of ours however it is capitalised, others as they are."""
    return name.lower() if name.lower() in {*_CSV, "low_freq", "high_freq"} else name


def _first_of(wanted: Sequence[str], names: Iterable[str]) -> str | None:
    known = set(names)
    return next((name for name in wanted if name in known), None)


def _extra_columns(regions: Sequence[Region]) -> list[str]:
    return list(dict.fromkeys(name for region in regions for name in region.extra))


def _checked(regions: Iterable[Region]) -> Iterator[Region]:
    for region in regions:
        if not 0 <= region.start <= region.end < math.inf:
            raise EdgeL3ArgumentError(f"a region must have 0 <= start <= end, got {region.start!r} to {region.end!r}")
        yield region


def _joined(cells: Sequence[str]) -> str:
    for cell in cells:
        if any(mark in cell for mark in "\t\n\r"):
            raise EdgeL3ArgumentError(f"a cell between tabs cannot have a tab or a line end, got {_quote(cell)}")
    return "\t".join(cells) + "\n"


def _quote(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
