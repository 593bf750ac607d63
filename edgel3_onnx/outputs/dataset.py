"""A corpus as one parquet dataset: one row per window, many recordings per file (a part)."""

import fnmatch
import json
import os
from collections.abc import Iterable

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import rows
from edgel3_onnx.outputs.arrays import reading
from edgel3_onnx.outputs.record import MANNER, SOURCE, Metadata, first_difference
from edgel3_onnx.outputs.rows import import_pyarrow, path_text
from edgel3_onnx.recordings import location

MAGIC = b"PAR1"
KEY = b"edgel3_onnx"  # of a part's metadata; its value is a JSON list, one record per recording
FAILURES = b"edgel3_onnx.failures"  # and one per recording that its chunk has and that failed


def refuse_difference(folder: str, made: Metadata, wanted: Metadata) -> None:
    """Raise EdgeL3Error unless ``made`` says that embeddings were made as ``wanted``: rows of one dataset are."""
    if "graph_sha256" not in made:
        raise EdgeL3Error(
            f"{folder} was made by edgel3-onnx {made.get('version')}, whose records do not say which graph ran: "
            "replace it by --overwrite, or name another directory"
        )
    if (name := first_difference(made, {name: wanted[name] for name in MANNER})) is not None:
        raise EdgeL3Error(
            f"{folder} was made with {name} {made.get(name)!r}, this run has {wanted[name]!r}: replace it by "
            "--overwrite, or name another directory"
        )


class FinishedSources:
    """The recordings that parts of a dataset hold, to be continued by a run that makes embeddings as ``wanted`` says.

    Raises
    ------
    EdgeL3Error
        If a part is damaged, not of this package, or made otherwise.
    """

    def __init__(self, folder: str, parts: Iterable[str], wanted: Metadata) -> None:
        self._records: dict[str, Metadata] = {}
        for part in parts:
            sources = read_sources(part)
            for record in sources:
                refuse_difference(folder, record, wanted)
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
    return sorted(os.path.join(folder, name) for name in names if is_part(name))


def is_part(name: str) -> bool:
    """Whether a file has the name of a part."""
    return fnmatch.fnmatchcase(name, "part-*.parquet")


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
        if KEY not in metadata:
            raise ValueError("it has no record of this package")
        sources = json.loads(metadata[KEY])
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
    return path_text(location.absolute(location.shown(path)))
