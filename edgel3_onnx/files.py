"""edgel3's ``process_file``: recordings by name, and a .npz for each of them."""

import os
import warnings as python_warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from edgel3_onnx.checks import check_flag
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.labels import Region
from edgel3_onnx.models import EmbeddingModel, given_or_loaded
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import record
from edgel3_onnx.outputs.arrays import is_current, write_npz
from edgel3_onnx.outputs.group import OutputGroup
from edgel3_onnx.outputs.record import Metadata
from edgel3_onnx.parts import Parts
from edgel3_onnx.pipeline import EmbeddedFile, embed_files
from edgel3_onnx.recordings.clock import ClockOptions
from edgel3_onnx.recordings.decode import ReadingOptions
from edgel3_onnx.regions import regions_by_path


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
