"""The command edgel3-onnx."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from inspect import signature
from itertools import chain

from edgel3_onnx.audio import check_sample_rate, to_hop_length
from edgel3_onnx.checks import check_choice, check_count, check_flag
from edgel3_onnx.command import interrupt
from edgel3_onnx.command.arguments import PROGRAM, parse_arguments, positive_float, positive_int, with_packaged_model
from edgel3_onnx.command.corpus import plan_run
from edgel3_onnx.command.parts import with_parts
from edgel3_onnx.command.report import Reporter, showing_log
from edgel3_onnx.command.runner import RunOptions, run_tasks
from edgel3_onnx.corpora.inputs import NO_RECORDINGS, LeftOut, find, listed
from edgel3_onnx.corpora.records import Progress, Summary
from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, WeightsUnavailableError
from edgel3_onnx.files import get_output_path
from edgel3_onnx.labels import Region
from edgel3_onnx.models import ModelOptions
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs.arrays import FORMATS, WRITERS
from edgel3_onnx.outputs.inspect import read_metadata
from edgel3_onnx.outputs.table import FORMATS as TABLE_FORMATS
from edgel3_onnx.outputs.table import write_table
from edgel3_onnx.recordings.clock import ClockOptions
from edgel3_onnx.recordings.decode import ReadingOptions
from edgel3_onnx.recordings.linear import PCM_FORMATS, Linear
from edgel3_onnx.recordings.location import absolute
from edgel3_onnx.terminal import usable_streams

__all__ = ["get_file_list", "main", "parse_args", "positive_float", "positive_int", "run"]

EXIT_FAILED, EXIT_USAGE, EXIT_NO_RECORDINGS = 1, 2, -1  # the last one, edgel3's, is 255 to the shell

parse_args = parse_arguments  # edgel3's name


def get_file_list(input_list: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files of ``input_list`` and the files directly in its directories, as absolute paths.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is no list of paths.
    EdgeL3Error
        If a path does not exist.
    """
    if isinstance(input_list, str | os.PathLike) or not isinstance(input_list, Sequence):
        raise argparse.ArgumentTypeError(f"a list of paths is needed, got {input_list!r}")
    found: list[str] = []
    for item in input_list:
        if os.path.isdir(item):
            inside = (os.path.join(item, name) for name in sorted(os.listdir(item)))
            found += [os.path.abspath(path) for path in inside if os.path.isfile(path)]
        elif os.path.isfile(item):
            found.append(os.path.abspath(item))
        else:
            raise EdgeL3Error(f"{os.fspath(item)}: there is no such file or directory")
    return found


@usable_streams()
def run(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    model_type: str = "sparse",
    emb_dim: int = 128,
    retrain_type: str = "ft",
    sparsity: float = 95.45,
    center: bool = True,
    hop_size: float = 0.1,
    verbose: bool = False,
    *,
    provider: str = "cpu",
    batch_size: int | None = None,
    resampler: str = "kaiser_best",
    num_threads: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    precision: str = "fp32",
    provider_options: Mapping[str, str] | None = None,
    format: str = "npz",
    recursive: bool = False,
    jobs: int = 1,
    existing: str | None = None,
    report: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    strict: bool = False,
    rate: float | None = None,
    pcm: str | None = None,
    inputs_from: str | os.PathLike[str] | None = None,
    engine: str = "local",
    address: str | None = None,
    workers: int | tuple[int, int] | None = None,
    plan: str | os.PathLike[str] | None = None,
    shard: tuple[int, int] | None = None,
    time_pattern: str | None = None,
    time_zone: str | None = None,
    offset: float = 0.0,
    duration: float | None = None,
    edges: str = "context",
    regions: str | os.PathLike[str] | Sequence[Region] | None = None,
    channels: str | int | Sequence[int] = "mix",
    pool: str = "none",
    normalize: str | None = None,
) -> Summary:
    """Embed many files; a bad one is reported on standard error and does not keep the others from being done.

    Parameters
    ----------
    inputs : path, or list of paths
        Files, and directories, of which the audio files are taken.
    output_dir, suffix
        As of :func:`edgel3_onnx.process_file`; sub-folders of input directories are kept below ``output_dir``.
    model_type, emb_dim, retrain_type, sparsity, provider, num_threads, weights, precision, provider_options
        As of :func:`edgel3_onnx.load_embedding_model`. With several jobs, ``num_threads`` is per job.
    center, hop_size, batch_size, resampler
        As of :func:`edgel3_onnx.get_embedding`.
    verbose : bool
        Show a progress bar, where standard error is a terminal, and warnings.
    format : {"npz", "npy", "parquet", "csv", "csv.gz"}
        "parquet" writes one dataset, ``output_dir``; "csv" and "csv.gz" do so too, and when all is done one table
        beside it, ``<output_dir>.csv`` or ``<output_dir>.csv.gz``.
    recursive : bool
        Take sub-folders of input directories too.
    jobs : int
        Processes that work at the same time.
    existing : {"replace", "skip"} or None
        What to do about outputs that exist. "skip" keeps those that are whole and were made from the same file
        with the same model and options. "replace" replaces them; a dataset's parts go when the first new one is
        whole. None: replace outputs, but do not touch a dataset that has parts.
    report : path or None
        Where to write one JSON object per input.
    dry_run : bool
        Print the inputs and their outputs, and write no output.
    strict : bool
        Make it an error if something of a recording is lost, or its length had to be guessed. Otherwise what decodes
        is embedded, with zeros for what is lost inside, and a warning says what is missing.
    rate, pcm : float or None, {"s16le", "f32le"} or None
        Hz and samples of files that have no header: mono, "s16le" by default.
    inputs_from : path or None
        A file whose lines are inputs too.
    engine, address, workers, plan, shard
        Of a dataset, as of :func:`edgel3_onnx.embed_corpus`. Processes of this machine are ``jobs``.
    time_pattern, time_zone
        As of :func:`edgel3_onnx.process_file`.
    offset, duration, edges, channels, pool, normalize
        As of :func:`edgel3_onnx.get_embedding`.
    regions : path, list of Region, or None
        As of :func:`edgel3_onnx.process_file`; inputs that have no regions are left out.

    Returns
    -------
    Summary

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or two inputs would have the same output.
    EdgeL3Error
        If the model cannot be loaded.
    SystemExit
        With the code -1, as edgel3 has it, if there are no inputs but directories without recordings.
    """
    jobs = check_count("jobs", jobs)
    if num_threads is None and jobs > 1:
        num_threads = max(available_cpus() // jobs, 1)
    model_options, embedding_options = ModelOptions.of(locals()), EmbeddingOptions.of(locals())
    to_hop_length(embedding_options.hop_size, model_options.variant.spec.sample_rate)
    check_choice("format", format, FORMATS)
    if existing is not None:
        check_choice("existing", existing, ("replace", "skip"))
    check_choice("engine", engine, ("local", "ray"))
    if format not in WRITERS and output_dir is None:
        raise EdgeL3ArgumentError(f"format {format} makes one dataset of all inputs: name its directory with --output")
    table = format if format in TABLE_FORMATS else None
    format = "parquet" if table else format
    quiet = not check_flag("verbose", verbose)
    clock = ClockOptions.of(time_pattern, time_zone)
    reading = replace(_reading_options(strict, rate, pcm), clock=clock)
    paths = _paths(inputs)
    alone = len(paths) == 1 and not os.path.isdir(paths[0]) and inputs_from is None
    listing = paths if inputs_from is None else chain(paths, listed(inputs_from))
    has_inputs = bool(paths) or inputs_from is not None
    jobs = 1 if alone else jobs
    show_windows, total = alone and not quiet, None

    def on_progress(progress: Progress) -> None:
        reporter.progress(progress)

    if format == "parquet":
        # None of this is needed where each recording has an output of its own, and importing it takes a while.
        from edgel3_onnx.corpora.ray_engine import Cluster
        from edgel3_onnx.corpora.running import Running, embed_inputs
        from edgel3_onnx.corpora.selection import select
        from edgel3_onnx.corpora.worker import Work

        left_out = LeftOut()
        listed_files = find(listing, left_out, recursive=recursive, headerless=reading.raw is not None)
        found, selection, notes = select(listed_files, offset, duration, edges, regions)
        place = os.fspath(output_dir or "")
        place = absolute(place) if engine == "ray" else place
        corpus = Work(place, model_options, embedding_options, reading, selection)
        running = Running(
            jobs,
            Cluster(address, workers, num_threads or 1) if engine == "ray" else None,
            existing=existing if has_inputs else "skip",
            dry_run=dry_run,
            plan=None if plan is None else os.path.abspath(plan),
            shard=shard or (0, 1),
            show_progress=show_windows,
            on_progress=on_progress,
        )

        def on_planned(total: int) -> None:
            reporter.expect(total)
            reporter.note([*left_out.notes(), *notes])

        records = embed_inputs(found if has_inputs else None, corpus, running, on_planned)
    else:
        tasks = plan_run(listing, output_dir, suffix, format, recursive, reading.raw is not None)
        tasks = with_parts(tasks, offset, duration, edges, regions)
        total = len(tasks.tasks)
        options = RunOptions(model_options, embedding_options, reading, format, existing == "skip")
        records = run_tasks(tasks, options, jobs, dry_run=dry_run, show_progress=show_windows, on_progress=on_progress)
    count = empty = 0
    with Reporter(total, quiet=quiet, path=report, show_bar=not alone) as reporter, closing(records):
        if format != "parquet":
            reporter.note(tasks.notes)
        for each in records:
            count += 1
            empty += (each.reason or "").startswith(NO_RECORDINGS)
            reporter.add(each)
    if table is not None and not dry_run and plan is None:
        write_table(place, table)
    if empty == count and (count or not has_inputs):
        print(f"Edgel3: No WAV files found in {inputs}. Aborting.")  # what programs around edgel3 look for
        sys.exit(EXIT_NO_RECORDINGS)
    return reporter.summary()


def _reading_options(strict: object, rate: object, pcm: str | None) -> ReadingOptions:
    if pcm is not None:
        check_choice("pcm", pcm, tuple(PCM_FORMATS))
        if rate is None:
            raise EdgeL3ArgumentError("pcm needs rate: samples without a header do not say theirs")
    raw = None if rate is None else Linear.mono(check_sample_rate(rate), pcm)
    return ReadingOptions(check_flag("strict", strict), raw)


def _paths(inputs: object) -> list[str | os.PathLike[str]]:
    items = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    if not isinstance(items, Sequence) or not all(isinstance(item, str | os.PathLike) for item in items):
        raise EdgeL3ArgumentError(f"inputs must be a path or a list of paths, got {inputs!r}")
    return list(items)


@usable_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 all good, 1 some failed, 2 usage, 130 or 143 on a signal.

    SystemExit with the code -1, 255 to the shell, if there are no inputs but directories without recordings.
    """
    if argv is None:
        argv = sys.argv[1:]
    try:
        args = parse_arguments(argv)
        with interrupt.raising_on_signals(), nullcontext() if args.quiet else showing_log():
            status = _dispatch(args)
        sys.stdout.flush()
        return status
    except interrupt.Interrupted as stop:
        print(f"{PROGRAM}: stopped by {signal.Signals(stop.signum).name}", file=sys.stderr)
        return 128 + stop.signum
    except EdgeL3ArgumentError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except WeightsUnavailableError as error:
        print(f"{PROGRAM}: error: {error.explain(with_packaged_model(argv))}", file=sys.stderr)
        return EXIT_FAILED
    except EdgeL3Error as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:  # of the system itself: no directory for temporary files, standard output on a full disk
        if not isinstance(error, BrokenPipeError):  # that is whoever read standard output having stopped
            print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # Python would complain about it once more when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _dispatch(args: argparse.Namespace) -> int:
    if args.inspect is not None:
        print(json.dumps(read_metadata(args.inspect), indent=2, sort_keys=True))
        return 0
    if args.demo is not None:
        from edgel3_onnx.command import demo

        return demo.serve(args.demo)
    if args.list_models or args.doctor or args.fetch:
        from edgel3_onnx.command import doctor

        if args.fetch:
            return doctor.fetch(args.fetch, args.precision, not args.quiet)
        print(doctor.list_models() if args.list_models else doctor.report())
        return 0
    arguments = {
        **vars(args),
        "sparsity": args.model_sparsity,
        "center": not args.no_centering,
        "provider_options": dict(args.provider_option),
        "verbose": not args.quiet,
    }
    if args.inputs == ["-"]:
        from edgel3_onnx.command.live import embed_stdin

        options, reading = EmbeddingOptions.of(arguments), _reading_options(args.strict, args.rate, args.pcm)
        output = None
        if args.format is not None:
            output = get_output_path("stdin", f"{args.suffix or ''}.{args.format}", args.output_dir)
        embed_stdin(ModelOptions.of(arguments).load(), options, reading, output, quiet=args.quiet)
        return 0
    given = {name: arguments[name] for name in signature(run).parameters if arguments.get(name) is not None}
    return EXIT_FAILED if run(**given).failed else 0
