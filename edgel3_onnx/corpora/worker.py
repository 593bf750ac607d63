"""The one worker of all engines: it embeds the files of a chunk and saves them as a part."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edgel3_onnx.corpora.attempts import attempt, killers
from edgel3_onnx.corpora.parts import PartError, PartWriter, group_rows
from edgel3_onnx.corpora.place import PLANS, open_place
from edgel3_onnx.corpora.plan import Chunk, Entry
from edgel3_onnx.corpora.pool import Say
from edgel3_onnx.corpora.records import Record
from edgel3_onnx.corpora.selection import Selection
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.gathering import Embeddings
from edgel3_onnx.models import EmbeddingModel, ModelOptions
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import record
from edgel3_onnx.outputs.dataset import key
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.outputs.rows import path_text
from edgel3_onnx.pipeline import EmbeddedFile, embed_files
from edgel3_onnx.pooling import pooled_dim
from edgel3_onnx.recordings import location
from edgel3_onnx.recordings.decode import ReadingOptions

_CHANGED = "has changed since it was planned: its size or its time of change is another"
_UNKNOWN = "its size and its time of change cannot be read"


@dataclass
class Result:
    """What became of a chunk."""

    chunk: str
    records: list[Record]

    @property
    def key(self) -> str:
        return self.chunk


@dataclass(frozen=True)
class Work:
    """What a run does with its chunks: it travels to whoever works on them, and is the crew of the local engine."""

    dataset: str  # where it lies
    model: ModelOptions
    embedding: EmbeddingOptions
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    selection: Selection = field(default_factory=Selection)
    filesystem: Any = None  # of URIs, one of pyarrow's or fsspec's; None: as the URIs say
    max_attempts: int = 2  # processes that may die over a chunk before each file of it is tried alone

    @property
    def attempts(self) -> int:
        return self.max_attempts + 2

    def work(self, units: Iterable[Chunk], say: Say) -> Iterator[Result]:
        with location.reached_by(self.filesystem):
            worker = Worker(self, self.model.load())
            say("ready", None)
            for chunk in units:
                yield worker.run(chunk, lambda path, seconds: say("progress", (path, seconds)))

    def lost(self, unit: Chunk, how: str) -> Result:
        """The records of a chunk over which processes died, though none of its files alone is to blame."""
        reason = f"the process that worked on it and its neighbours {how}, {self.attempts} times"
        return Result(unit.id, [_record(unit, entry, "failed", reason) for entry in unit.entries])


class Worker:
    """A process's own: the model, and where the dataset lies."""

    def __init__(self, work: Work, model: EmbeddingModel, *, show_progress: bool = False) -> None:
        self._work = work
        self._model = model
        self._show_progress = show_progress
        self._place = open_place(work.dataset)
        self._common = {**record.manner(model, work.embedding), **work.reading.wanted()}

    def run(self, chunk: Chunk, on_read: Callable[[str, float], None] = lambda path, seconds: None) -> Result:
        """Embed the files of a chunk and save its part, whatever was there under its name.

        Parameters
        ----------
        on_read : callable
            Is told of each block of a recording that was read: the path, and how many seconds of audio.
        """
        work = self._work
        with attempt(self._place, chunk.id) as deaths:
            excluded: dict[Entry, tuple[str, bool]] = {}
            if deaths >= work.max_attempts:
                paths = {location.joined(chunk.folder, entry.path): entry for entry in chunk.entries}
                found = killers(list(paths), work.model, work.embedding, work.reading, work.filesystem)
                excluded = {paths[path]: (how, True) for path, how in found.items()}
            while True:
                try:
                    return self._embed(chunk, excluded, on_read)
                except _FailedLate as late:
                    excluded[late.entry] = (late.reason, False)

    def _embed(
        self, chunk: Chunk, excluded: dict[Entry, tuple[str, bool]], on_read: Callable[[str, float], None]
    ) -> Result:
        """Embed and save a chunk without the files of ``excluded``, for which it says why, and whether they kill."""
        options, reading = self._work.embedding, self._work.reading
        dim = pooled_dim(options.pool, self._model.embedding_dim)
        writer = PartWriter(self._place, chunk.id, dim)
        files = {self._file(chunk, entry): entry for entry in chunk.entries}
        metadata: dict[EmbeddedFile, Metadata] = {}
        records, failures = [], []

        def jobs() -> Iterator[EmbeddedFile]:
            for file, entry in files.items():
                metadata[file] = {**self._common, **record.source(file.path, file.parts)}
                file.error = excluded[entry][0] if entry in excluded else _difference(entry, metadata[file])
                file.skip = file.error is not None
                yield file

        def save(file: EmbeddedFile, rows: Embeddings) -> None:
            writer.add_rows(location.shown(files[file].path), rows, {**metadata[file], **file.metadata()})

        try:
            writer.open()
            for file in embed_files(
                self._model,
                jobs(),
                options,
                reading,
                show_progress=self._show_progress,
                on_rows=save,
                rows_at_once=group_rows(dim),
                on_read=lambda file, seconds: on_read(location.shown(files[file].path), seconds),
            ):
                entry, known = files[file], metadata.pop(file)
                if file.error is None and not record.has_source(known):
                    file.error = _UNKNOWN
                if file.error is not None:
                    if file.windows:
                        raise _FailedLate(entry, file.error)
                    failures.append(_failure(file, entry, excluded))
                    records.append(_record(chunk, entry, "failed", file.error, file.warnings))
                    continue
                assert file.embeddings is not None
                known |= file.metadata()
                writer.add_rows(location.shown(entry.path), file.embeddings, known)
                names = {"path": path_text(location.shown(entry.path)), "absolute_path": key(file.path)}
                writer.add_source({**known, **names, "windows": file.windows})
                done = _record(chunk, entry, "done", None, file.warnings)
                done.windows, done.seconds = file.windows, file.seconds
                done.add(file.findings)
                if file.outside:
                    done.status, done.reason = "failed", f"{file.problem}; the other parts are done"
                records.append(done)
            if chunk.plan not in self._place.names(PLANS):
                raise EdgeL3Error(
                    f"{self._place.shown(f'{PLANS}/{chunk.plan}')}: is gone, since another run replaces the dataset"
                )
            writer.commit(failures)
        except PartError as error:
            records = [_record(chunk, entry, "failed", str(error)) for entry in chunk.entries]
        finally:
            writer.abandon()
        return Result(chunk.id, records)

    def _file(self, chunk: Chunk, entry: Entry) -> EmbeddedFile:
        return EmbeddedFile(location.joined(chunk.folder, entry.path), self._work.selection.of(entry.path))


class _FailedLate(Exception):
    """A file failed some of whose rows are in the part already: all is to be done again, without it."""

    def __init__(self, entry: Entry, reason: str) -> None:
        super().__init__(reason)
        self.entry, self.reason = entry, reason


def _difference(entry: Entry, metadata: Metadata) -> str | None:
    if not record.has_source(metadata):  # opening it will fail, and say why
        return None
    state = metadata["source_bytes"], metadata["source_mtime_ns"]
    return None if state == (entry.size, entry.modified) else _CHANGED


def _record(chunk: Chunk, entry: Entry, status: str, reason: str | None, warnings: list[str] | None = None) -> Record:
    absolute_path = key(location.joined(chunk.folder, entry.path))
    return Record.of(entry.path, status, reason, absolute_path=absolute_path, warnings=warnings)


def _failure(file: EmbeddedFile, entry: Entry, excluded: dict[Entry, tuple[str, bool]]) -> Metadata:
    return {
        "path": path_text(location.shown(entry.path)),
        "absolute_path": key(file.path),
        "key": entry.key.hex(),
        "reason": file.error,
        "size": entry.size,
        "modified": entry.modified,
        "killed": excluded.get(entry, ("", False))[1],
    }
