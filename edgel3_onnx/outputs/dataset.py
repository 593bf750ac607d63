"""A corpus as one parquet dataset: one row per window, many recordings per file (a part)."""

import fnmatch
import json
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from edgel3_onnx.atomic import PartialFile, cannot_be_written
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.gathering import Embeddings
from edgel3_onnx.outputs import rows
from edgel3_onnx.outputs.arrays import reading
from edgel3_onnx.outputs.record import MANNER, SOURCE, Metadata, first_difference
from edgel3_onnx.outputs.rows import import_pyarrow, path_text

MAGIC = b"PAR1"
_KEY = b"edgel3_onnx"  # of a part's metadata; its value is a JSON list, one record per recording
_GROUP_ROWS = 16384  # rows of a row group, about
_PART_ROWS = 262144  # rows after which a part is finished
_PART_SECONDS = 60.0  # and the time after which it is: a killed run loses no more than that


class DatasetWriter:
    """Adds recordings to a dataset directory, in parts that appear there when they are whole.

    Its columns are those of :func:`edgel3_onnx.outputs.rows.schema`.

    Parameters
    ----------
    folder : str
    embedding_dim : int
    replaces : list of str
        Parts that are removed when the first new one is whole, and not before.
    """

    def __init__(self, folder: str, embedding_dim: int, replaces: Sequence[str] = ()) -> None:
        self._folder = folder
        self._replaces = replaces
        self._schema = rows.schema(embedding_dim)
        self._part: PartialFile | None = None
        self._writer: Any = None
        self._tables: list[Any] = []
        self._sources: list[Metadata] = []
        self._rows = self._held = 0
        self._started = 0.0

    def add(self, path: str, embeddings: Embeddings, metadata: Metadata) -> bool:
        """Append one recording. Returns whether all that was added so far is on disk, in finished parts.

        Raises
        ------
        EdgeL3Error
            If the part cannot be written: nothing of it remains then.
        """
        if self._part is None:
            self._open()
        windows = len(embeddings.embedding)
        self._sources.append({**metadata, "path": path_text(path), "absolute_path": key(path), "windows": windows})
        self._tables.append(rows.table(path, embeddings, metadata))
        self._held += windows
        self._rows += windows
        if self._held >= _GROUP_ROWS:
            self._write_group()
        if self._rows >= _PART_ROWS or time.monotonic() - self._started > _PART_SECONDS:
            self.close()
        return self._part is None

    def close(self) -> None:
        """Finish the part that is being written. Raises EdgeL3Error if that fails, or a replaced one stays."""
        if self._part is None:
            return
        if self._held:
            self._write_group()
        try:
            self._writer.add_key_value_metadata({_KEY: json.dumps(self._sources).encode()})
            self._writer.close()
            self._part.commit(durable=True)
        except OSError as error:
            raise self._give_up(error) from error
        self._part = None
        replaces, self._replaces = self._replaces, ()
        for old in replaces:
            try:
                os.unlink(old)
            except FileNotFoundError:  # another process of this run was first
                pass
            except OSError as error:
                reason = error.strerror or error
                raise EdgeL3Error(f"{old}: cannot be removed ({reason}), whose rows are replaced") from error

    def abandon(self) -> None:
        """Remove the part that is being written, if any."""
        if self._part is not None:
            if self._writer is not None:
                with suppress(OSError):
                    self._writer.close()
                self._writer.is_open = False  # else it would try again when it is deleted
            self._part.discard()
            self._part = None

    def _open(self) -> None:
        from pyarrow import parquet

        self._writer = None
        path = os.path.join(self._folder, f"part-{uuid.uuid4().hex}.parquet")
        try:
            self._part = PartialFile(path)
            self._part.open()
            self._writer = parquet.ParquetWriter(
                self._part.temporary, self._schema, compression="zstd", write_page_checksum=True
            )
        except OSError as error:
            self.abandon()
            raise cannot_be_written(path, error) from error
        self._tables, self._sources = [], []
        self._rows = self._held = 0
        self._started = time.monotonic()

    def _write_group(self) -> None:
        pyarrow = import_pyarrow()
        try:
            self._writer.write_table(pyarrow.concat_tables(self._tables))
        except OSError as error:
            raise self._give_up(error) from error
        self._tables, self._held = [], 0

    def _give_up(self, error: OSError) -> EdgeL3Error:
        assert self._part is not None
        failure = cannot_be_written(self._part.path, error)
        self.abandon()
        return failure


class FinishedSources:
    """The recordings that a dataset holds, to be continued by a run that makes embeddings as ``wanted`` says.

    Raises
    ------
    EdgeL3Error
        If a part is damaged, not of this package, or made otherwise: rows of one dataset are made alike.
    """

    def __init__(self, folder: str, wanted: Metadata) -> None:
        self._records: dict[str, Metadata] = {}
        manner = {name: wanted[name] for name in MANNER}
        for part in parts(folder):
            sources = read_sources(part)
            for record in sources:
                if "graph_sha256" not in record:
                    raise EdgeL3Error(
                        f"{folder} was made by edgel3-onnx {record.get('version')}, whose records do not say which "
                        "graph ran: replace it by --overwrite, or name another directory"
                    )
                if (name := first_difference(record, manner)) is not None:
                    raise EdgeL3Error(
                        f"{folder} was made with {name} {record.get(name)!r}, this run has {wanted[name]!r}: replace "
                        "it by --overwrite, or name another directory"
                    )
                self._records[record["absolute_path"]] = record
            if sources and (missing := _missing_columns(part)):
                raise EdgeL3Error(
                    f"{folder} was made by an earlier edgel3-onnx, whose rows have no {', '.join(missing)}: replace it "
                    "by --overwrite, or name another directory"
                )

    def look_up(self, path: str, wanted: Metadata) -> tuple[bool, str | None]:
        """Whether the rows of a recording are there, and why if that is an error."""
        record = self._records.get(key(path))
        if record is None:
            return False, None
        if first_difference(record, {name: wanted[name] for name in SOURCE}) is None:
            return True, None
        return (
            True,
            "is in the dataset already, made from a file of another size or time, or other parts (see --overwrite)",
        )


def parts(folder: str) -> list[str]:
    """The finished parts of a dataset, sorted; none if there is no such directory.

    Raises
    ------
    EdgeL3Error
        If the directory cannot be listed: what is in it is not known, then.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EdgeL3Error(f"{folder}: cannot be listed ({error.strerror or error})") from error
    return sorted(os.path.join(folder, name) for name in fnmatch.filter(names, "part-*.parquet"))


def read_sources(part: str) -> list[Metadata]:
    """How each recording in a part was made.

    Raises
    ------
    EdgeL3Error
        If the part is damaged or not of this package.
    """
    import_pyarrow()
    from pyarrow import parquet

    with reading(part) as file:
        footer = parquet.read_metadata(file)
        metadata = footer.metadata or {}
        if _KEY not in metadata:
            raise ValueError("it has no record of this package")
        sources = json.loads(metadata[_KEY])
        if not isinstance(sources, list) or not all(map(_is_record, sources)):
            raise ValueError("its record is no list of recordings")
        if footer.num_rows != (windows := sum(source["windows"] for source in sources)):
            raise ValueError(f"it has {footer.num_rows} rows, and says {windows}")
    return sources


def _missing_columns(part: str) -> list[str]:
    """The columns of today's rows that a part does not have."""
    from pyarrow import parquet

    with reading(part) as file:
        names = set(parquet.read_schema(file).names)
    return [name for name in rows.schema(1).names if name not in names]


def _is_record(source: object) -> bool:
    """Whether this is the record of a recording; those of the first release have no absolute path, and no graph."""
    if not isinstance(source, dict) or not isinstance(source.get("path"), str):
        return False
    known = isinstance(source.get("absolute_path"), str) or "graph_sha256" not in source
    return known and type(source.get("windows")) is int


def key(path: str) -> str:
    """What a recording is known by, however its path was typed and from which directory."""
    return path_text(os.path.abspath(path))
