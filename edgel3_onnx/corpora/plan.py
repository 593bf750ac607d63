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
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.atomic import cannot_be_written
from edgel3_onnx.corpora.cutting import Files
from edgel3_onnx.corpora.keys import Keys, from_bytes, from_hex, has_texts
from edgel3_onnx.corpora.place import PLANS, Draft, Place
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs.columns import as_numpy, binaries, numbers, texts
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.outputs.rows import path_text

_GROUP_ROWS = 2**15  # of the plan's own file
_KEY = b"edgel3_onnx.plan"


class Entry(NamedTuple):
    """A file to embed, as it was when the plan was made."""

    path: str  # as it was typed, or found
    key: bytes  # 16 bytes, the same however it was typed
    size: int  # bytes
    modified: int  # ns


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
        self._names: list[str] = []  # of chunks that are not written
        self._files: list[Files] = []  # which they have
        self._rows = 0
        self._about = hashlib.sha256(json.dumps([recipe, self._replaces], sort_keys=True).encode())
        self._digest = self._about.copy()
        self._draft: Draft | None = None
        self._writer: Any = None

    def add(self, files: Files) -> None:
        """Append a chunk. EdgeL3Error if the plan cannot be written."""
        digest = self._about.copy()
        digest.update(files.rows.tobytes())
        name = digest.hexdigest()[:32]
        self._digest.update(name.encode())
        self._names.append(name)
        self._files.append(files)
        self._rows += len(files)
        self.files += len(files)
        self.chunks += 1
        if self._rows >= _GROUP_ROWS:
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

        schema = _schema()
        counts = [len(files) for files in self._files]
        number = np.repeat(np.arange(len(counts)), counts)
        files = Files.joined(self._files)
        paths = files.paths if has_texts("".join(files.paths)) else [path_text(path) for path in files.paths]
        raw = [None if text == path else os.fsencode(path) for text, path in zip(paths, files.paths, strict=True)]
        keys = pyarrow.py_buffer(np.ascontiguousarray(files.rows[:, :2]))
        table = pyarrow.table(
            [
                texts(self._names).take(numbers(number)),
                pyarrow.FixedSizeBinaryArray.from_buffers(schema.field("key").type, len(files), [None, keys]),
                texts(paths),
                binaries(raw),
                numbers(files.sizes),
                numbers(files.modified),
            ],
            schema=schema,
        )
        self.bytes += sum(files.sizes.tolist())
        self._names, self._files, self._rows = [], [], 0
        try:
            if self._writer is None:
                self._draft = self._place.draft(self._folder)
                self._writer = parquet.ParquetWriter(
                    self._draft.path, schema, use_dictionary=["chunk"], compression="zstd"
                )
            if len(files):
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


class Rows(NamedTuple):
    """Rows of a plan, N files in C chunks."""

    chunks: Keys  # (2, C): their ids
    chunk: NDArray[np.int32]  # (N,): of which of these a file is
    keys: Keys  # (2, N)
    sizes: NDArray[np.int64]  # (N,) bytes
    modified: NDArray[np.int64]  # (N,) ns


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
            self.files = int(footer.num_rows)
            self.chunks: int = about["chunks"]
            self.replaces: list[str] = about["replaces"]

    def chunk_names(self) -> Iterator[list[str]]:
        """The chunks of each group of rows. No chunk is in two of them."""
        with self._reading() as file:
            for table in _tables(file, ["chunk"]):
                yield table["chunk"].unique().to_pylist()

    def rows(self) -> Iterator[Rows]:
        """What a ledger needs of each group of rows."""
        with self._reading() as file:
            for table in _tables(file, ["chunk", "key", "size", "modified"]):
                names = table["chunk"].combine_chunks().dictionary_encode()
                keys = table["key"].combine_chunks()
                yield Rows(
                    from_hex(names.dictionary.to_pylist()),
                    as_numpy(names.indices),
                    from_bytes(keys.buffers()[1].slice(16 * keys.offset, 16 * len(keys))),
                    as_numpy(table["size"]),
                    as_numpy(table["modified"]),
                )

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
            rows = parquet.ParquetFile(file).read_row_group(number)
        paths, raw = rows["path"].to_pylist(), rows["raw"]
        if raw.null_count < len(raw):
            for row in np.flatnonzero(raw.is_valid().to_pylist()).tolist():
                paths[row] = os.fsdecode(raw[row].as_py())
        entries = list(map(Entry, paths, *(rows[name].to_pylist() for name in ("key", "size", "modified"))))
        names = rows["chunk"].combine_chunks().dictionary_encode()
        ends = [*(np.flatnonzero(np.diff(as_numpy(names.indices))) + 1).tolist(), len(entries)]
        return [
            Chunk(name, self.own_name, number, self.folder, tuple(entries[start:end]))
            for name, start, end in zip(names.dictionary.to_pylist(), [0, *ends], ends, strict=False)
        ]

    def _reading(self) -> AbstractContextManager[Any]:
        return _reading(self._place, self.name)


def _tables(file: Any, columns: list[str]) -> Iterator[Any]:
    from pyarrow import parquet

    opened = parquet.ParquetFile(file)
    for group in range(opened.num_row_groups):
        yield opened.read_row_group(group, columns=columns)


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
