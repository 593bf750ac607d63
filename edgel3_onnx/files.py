"""From audio files to embeddings: decoded in blocks, so that memory does not grow with their length."""

import os
import warnings as python_warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import check_sample_rate
from edgel3_onnx.checks import check_flag
from edgel3_onnx.embedding import embed
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.gathering import Embeddings, Gathering, drift_warning
from edgel3_onnx.labels import Region
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import record
from edgel3_onnx.outputs.arrays import is_current, write_npz
from edgel3_onnx.outputs.group import OutputGroup
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.parts import Parts, plan
from edgel3_onnx.recordings.clock import Clock, ClockOptions, read_clock
from edgel3_onnx.recordings.decode import ReadingOptions, Recording, open_recording
from edgel3_onnx.recordings.findings import Findings
from edgel3_onnx.regions import regions_by_path

_MIN_BLOCK = 1.0  # seconds decoded at a time, at least
_WINDOW = 1.0  # seconds
_SHOWN = 3  # parts that a message names
_LENIENT = ReadingOptions()
OnRead = Callable[["EmbeddedFile", float], None]


@dataclass(eq=False)
class EmbeddedFile:
    """One file, and what became of it.

    Attributes
    ----------
    path : str
    parts : Parts or None
        What is wanted of it. None: all. When it is done, what of that lies in the recording.
    skip : bool
        Do not even open the file.
    error : str or None
        Why there is no embedding, without the path.
    warnings : list of str
        What is unusual about the audio, without the path.
    sample_rate : float
        Of the recording, in Hz.
    samples : int
        Per channel, at that rate; zeros where something is lost included.
    findings : Findings
        Whether the recording is whole.
    windows : int
        That were embedded.
    clock : Clock
        When the recording began.
    outside : list of str
        Which parts there are no embeddings of, though there are of others, and why.
    embeddings : Embeddings or None
        Of all windows, or of the last ones where the others were handed over on the way.
    """

    path: str
    parts: Parts | None = None
    skip: bool = False
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    sample_rate: float = 0.0
    samples: int = 0
    findings: Findings = field(default_factory=Findings)
    windows: int = 0
    clock: Clock = field(default_factory=Clock)
    outside: list[str] = field(default_factory=list)
    embeddings: Embeddings | None = None
    gathering: Gathering | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    def metadata(self) -> Metadata:
        """What decoding told about the file."""
        rate = self.sample_rate
        samples = {"sample_rate": int(rate) if rate.is_integer() else rate, "samples": self.samples}
        clock = {"recorded_at": self.clock.recorded_at, "clock": self.clock.source}
        return {**samples, **self.findings.record(), **clock, **record.part(self.parts)}

    @property
    def problem(self) -> str | None:
        """What keeps the file from being done without a flaw: ``error``, or the parts that are not in it."""
        if self.error is not None or not self.outside:
            return self.error
        more = f"; and {len(self.outside) - _SHOWN} more" if len(self.outside) > _SHOWN else ""
        return "; ".join(self.outside[:_SHOWN]) + more


def embed_files(
    model: EmbeddingModel,
    jobs: Iterable[EmbeddedFile],
    options: EmbeddingOptions,
    reading: ReadingOptions = _LENIENT,
    *,
    show_progress: bool = False,
    on_rows: Callable[[EmbeddedFile, Embeddings], None] | None = None,
    rows_at_once: int = 0,
    on_read: OnRead = lambda file, seconds: None,
) -> Iterator[EmbeddedFile]:
    """Compute the embeddings of many files, in batches that files share.

    Parameters
    ----------
    jobs : iterable of EmbeddedFile
        Read in a thread of its own, ahead of the runs.
    show_progress : bool
        Show a progress bar of windows where standard error is a terminal.
    on_rows : callable or None
        Is given the next embeddings of a file whenever there are ``rows_at_once`` windows of it, before it is known
        whether the file is good to its end: memory does not grow with its length, then.
    on_read : callable
        Is told, by the thread that reads, of each block that was read, and how many seconds of audio it has.

    Yields
    ------
    EmbeddedFile
        The same objects in the same order, each with its embedding or its error.

    Raises
    ------
    EdgeL3ArgumentError
        If the hop is less than one sample at the model's rate.
    """
    options.hop_length(model)  # or refused
    batch_size = options.batch_size or model.batch_size
    started: deque[EmbeddedFile] = deque()

    def signals() -> Iterator[Iterator[NDArray[np.float32]]]:
        for job in jobs:
            started.append(job)
            yield _windows(model, job, batch_size, options, reading, on_read)

    def add(rows: NDArray[np.float32]) -> None:
        job = started[0]
        if job.gathering is None:
            return
        if on_rows is not None and job.gathering.is_plain:
            on_rows(job, job.gathering.next(rows))
            job.windows = job.gathering.windows
        else:
            job.gathering.add(rows)

    is_early = on_rows is not None or options.pool != "none"  # what is pooled is not held
    for rows in embed(
        model,
        signals(),
        batch_size,
        show_progress=show_progress,
        on_rows=add if is_early else None,
        rows_at_once=rows_at_once if options.pool == "none" else 1,
    ):
        job = started.popleft()
        if job.gathering is not None and job.error is None:
            _finish(job, job.gathering, rows, model, options)
        job.gathering = None
        yield job


def _finish(
    job: EmbeddedFile,
    gathering: Gathering,
    rows: NDArray[np.float32],
    model: EmbeddingModel,
    options: EmbeddingOptions,
) -> None:
    """Settle what became of a file, of which ``rows`` are the last."""
    if gathering.is_plain and gathering.windows:  # the others were handed over
        embeddings = gathering.next(rows)
    else:
        gathering.add(rows)
        embeddings, missing = gathering.result()
        job.outside = list(gathering.plan.outside)
        job.parts = gathering.plan.done
        job.outside += [f"nothing is left of the recording from {group.start:g} s on" for group in missing]
    if len(embeddings.embedding) == 0 and job.outside:
        job.error = job.problem
        return
    job.warnings += gathering.plan.shortened[:_SHOWN]
    job.embeddings = embeddings
    job.windows = gathering.windows if gathering.is_plain else len(embeddings.embedding)
    if (drift := drift_warning(gathering.windows, model, options)) is not None:
        job.warnings.append(drift)


def _windows(
    model: EmbeddingModel,
    job: EmbeddedFile,
    batch_size: int,
    options: EmbeddingOptions,
    reading: ReadingOptions,
    on_read: OnRead,
) -> Iterator[NDArray[np.float32]]:
    """What the network takes for one file; ends early, with ``job.error`` set, where the file is bad."""
    if job.skip:
        return
    try:
        with open_recording(job.path, reading.raw) as recording:
            job.sample_rate = check_sample_rate(recording.sample_rate)
            job.clock = read_clock(job.path, reading.clock)
            frames = None if job.parts is None else _frames(job.path, recording, reading)
            wanted = plan(job.parts, frames, job.sample_rate, model, options)
            gathering = job.gathering = Gathering(model, job.sample_rate, recording.channels, options, wanted)
            seconds = _MIN_BLOCK  # of parts little more than they need is decoded
            if job.parts is None:
                seconds = max(batch_size * options.hop_length(model) / model.sample_rate, _MIN_BLOCK)
            with closing(recording.read(wanted.spans, seconds)) as blocks:
                for position, block in blocks:
                    try:
                        yield from gathering.feed(position, block, batch_size)
                    except EdgeL3ArgumentError as error:
                        raise EdgeL3Error(f"{error} (counted from {position / job.sample_rate:.2f} s on)") from error
                    job.samples += len(block)
                    on_read(job, len(block) / job.sample_rate)
                    if gathering.is_complete:
                        break
            job.findings = recording.findings
        if wanted.groups:
            _check_findings(job, reading.strict)
        yield from gathering.finish(batch_size)
    except OSError as error:
        job.error = f"cannot be read ({error.strerror or error})"
    except (EdgeL3Error, MemoryError) as error:
        job.error = str(error) or type(error).__name__
    except Exception as error:  # a decoder's surprise about one file must not end a run over others
        job.error = f"cannot be decoded ({type(error).__name__}: {error})"
    else:
        if gathering.silent and wanted.groups:
            job.warnings.append("the audio is all zeros")
        if job.parts is None and job.samples * model.sample_rate < model.sample_rate * job.sample_rate:
            job.warnings.append(f"shorter than the window of 1 second ({job.seconds:.3f} s); padded with zeros")


def _frames(path: str, recording: Recording, reading: ReadingOptions) -> int:
    """Samples of a recording per channel; where its format does not say how many there are, it is decoded to know."""
    if recording.frames is not None:
        return recording.frames
    with open_recording(path, reading.raw) as again:
        return sum(len(block) for block in again.blocks(_MIN_BLOCK))


def _check_findings(job: EmbeddedFile, strict: bool) -> None:
    """Refuse a recording of which nothing is left, or too little; with ``strict`` any of which something is lost."""
    findings = job.findings
    if job.samples == 0:
        raise EdgeL3Error(f"has no samples ({findings.loss})" if findings.loss else "has no samples")
    if findings.loss and job.parts is None and job.seconds < _WINDOW:
        raise EdgeL3Error(f"is truncated to less than one window: {findings.loss}")
    if strict and findings.is_doubtful:
        raise EdgeL3Error(f"is not whole: {'; '.join(findings.warnings)}")
    job.warnings += findings.warnings


def process_file(
    filepath: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    model: EmbeddingModel | None = None,
    model_type: str = "sparse",
    emb_dim: int = 128,
    sparsity: float = 95.45,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: bool = True,
    *,
    retrain_type: str = "ft",
    overwrite: bool = True,
    provider: str = "cpu",
    batch_size: int | None = None,
    resampler: str = "kaiser_best",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    provider_options: Mapping[str, str] | None = None,
    strict: bool = False,
    time_pattern: str | None = None,
    time_zone: str | None = None,
    offset: float = 0.0,
    duration: float | None = None,
    edges: str = "context",
    regions: str | os.PathLike[str] | Sequence[Region] | None = None,
    channels: str | int | Sequence[int] = "mix",
    pool: str = "none",
    normalize: str | None = None,
) -> None:
    """Compute the embedding of an audio file, or of each of a list of them, and save it as .npz.

    Files are decoded in blocks: memory grows with their length only by the embedding itself. The .npz holds
    ``embedding`` float32 (T, D), ``timestamps`` float64 (T,), ``start_sample`` int64 (T,), where each window starts in
    samples at the model's rate (negative in the zeros that centring puts in front), and ``metadata``, a JSON string
    that says how they were made. There is a row for each window of each channel of each part, sorted in this order,
    and where parts, channels or pooling are asked for, also ``start`` and ``end`` float64 (T,), in seconds, ``channel``
    int16 (T,), from 1, and ``label`` str (T,).

    Parameters
    ----------
    filepath : path, or list of paths
        What libsndfile reads; with the extra ``[av]`` also m4a, mp4, webm and so on.
    output_dir : path or None
        Made if need be. None: the directory of the audio file.
    suffix : str or None
        The output is ``<stem>.npz``, or ``<stem>_<suffix>.npz``.
    model, model_type, emb_dim, sparsity, center, hop_size : various
        As of :func:`edgel3_onnx.get_embedding`.
    verbose : bool
        Show a progress bar where standard error is a terminal.
    retrain_type : {"ft", "kd"}
        As of :func:`edgel3_onnx.get_embedding`.
    overwrite : bool
        False keeps an output that exists: it is no error if it is whole and was made from the same file, with the
        same model and options.
    provider, batch_size, resampler, num_threads, weights, precision, provider_options : various
        As of :func:`edgel3_onnx.get_embedding`.
    strict : bool
        Make it an error if something of a recording is lost, or its length had to be guessed. Otherwise what decodes
        is embedded, with zeros for what is lost inside, and a warning says what is missing.
    time_pattern : str or None
        How names of files have the time when the recording began, as of strptime: "%Y%m%d_%H%M%S". Where a name has
        none, and by default, the time is that of GUANO, AudioMoth or Broadcast Wave in a WAV file.
    time_zone : str or None
        The zone of clocks that do not say theirs: "UTC", "+02:00", "Europe/Berlin". None: such times are not taken.
    offset, duration, edges : various
        As of :func:`edgel3_onnx.get_embedding`.
    regions : path, list of Region, or None
        What to embed of the recordings, in place of ``offset`` and ``duration``: a file that
        :func:`edgel3_onnx.labels.read_regions` reads, or what that returns. Where it names recordings, each gets its
        own, by the last components of its path; else there must be one recording. A string that begins with a dot
        and names no file is the end of the name of a file beside each recording: ".txt", or ".selections.txt".
    channels, pool, normalize : various
        As of :func:`edgel3_onnx.get_embedding`.

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or two files of a list would have the same output.
    EdgeL3Error
        If the model cannot be loaded, a region lies outside of its recording, a file cannot be read, is empty, has NaN
        or infinite samples, nothing of it decodes, or less than one window of what there should be, or its output
        cannot be written or must be kept. No part of an output is left behind. Of a list, the other files are done
        first, and of a recording, the other regions.

    Warns
    -----
    EdgeL3Warning
        If something of a recording is lost, its length had to be guessed or several were joined in one file; if the
        audio is all zeros or shorter than one window; or if the last timestamp is more than half a hop ahead of its
        window.

    Examples
    --------
    >>> edgel3_onnx.process_file("examples/street.flac", output_dir="embeddings", model_type="micro")
    >>> numpy.load("embeddings/street.npz")["embedding"].shape
    (56, 64)
    """
    options, show_progress = EmbeddingOptions.of(locals()), check_flag("verbose", verbose)
    replace = check_flag("overwrite", overwrite)
    outputs = _outputs(filepath, suffix, output_dir)
    model = given_or_loaded(model, locals())
    reading = ReadingOptions(check_flag("strict", strict), clock=ClockOptions.of(time_pattern, time_zone))
    common = {**record.manner(model, options), **reading.wanted()}
    parts = Parts.of(offset, duration, edges, None if regions is None else ())
    found = None if regions is None else regions_by_path(regions, list(outputs))
    started: deque[Metadata] = deque()  # filled by the thread that reads ahead

    def jobs() -> Iterator[EmbeddedFile]:
        for path, output in outputs.items():
            wanted = parts if found is None else Parts.of(0.0, None, edges, found.get(path, ()))
            metadata = {**common, **record.source(path, wanted)}
            job = EmbeddedFile(path, wanted)
            if found is not None and path not in found:
                job.skip, job.error = True, "has no regions"
            elif not replace and os.path.lexists(output):
                job.skip = is_current(output, metadata)
                if not job.skip:
                    job.error = f"{output} exists and was made otherwise; overwrite=True replaces it"
            started.append(metadata)
            yield job

    failures = []
    with OutputGroup() as group:
        for job in embed_files(model, jobs(), options, reading, show_progress=show_progress):
            metadata = started.popleft()
            try:
                if job.error is None and not record.has_source(metadata):
                    job.error = "its size and its time of change cannot be read"
                if job.error is not None:
                    raise EdgeL3Error(f"{job.path}: {job.error}")
                if job.embeddings is None:
                    continue
                if job.outside:
                    failures.append(EdgeL3Error(f"{job.path}: {job.problem}; the other parts are done"))
                for warning in job.warnings:
                    python_warnings.warn(f"{job.path}: {warning}", EdgeL3Warning, stacklevel=2)
                with group.replacing(outputs[job.path]) as file:
                    write_npz(file, job.embeddings, {**metadata, **job.metadata()})
            except EdgeL3Error as error:
                failures.append(error)
            if group.is_due:
                failures += group.commit().values()
        failures += group.commit().values()
    if len(failures) == 1:
        raise failures[0]
    if failures:
        lines = "\n  ".join(str(error) for error in failures)
        raise EdgeL3Error(f"{len(failures)} of {len(outputs)} files failed:\n  {lines}")


def _outputs(filepath: object, suffix: str | None, output_dir: str | os.PathLike[str] | None) -> dict[str, str]:
    """The output of each input of :func:`process_file`."""
    items = [filepath] if isinstance(filepath, str | os.PathLike) else filepath
    if not isinstance(items, Sequence) or not all(isinstance(item, str | os.PathLike) for item in items):
        raise EdgeL3ArgumentError(f"filepath must be a path or a list of paths, got {filepath!r}")
    outputs: dict[str, str] = {}
    sources: dict[str, str] = {}
    for path in map(os.fspath, items):
        output = get_output_path(path, f"{suffix or ''}.npz", output_dir)
        other = sources.setdefault(os.path.abspath(output), path)
        if os.path.abspath(other) != os.path.abspath(path):
            raise EdgeL3ArgumentError(f"{other} and {path} would both be saved as {output}; nothing was done")
        if other == path:
            outputs[path] = output
    return outputs


def get_output_path(
    filepath: str | os.PathLike[str], suffix: str, output_dir: str | os.PathLike[str] | None = None
) -> str:
    """Where the embedding of an audio file goes.

    Parameters
    ----------
    filepath : path
        The audio file.
    suffix : str
        What follows the name of the audio file without its extension, with the output's extension: ".npz" gives
        ``<stem>.npz``, "sea.npz" gives ``<stem>_sea.npz``.
    output_dir : path or None
        None: the directory of the audio file.

    Returns
    -------
    str
        The path of the output.

    Raises
    ------
    EdgeL3ArgumentError
        If ``suffix`` would lead to another directory.

    Examples
    --------
    >>> edgel3_onnx.get_output_path("recordings/street.flac", "sea.npz", "embeddings")
    'embeddings/street_sea.npz'
    """
    if os.path.basename(suffix) != suffix:
        raise EdgeL3ArgumentError(f"suffix must not contain a path separator, got {suffix!r}")
    filepath = os.fspath(filepath)
    folder = os.fspath(output_dir) if output_dir else os.path.dirname(filepath)
    stem = os.path.splitext(os.path.basename(filepath))[0]
    joint = "" if suffix.startswith(".") else "_"
    return os.path.join(folder, f"{stem}{joint}{suffix}")
