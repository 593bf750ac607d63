"""A plan: the files of a run, cut into chunks once and for all, saved where everybody who works on it can read it.

A plan is a parquet file, one row per file: ``chunk`` string, ``key`` (16 bytes that stand for the absolute path),
``path`` string, ``raw`` (the bytes of a path that is no Unicode, else null), ``size`` in bytes, ``modified`` in ns.
Its metadata say how embeddings are made (``recipe``), and from which folder paths are counted. It is never changed:
files that come later get a plan of their own.
"""

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgel3_onnx.atomic import cannot_be_written
from edgel3_onnx.corpora.place import PLANS, Draft, Place
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs.dataset import key as absolute
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.outputs.rows import path_text

CHUNK_FILES = 64
CHUNK_BYTES = 2**26  # 64 MiB: some minutes of work of one process
_SHARES = 4  # chunks per worker that a small corpus is cut into, at least, so that all have something to do
_GROUP_ROWS = 2**15  # of the plan's own file
_KEY = b"edgel3_onnx.plan"
_STATE = struct.Struct("<16sqq")


class Entry(NamedTuple):
    """A file to embed, as it was when the plan was made."""

    path: str  # as it was typed, or found
    key: bytes  # 16 bytes, the same however it was typed
    size: int  # bytes
    modified: int  # ns


def path_key(path: str) -> bytes:
    """16 bytes that stand for the absolute path."""
    return hashlib.blake2b(absolute(path).encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Chunk:
    """Files that one process does in one go, whose rows are one part."""

    id: str
    plan: str  # the name of its plan
    group: int  # of the plan's rows that has it
    folder: str  # that relative paths are counted from
    entries: tuple[Entry, ...]

    @property
    def key(self) -> str:
        return self.id


class Cutter:
    """Cuts files, in their order, into chunks by number and size; where there are few, into some for each worker.

    Parameters
    ----------
    workers, chunk_files, chunk_bytes : int
    """

    def __init__(self, workers: int = 1, chunk_files: int = CHUNK_FILES, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._shares = workers * _SHARES if workers > 1 else 1
        self._files, self._bytes = chunk_files, chunk_bytes
        self._head: list[Entry] | None = []  # held until it is known whether there are few
        self._held: list[Entry] = []
        self._size = 0

    def add(self, entry: Entry) -> Iterator[tuple[Entry, ...]]:
        """Take a file; give the chunks that are complete."""
        if self._head is None:
            yield from self._take(entry)
            return
        self._head.append(entry)
        if len(self._head) == self._files * self._shares:
            yield from self._begin()

    def end(self) -> Iterator[tuple[Entry, ...]]:
        """Give the last chunks."""
        if self._head is not None:
            self._files = max(-(-len(self._head) // self._shares), 1)
            yield from self._begin()
        if self._held:
            yield tuple(self._held)

    def _begin(self) -> Iterator[tuple[Entry, ...]]:
        head, self._head = self._head or [], None
        for entry in head:
            yield from self._take(entry)

    def _take(self, entry: Entry) -> Iterator[tuple[Entry, ...]]:
        if self._held and (len(self._held) == self._files or self._size + entry.size > self._bytes):
            yield tuple(self._held)
            self._held, self._size = [], 0
        self._held.append(entry)
        self._size += entry.size


class PlanWriter:
    """Writes a plan, in bounded memory.

    Parameters
    ----------
    place : Place
    recipe : dict
        How embeddings are made.
    replaces : list of str
        Files of the place that go when the first part of this plan is whole.
    folder : str
        Of the place, where it is to be saved.
    """

    def __init__(self, place: Place, recipe: Metadata, replaces: Sequence[str] = (), folder: str = PLANS) -> None:
        self.files = self.bytes = self.chunks = 0
        self._place = place
        self._folder = folder
        self._recipe = recipe
        self._replaces = list(replaces)
        self._rows: list[tuple[str, Entry]] = []
        self._about = json.dumps([recipe, self._replaces], sort_keys=True).encode()
        self._digest = hashlib.sha256(self._about)
        self._draft: Draft | None = None
        self._writer: Any = None

    def add(self, entries: tuple[Entry, ...]) -> None:
        """Append a chunk. EdgeL3Error if the plan cannot be written."""
        digest = hashlib.sha256(self._about)
        for entry in entries:
            digest.update(_STATE.pack(entry.key, entry.size, entry.modified))
        name = digest.hexdigest()[:32]
        self._digest.update(name.encode())
        self._rows += [(name, entry) for entry in entries]
        self.files += len(entries)
        self.bytes += sum(entry.size for entry in entries)
        self.chunks += 1
        if len(self._rows) >= _GROUP_ROWS:
            self._write_group()

    def commit(self, name: str | None = None) -> str:
        """Save the plan, and return its name in the place: ``name``, or one of its own. EdgeL3Error if that fails."""
        self._write_group()
        own = f"plan-{self._digest.hexdigest()[:32]}.parquet"
        name = name or f"{PLANS}/{own}"
        about = {
            "recipe": self._recipe,
            "name": own,
            "folder": os.getcwd(),
            "files": self.files,
            "bytes": self.bytes,
            "chunks": self.chunks,
            "replaces": self._replaces,
        }
        assert self._draft is not None
        try:
            self._writer.add_key_value_metadata({_KEY: json.dumps(about).encode()})
            self._writer.close()
            self._draft.commit(name)
        except OSError as error:
            raise self._give_up(error) from error
        return name

    def abandon(self) -> None:
        """Remove what was not committed."""
        if self._writer is not None and self._writer.is_open:
            self._writer.is_open = False
        if self._draft is not None:
            self._draft.discard()

    def _write_group(self) -> None:
        import pyarrow
        from pyarrow import parquet

        rows, self._rows = self._rows, []
        names, entries = [row[0] for row in rows], [row[1] for row in rows]
        texts = [path_text(entry.path) for entry in entries]
        schema = _schema()
        table = pyarrow.table(
            {
                "chunk": names,
                "key": pyarrow.array([entry.key for entry in entries], schema.field("key").type),
                "path": texts,
                "raw": [
                    None if text == entry.path else os.fsencode(entry.path)
                    for text, entry in zip(texts, entries, strict=True)
                ],
                "size": [entry.size for entry in entries],
                "modified": [entry.modified for entry in entries],
            },
            schema=schema,
        )
        try:
            if self._writer is None:
                self._draft = self._place.draft(self._folder)
                self._writer = parquet.ParquetWriter(self._draft.path, schema, compression="zstd")
            if rows:
                self._writer.write_table(table)
        except OSError as error:
            raise self._give_up(error) from error

    def _give_up(self, error: OSError) -> EdgeL3Error:
        self.abandon()
        return cannot_be_written(self._place.shown(PLANS), error)


def _schema() -> Any:
    import pyarrow

    return pyarrow.schema(
        [
            ("chunk", pyarrow.string()),
            ("key", pyarrow.binary(16)),
            ("path", pyarrow.string()),
            ("raw", pyarrow.binary()),
            ("size", pyarrow.int64()),
            ("modified", pyarrow.int64()),
        ]
    )


class PlanFile:
    """A plan that was saved.

    Parameters
    ----------
    place : Place
    name : str

    Raises
    ------
    EdgeL3Error
        If it is damaged, or none of this package.
    """

    def __init__(self, place: Place, name: str) -> None:
        from pyarrow import parquet

        self.name = name
        self._place = place
        with self._reading() as file:
            footer = parquet.read_metadata(file)
            about = json.loads((footer.metadata or {})[_KEY])
            self.groups = int(footer.num_row_groups)
            self.own_name: str = about["name"]  # among the plans of a dataset
            self.recipe: Metadata = about["recipe"]
            self.folder: str = about["folder"]
            self.files: int = about["files"]
            self.chunks: int = about["chunks"]
            self.replaces: list[str] = about["replaces"]

    def columns(self, names: list[str]) -> Iterator[Any]:
        """Some columns, as a pyarrow.Table for each group of rows. No chunk is in two of them."""
        with self._reading() as file:
            from pyarrow import parquet

            opened = parquet.ParquetFile(file)
            for group in range(self.groups):
                yield opened.read_row_group(group, columns=names)

    def adopt(self, place: Place) -> "PlanFile":
        """The same plan among those of the dataset in ``place``. EdgeL3Error if it cannot be written there."""
        name = f"{PLANS}/{self.own_name}"
        try:
            draft = place.draft(PLANS)
            try:
                with self._reading() as file, open(draft.path, "wb") as copy:
                    shutil.copyfileobj(file, copy)
                draft.commit(name)
            finally:
                draft.discard()
        except OSError as error:
            raise cannot_be_written(place.shown(name), error) from error
        return PlanFile(place, name)

    def group(self, number: int) -> list[Chunk]:
        """The chunks of one group of rows."""
        from pyarrow import parquet

        with self._reading() as file:
            rows = parquet.ParquetFile(file).read_row_group(number).to_pydict()
        chunks: list[Chunk] = []
        names, start = rows["chunk"], 0
        for end in range(1, len(names) + 1):
            if end < len(names) and names[end] == names[start]:
                continue
            entries = tuple(
                Entry(path if raw is None else os.fsdecode(raw), key, size, modified)
                for path, raw, key, size, modified in zip(
                    *(rows[name][start:end] for name in ("path", "raw", "key", "size", "modified")), strict=True
                )
            )
            chunks.append(Chunk(names[start], self.own_name, number, self.folder, entries))
            start = end
        return chunks

    def _reading(self) -> AbstractContextManager[Any]:
        return _reading(self._place, self.name)


@contextmanager
def _reading(place: Place, name: str) -> Iterator[Any]:
    try:
        with place.reading(name) as file:
            yield file
    except EdgeL3Error:
        raise
    except OSError as error:
        if error.errno is not None:
            raise EdgeL3Error(f"{place.shown(name)}: cannot be read ({error.strerror or error})") from error
        raise EdgeL3Error(f"{place.shown(name)}: is no plan of edgel3-onnx, or is damaged ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeL3Error(f"{place.shown(name)}: is no plan of edgel3-onnx, or is damaged ({error})") from error


def plans(place: Place) -> list[PlanFile]:
    """All plans of a dataset."""
    return [PlanFile(place, f"{PLANS}/{name}") for name in place.names(PLANS) if name.startswith("plan-")]
