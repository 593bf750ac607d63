"""Embedding a corpus into one dataset, from Python."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from edgel3_onnx.checks import check_choice, check_count, check_flag
from edgel3_onnx.corpora.cutting import CHUNK_BYTES, CHUNK_FILES
from edgel3_onnx.corpora.inputs import LeftOut, find
from edgel3_onnx.corpora.ray_engine import Cluster
from edgel3_onnx.corpora.records import Record, Summary, Tally
from edgel3_onnx.corpora.running import Running, embed_inputs
from edgel3_onnx.corpora.selection import select
from edgel3_onnx.corpora.worker import Work
from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.labels import Region
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.recordings import location
from edgel3_onnx.recordings.decode import ReadingOptions


def embed_corpus(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None,
    output: str | os.PathLike[str],
    *,
    model: EmbeddingModel | None = None,
    options: EmbeddingOptions | Mapping[str, Any] | None = None,
    offset: float = 0.0,
    duration: float | None = None,
    edges: str = "context",
    regions: str | os.PathLike[str] | Sequence[Region] | None = None,
    strict: bool = False,
    recursive: bool = True,
    engine: str = "local",
    address: str | None = None,
    workers: int | tuple[int, int] | None = None,
    cpus_per_worker: int | None = None,
    gpus_per_worker: float = 0,
    memory_per_worker: int | None = None,
    chunk_files: int = CHUNK_FILES,
    chunk_bytes: int = CHUNK_BYTES,
    shard: tuple[int, int] = (0, 1),
    plan: str | os.PathLike[str] | None = None,
    existing: str = "error",
    max_attempts: int = 2,
    filesystem: Any = None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> Summary:
    """Embed many recordings into one parquet dataset: one row per window, exactly once, however often a run is killed.

    Parameters
    ----------
    inputs : path, iterable of paths, or None
        Files, and directories, of which the audio files are taken. Read once, in bounded memory. None: see ``plan``.
    output : path
        Directory of the dataset.
    model : EmbeddingModel or None
        As of :func:`edgel3_onnx.load_embedding_model`, by default the default one. Each worker loads its own.
    options : EmbeddingOptions, mapping or None
        ``center``, ``hop_size`` and so on, as of :func:`edgel3_onnx.get_embedding`.
    offset, duration, edges, regions : float, float or None, str, path or list of Region
        Which parts of the recordings, as of :func:`edgel3_onnx.process_file`; those without regions are left out.
    strict : bool
        Make it an error if something of a recording is lost, or its length had to be guessed.
    recursive : bool
        Take sub-folders of directories too.
    engine : {"local", "ray"}
        Processes of this machine, or a cluster's by Ray Data, which needs the extra ``[ray]``: all its machines must
        reach the inputs and the output under the same names.
    address : str or None
        Of the Ray cluster. None: the one that this process is connected to, else one on this machine.
    workers : int, (int, int) or None
        Processes that work at the same time. None: one; as many as the cluster has room for. (least, most): as the
        cluster has room, only with ``engine="ray"``.
    cpus_per_worker : int or None
        CPU threads of each. None: what the model was loaded with; of several processes its share of all CPUs; on a
        cluster 1.
    gpus_per_worker, memory_per_worker : float, int or None
        What Ray is to set aside for each; memory in bytes.
    chunk_files, chunk_bytes : int
        How much a worker does in one go, at most; what a killed worker had in hand is done again.
    shard : (int, int)
        (i, n): only the chunks with number i, i + n, i + 2n, ... of ``plan``. Shards may run at the same time.
    plan : path or None
        With ``inputs``: where to save the plan of what a run would do, and do no more. Without: the plan to work
        through, beginning where others have stopped.
    existing : {"error", "skip", "replace"}
        What to do about a dataset that is there: refuse it, go on with it, or start it anew. A plan is always gone
        on with.
    max_attempts : int
        Workers that may die over a chunk before each file of it is tried alone, to find the one to blame.
    filesystem : pyarrow.fs.FileSystem, fsspec.AbstractFileSystem or None
        What opens all URIs among ``inputs`` and ``output``, with its own endpoint and credentials; it travels to each
        worker. None: what pyarrow or fsspec make of each URI and the environment.
    on_record : callable
        Is given the record of each input, when its rows are on disk, or it failed or is skipped.

    Returns
    -------
    Summary
        Counts of inputs done, skipped and failed. The failed ones are listed in ``_errors`` beside the parts.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed.
    EdgeL3Error
        If the model cannot be loaded, the plan cannot be saved, or there is a dataset that is damaged, made otherwise,
        of another program, or neither to be continued nor to be replaced.

    Examples
    --------
    >>> summary = edgel3_onnx.embed_corpus("examples", "embeddings", model=model)
    >>> summary.done, summary.failed
    (1, 0)
    """
    started = time.monotonic()
    check_choice("existing", existing, ("error", "skip", "replace"))
    check_choice("engine", engine, ("local", "ray"))
    _check_plan(inputs, plan, shard, existing)
    cluster, count = None, 1
    settings = given_or_loaded(model, {}).options
    if engine == "ray":
        cpus_per_worker = check_count("cpus_per_worker", 1 if cpus_per_worker is None else cpus_per_worker)
        cluster = Cluster(address, _range(workers), cpus_per_worker, gpus_per_worker, memory_per_worker)
    else:
        count = 1 if workers is None else check_count("workers", workers)
        if cpus_per_worker is None and count > 1 and settings.num_threads is None:
            cpus_per_worker = max(available_cpus() // count, 1)
    if cpus_per_worker is not None:
        settings = replace(settings, num_threads=check_count("cpus_per_worker", cpus_per_worker))
    with location.reached_by(filesystem):
        items = [inputs] if isinstance(inputs, str | os.PathLike) else inputs or []
        listing = find(items, LeftOut(), recursive=check_flag("recursive", recursive))
        found, selection, _ = select(listing, offset, duration, edges, regions)
        corpus = Work(
            location.absolute(os.fspath(output)),
            settings,
            options if isinstance(options, EmbeddingOptions) else EmbeddingOptions.of(options or {}),
            ReadingOptions(check_flag("strict", strict)),
            selection,
            filesystem,
            check_count("max_attempts", max_attempts),
        )
        running = Running(
            count,
            cluster,
            check_count("chunk_files", chunk_files),
            check_count("chunk_bytes", chunk_bytes),
            "skip" if inputs is None else None if existing == "error" else existing,
            plan=None if plan is None else os.path.abspath(os.fspath(plan)),
            shard=shard,
        )
        tally = Tally()
        with closing(embed_inputs(None if inputs is None else found, corpus, running)) as records:
            for each in records:
                tally.add(each)
                on_record(each)
    return tally.summary(time.monotonic() - started)


def _check_plan(inputs: object, plan: object, shard: tuple[int, int], existing: str) -> None:
    number, count = shard
    if not 0 <= number < count:
        raise EdgeL3ArgumentError(f"shard must be (i, n) with 0 <= i < n, got {shard!r}")
    if inputs is None and plan is None:
        raise EdgeL3ArgumentError("inputs must be given, or a plan to work through")
    if shard != (0, 1) and inputs is not None:
        raise EdgeL3ArgumentError("shard needs a plan that all shards share: make it first, with inputs and plan=FILE")
    if plan is not None and existing == "replace":
        raise EdgeL3ArgumentError("a plan is gone on with: existing='replace' cannot be given with it")


def _range(workers: object) -> int | tuple[int, int] | None:
    if isinstance(workers, tuple) and len(workers) == 2:
        least, most = (check_count("workers", each) for each in workers)
        if least > most:
            raise EdgeL3ArgumentError(f"workers must be (least, most), got {workers!r}")
        return least, most
    return None if workers is None else check_count("workers", workers)
