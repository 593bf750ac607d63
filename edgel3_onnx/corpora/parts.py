"""Parts of a dataset: one parquet file for each chunk of the plan, under a name that the chunk's contents fix.

Whoever does a chunk once more, on whatever machine, writes the same rows under the same name. A part says that its
chunk is done; the record of its files that failed is written before it (``_errors``).
"""

import json
from contextlib import suppress
from typing import Any

from edgel3_onnx.atomic import cannot_be_written
from edgel3_onnx.corpora.place import ERRORS, Draft, Place
from edgel3_onnx.embedding import Embeddings
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import dataset, rows
from edgel3_onnx.outputs.record import Metadata


class PartError(EdgeL3Error):
    """A part cannot be written: nothing of it remains."""


_GROUP_VALUES = 2**18  # numbers in a row group, about: 1 MB, 4096 windows of 64
_SUFFIX = ".parquet"


def part_name(chunk: str) -> str:
    """The name of a chunk's part, and of its failures below ``_errors``."""
    return f"part-{chunk}{_SUFFIX}"


def chunk_of(part: str) -> str:
    """The chunk that a part's name says."""
    return part.removeprefix("part-").removesuffix(_SUFFIX)


def group_rows(embedding_dim: int) -> int:
    """Rows of a row group, about."""
    return max(_GROUP_VALUES // embedding_dim, 1)


class PartWriter:
    """Writes a part in row groups, so that memory does not grow with it.

    Parameters
    ----------
    place : Place
    chunk : str
    embedding_dim : int
    """

    def __init__(self, place: Place, chunk: str, embedding_dim: int) -> None:
        self._place = place
        self._name = part_name(chunk)
        self._dim = embedding_dim
        self._tables: list[Any] = []
        self._sources: list[Metadata] = []
        self._held = 0
        self._draft: Draft | None = None
        self._writer: Any = None

    def open(self) -> None:
        """Make the file. PartError if that fails."""
        from pyarrow import parquet

        try:
            self._draft = self._place.draft()
            self._writer = parquet.ParquetWriter(
                self._draft.path,
                rows.schema(self._dim),
                compression="zstd",
                use_dictionary=["path", "label"],
                write_page_checksum=True,
            )
        except OSError as error:
            raise self._give_up(error) from error

    def add_rows(self, path: str, embeddings: Embeddings, metadata: Metadata) -> None:
        """Append windows of one recording. PartError if that fails."""
        self._tables.append(rows.table(path, embeddings, metadata))
        self._held += len(embeddings.embedding)
        if self._held >= group_rows(self._dim):
            self._write_group()

    def add_source(self, source: Metadata) -> None:
        """Add the record of a recording whose rows are all there."""
        self._sources.append(source)

    def commit(self, failures: list[Metadata]) -> None:
        """Finish the part, and record the files of its chunk that are not in it. PartError if that fails."""
        if self._held:
            self._write_group()
        assert self._draft is not None
        try:
            self._writer.add_key_value_metadata(
                {dataset.KEY: json.dumps(self._sources).encode(), dataset.FAILURES: json.dumps(failures).encode()}
            )
            self._writer.close()
            write_failures(self._place, self._name, failures)
            self._draft.commit(self._name)
        except OSError as error:
            raise self._give_up(error) from error
        self._draft = None

    def abandon(self) -> None:
        """Remove what is not finished."""
        if self._writer is not None and self._writer.is_open:
            with suppress(OSError):
                self._writer.close()
            self._writer.is_open = False  # else it would try again when it is deleted
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def _write_group(self) -> None:
        import pyarrow

        try:
            self._writer.write_table(pyarrow.concat_tables(self._tables))
        except OSError as error:
            raise self._give_up(error) from error
        self._tables, self._held = [], 0

    def _give_up(self, error: OSError) -> PartError:
        self.abandon()
        return PartError(cannot_be_written(self._place.shown(self._name), error))


def write_failures(place: Place, name: str, failures: list[Metadata]) -> None:
    """Record the files of a chunk that failed; what an earlier attempt recorded goes. OSError if that fails."""
    import pyarrow
    from pyarrow import parquet

    if not failures:
        place.remove(f"{ERRORS}/{name}")
        return
    columns = {
        "path": pyarrow.string(),
        "absolute_path": pyarrow.string(),
        "key": pyarrow.binary(),
        "reason": pyarrow.string(),
        "size": pyarrow.int64(),
        "modified": pyarrow.int64(),
        "killed": pyarrow.bool_(),
    }
    draft = place.draft(ERRORS)
    try:
        rows = [{**failure, "key": bytes.fromhex(failure["key"])} for failure in failures]
        parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema(columns.items())), draft.path)
        draft.commit(f"{ERRORS}/{name}")
    finally:
        draft.discard()


def read_failures(place: Place, part: str) -> list[dict[str, Any]]:
    """The files of a part's chunk that failed, as of :func:`write_failures`. EdgeL3Error if that cannot be read."""
    from pyarrow import ArrowException, parquet

    name = f"{ERRORS}/{part}"
    try:
        with place.reading(name) as file:
            return list(parquet.ParquetFile(file).read().to_pylist())
    except (OSError, ArrowException) as error:
        raise EdgeL3Error(f"{place.shown(name)}: cannot be read ({error})") from error
