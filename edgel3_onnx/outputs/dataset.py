"""A corpus as one parquet dataset: one row per window, many recordings per file (a part)."""

import json
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.atomic import PartialFile, cannot_be_written
from edgel3_onnx.exceptions import EdgeL3Error

Metadata = dict[str, Any]

_KEY = b"edgel3_onnx"  # of a part's metadata; its value is a JSON list, one record per recording
_GROUP_ROWS = 16384  # rows of a row group, about
_PART_ROWS = 262144  # rows after which a part is finished
_PART_SECONDS = 60.0  # and the time after which it is: a killed run loses no more than that


class DatasetWriter:
    """Adds recordings to a dataset directory, in parts that appear there when they are whole.

    Columns: ``path`` string, ``timestamp`` float64 (seconds), ``embedding`` fixed-size list of float32.
    """

    def __init__(self, folder: str, embedding_dim: int) -> None:
        pyarrow = import_pyarrow()
        self._folder = folder
        self._schema = pyarrow.schema(
            [
                ("path", pyarrow.string()),
                ("timestamp", pyarrow.float64()),
                ("embedding", pyarrow.list_(pyarrow.float32(), embedding_dim)),
            ]
        )
        self._part: PartialFile | None = None
        self._writer: Any = None
        self._tables: list[Any] = []
        self._sources: list[Metadata] = []
        self._rows = self._held = 0
        self._started = 0.0

    def add(
        self, path: str, embedding: NDArray[np.float32], timestamps: NDArray[np.float64], metadata: Metadata
    ) -> bool:
        """Append one recording. Returns whether all that was added so far is on disk, in finished parts.

        Raises
        ------
        EdgeL3Error
            If the part cannot be written: nothing of it remains then.
        """
        pyarrow = import_pyarrow()
        if self._part is None:
            self._open()
        self._sources.append({**metadata, "path": path_text(path), "windows": len(embedding)})
        values = pyarrow.array(np.ascontiguousarray(embedding).reshape(-1))
        self._tables.append(
            pyarrow.table(
                [
                    pyarrow.array([path_text(path)] * len(embedding), pyarrow.string()),
                    pyarrow.array(timestamps),
                    pyarrow.FixedSizeListArray.from_arrays(values, embedding.shape[1]),
                ],
                schema=self._schema,
            )
        )
        self._held += len(embedding)
        self._rows += len(embedding)
        if self._held >= _GROUP_ROWS:
            self._write_group()
        if self._rows >= _PART_ROWS or time.monotonic() - self._started > _PART_SECONDS:
            self.close()
        return self._part is None

    def close(self) -> None:
        """Finish the part that is being written. Raises EdgeL3Error if that fails."""
        if self._part is None:
            return
        if self._held:
            self._write_group()
        try:
            self._writer.add_key_value_metadata({_KEY: json.dumps(self._sources).encode()})
            self._writer.close()
            self._part.commit()
        except OSError as error:
            raise self._give_up(error) from error
        self._part = None

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
            self._writer = parquet.ParquetWriter(self._part.temporary, self._schema, compression="zstd")
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


def finished_sources(folder: str) -> dict[str, Metadata]:
    """The recordings that the parts in ``folder`` hold, by path.

    Raises
    ------
    EdgeL3Error
        If a part is damaged or not of this package.
    """
    sources = {}
    for part in parts(folder):
        for source in read_sources(part):
            sources[source["path"]] = source
    return sources


def parts(folder: str) -> list[Path]:
    """The finished parts of a dataset, sorted; none if there is no such directory."""
    return sorted(Path(folder).glob("part-*.parquet"))


def read_sources(part: Path) -> list[Metadata]:
    """How each recording in a part was made.

    Raises
    ------
    EdgeL3Error
        If the part is damaged or not of this package.
    """
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(part).metadata or {}
        sources: list[Metadata] = json.loads(metadata[_KEY])
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise EdgeL3Error(f"{part}: is no output of edgel3-onnx, or is damaged ({error})") from error
    return sources


def path_text(path: str) -> str:
    """``path`` as valid UTF-8: bytes of a name that are not become ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def import_pyarrow() -> Any:
    """Raises EdgeL3Error if the extra ``[parquet]`` is not installed."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise EdgeL3Error("parquet needs pyarrow: pip install 'edgel3-onnx[parquet]'") from error
    return pyarrow
