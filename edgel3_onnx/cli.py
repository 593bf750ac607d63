"""The command edgel3-onnx."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from edgel3_onnx.audio import check_hop_size
from edgel3_onnx.command import interrupt
from edgel3_onnx.command.arguments import PROGRAM, parse_arguments
from edgel3_onnx.command.corpus import plan_run
from edgel3_onnx.command.live import (
    PCM_FORMATS,
    Collector,
    PcmFormat,
    PipeReader,
    binary_stdin,
    embed_pipe,
    json_lines,
    read_wav_header,
)
from edgel3_onnx.command.pool import work_in_processes
from edgel3_onnx.command.report import Reporter, Summary
from edgel3_onnx.command.runner import ModelOptions, RunOptions, prepare, rehearse, work
from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.embedding import check_options
from edgel3_onnx.engines.session import check_provider
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.files import Options, get_output_path, provenance
from edgel3_onnx.outputs.arrays import FORMATS, WRITERS, Float32, Float64, read_metadata
from edgel3_onnx.store.registry import find_variant
from edgel3_onnx.streaming import EmbeddingStream

EXIT_FAILED, EXIT_USAGE = 1, 2


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
    provider_options: dict[str, str] | None = None,
    format: str = "npz",
    recursive: bool = False,
    jobs: int = 1,
    existing: str | None = None,
    report: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
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
    format : {"npz", "npy", "parquet"}
        "parquet" writes one dataset, ``output_dir``.
    recursive : bool
        Take sub-folders of input directories too.
    jobs : int
        Processes that work at the same time.
    existing : {"replace", "skip"} or None
        What to do about outputs that exist. "skip" keeps those that are whole and were made from the same file
        with the same model and options. None: replace them, but do not touch a dataset that has parts.
    report : path or None
        Where to write one JSON object per input.
    dry_run : bool
        Print the inputs and their outputs, and write no output.

    Returns
    -------
    Summary

    Raises
    ------
    EdgeL3ArgumentError
        If an argument is not one of those allowed, or two inputs would have the same output.
    EdgeL3Error
        If the model cannot be loaded.
    """
    check_options(center, 0, batch_size, resampler)
    check_hop_size(hop_size, find_variant(model_type, emb_dim, retrain_type, sparsity).spec.sample_rate)
    check_provider(provider)
    if not isinstance(jobs, int) or jobs < 1:
        raise EdgeL3ArgumentError(f"jobs must be a positive integer, got {jobs!r}")
    if existing not in (None, "replace", "skip"):
        raise EdgeL3ArgumentError(f"existing must be 'replace', 'skip' or None, got {existing!r}")
    if format not in FORMATS:
        raise EdgeL3ArgumentError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if format == "parquet" and output_dir is None:
        raise EdgeL3ArgumentError("format parquet makes one dataset of all inputs: name its directory with --output")
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    plan = plan_run(paths, output_dir, suffix, format, recursive)
    if num_threads is None and jobs > 1:
        num_threads = max(available_cpus() // jobs, 1)
    model_options = ModelOptions(
        model_type,
        emb_dim,
        retrain_type,
        sparsity,
        provider,
        num_threads,
        weights,
        precision,
        provider_options,
        verbose,
    )
    embedding_options = Options(bool(center), hop_size, resampler, batch_size)
    options = RunOptions(model_options, embedding_options, format, os.fspath(output_dir or ""), existing == "skip")
    if not dry_run:
        prepare(plan, options, replace=existing == "replace")
    alone = len(plan.tasks) == 1
    with Reporter(len(plan.tasks), plan.notes, quiet=not verbose, path=report, show_bar=not alone) as reporter:
        if dry_run:
            records = rehearse(plan.tasks, options)
        elif jobs > 1 and not alone:
            records = work_in_processes(plan.tasks, options, jobs)
        else:
            records = work(model_options.load(), plan.tasks, options, show_progress=verbose and alone)
        with closing(records):
            for record in records:
                reporter.add(record)
    return reporter.summary()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 0 all good, 1 some failed, 2 usage, 130 or 143 on a signal."""
    try:
        with interrupt.raising_on_signals():
            return _dispatch(parse_arguments(argv))
    except interrupt.Interrupted as stop:
        print(f"{PROGRAM}: stopped by {signal.Signals(stop.signum).name}", file=sys.stderr)
        return 128 + stop.signum
    except EdgeL3ArgumentError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except EdgeL3Error as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # Whoever read standard output has stopped. Python would complain about it once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _dispatch(args: argparse.Namespace) -> int:
    if args.inspect is not None:
        print(json.dumps(read_metadata(args.inspect), indent=2, sort_keys=True))
        return 0
    if args.list_models or args.doctor or args.fetch:
        from edgel3_onnx.command import doctor

        if args.fetch:
            return doctor.fetch(args.fetch, args.precision, not args.quiet)
        print(doctor.list_models() if args.list_models else doctor.report())
        return 0
    if args.provider == "auto" and not args.quiet:  # says which provider it chose
        logging.basicConfig(format=f"{PROGRAM}: %(message)s")
        logging.getLogger("edgel3_onnx").setLevel(logging.INFO)
    if args.inputs == ["-"]:
        return _live(args)
    summary = run(
        args.inputs,
        args.output_dir,
        args.suffix,
        center=args.center,
        hop_size=args.hop_size,
        verbose=not args.quiet,
        batch_size=args.batch_size,
        resampler=args.resampler,
        format=args.format or "npz",
        recursive=args.recursive,
        jobs=args.jobs,
        existing=args.existing,
        report=args.report,
        dry_run=args.dry_run,
        **_model_arguments(args),
    )
    return EXIT_FAILED if summary.failed else 0


def _model_arguments(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "model_type": args.model_type,
        "emb_dim": args.emb_dim,
        "retrain_type": args.retrain_type,
        "sparsity": args.model_sparsity,
        "provider": args.provider,
        "num_threads": args.threads,
        "weights": args.weights,
        "precision": args.precision,
        "provider_options": dict(args.provider_option),
    }


def _live(args: argparse.Namespace) -> int:
    """Embed standard input: JSON lines as the audio comes, or one file at its end."""
    model = ModelOptions(**_model_arguments(args), verbose=not args.quiet).load()
    options = Options(args.center, args.hop_size, args.resampler)
    reader = PipeReader(binary_stdin())
    if args.rate is not None:
        pcm = PcmFormat(args.rate, PCM_FORMATS[args.pcm or "s16le"])
    elif reader.peek(4) == b"RIFF":
        pcm = read_wav_header(reader)
    else:
        raise EdgeL3ArgumentError("standard input is not WAV; for raw PCM say its rate: --rate HZ [--pcm s16le|f32le]")
    stream = EmbeddingStream(model, pcm.rate, options.hop_size, options.center, options.resampler)
    if args.format is None:
        embed_pipe(reader, pcm, stream, _print_json)
        return 0

    collected = Collector(model.embedding_dim)
    output = get_output_path("stdin", f"{args.suffix or ''}.{args.format}", args.output_dir)
    try:
        embed_pipe(reader, pcm, stream, collected.add)
    except interrupt.Interrupted:
        collected.add(*stream.flush())  # how a recording without an end is ended
        raise
    finally:
        if collected.windows:
            metadata = {**provenance(model, options), "source": "-", "sample_rate": pcm.rate, "samples": stream.samples}
            WRITERS[args.format](output, *collected.arrays(), metadata)
    return 0


def _print_json(embedding: Float32, timestamps: Float64) -> None:
    for line in json_lines(embedding, timestamps):
        print(line)
    sys.stdout.flush()
