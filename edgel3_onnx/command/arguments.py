"""The arguments of the command edgel3-onnx."""

import argparse
import math
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from edgel3_onnx.channels import check_channels
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.metadata import COMPUTED
from edgel3_onnx.outputs.arrays import FORMATS, WRITERS
from edgel3_onnx.parts import EDGES
from edgel3_onnx.pooling import NORMALIZATIONS, POOLS
from edgel3_onnx.recordings.linear import PCM_FORMATS
from edgel3_onnx.spec import RESAMPLERS
from edgel3_onnx.store.registry import MODEL_TYPES
from edgel3_onnx.version import __version__

PROGRAM = "edgel3-onnx"
DEMO_PORT = 8384

_DESCRIPTION = """\
Embed audio with EdgeL3 (sparse) or SEA models through ONNX Runtime: one vector per window of one second."""

_EXAMPLES = """\
examples:
  edgel3-onnx street.flac --model-type sea --emb-dim 64
      writes street.npz: embedding (T, 64), timestamps (T,), metadata
  edgel3-onnx recordings/ --recursive --output embeddings/ --jobs 4 --skip-existing
      goes on where an earlier run stopped
  arecord -f S16_LE -r 16000 | edgel3-onnx - --model-type sea --emb-dim 64
      prints one JSON line per window while the audio arrives

exit status: 0 all done, 1 some failed, 2 wrong usage, 130 or 143 stopped by Ctrl-C or SIGTERM,
255 only directories without recordings"""


# What has an effect besides --quiet, by what the command is asked to do.
_MODEL = {"model_type", "emb_dim", "retrain_type", "model_sparsity", "weights", "precision"}
_MODEL |= {"provider", "provider_option", "num_threads"}
_WINDOWS = {"hop_size", "no_centering", "resampler", "rate", "pcm", "strict"}
_PARTS = {"offset", "duration", "regions", "edges", "channels", "pool", "normalize"}
_CLOCK = {"time_pattern", "time_zone"}
_EFFECTIVE = {
    "files": _MODEL
    | _WINDOWS
    | _CLOCK
    | _PARTS
    | {"output_dir", "suffix", "format", "recursive", "existing", "dry_run", "report", "batch_size", "jobs"},
    "a parquet dataset": _MODEL
    | _WINDOWS
    | _CLOCK
    | _PARTS
    | {"output_dir", "format", "recursive", "existing", "dry_run", "report", "batch_size", "jobs"},
    "standard input": _MODEL | _WINDOWS,
    "standard input as one file": _MODEL | _WINDOWS | {"format", "output_dir", "suffix"},
    "--list-models": {"list_models"},
    "--doctor": {"doctor"},
    "--fetch": {"fetch", "precision"},
    "--inspect": {"inspect"},
    "--demo": {"demo"},
}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with status 2, or 0 after --help and --version."""
    parser = _parser()
    args = parser.parse_args(argv)
    actions = [args.list_models, args.doctor, bool(args.fetch), args.inspect is not None, args.demo is not None]
    if sum(actions) > 1 or (any(actions) and args.inputs):
        parser.error("--list-models, --fetch, --doctor, --inspect and --demo each go alone, without inputs")
    if not any(actions) and not args.inputs:
        parser.error("give files or directories to embed, or - for standard input")
    if "-" in args.inputs and len(args.inputs) > 1:
        parser.error("- (standard input) goes alone")
    of_all = args.format not in (None, *WRITERS)
    if args.inputs == ["-"] and of_all:
        parser.error(f"standard input is saved as npz or npy, not as {args.format}")
    _refuse_without_effect(parser, args)
    if args.pcm is not None and args.rate is None:
        parser.error("--pcm needs --rate")
    if of_all and args.output_dir is None:
        parser.error(f"--format {args.format} makes one dataset of all inputs: name its directory with --output")
    return args


def _refuse_without_effect(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    mode = _mode(args)
    for action in parser._actions:
        given = getattr(args, action.dest, action.default) != action.default
        if given and action.option_strings and action.dest not in _EFFECTIVE[mode] | {"quiet"}:
            flag = next(name for name in action.option_strings if name.startswith("--"))
            if mode == "standard input" and action.dest in _EFFECTIVE["standard input as one file"]:
                parser.error(f"{flag} has no effect with lines on standard output: add --format npz or npy")
            parser.error(f"{flag} has no effect with {mode}")


def _mode(args: argparse.Namespace) -> str:
    if args.list_models:
        return "--list-models"
    if args.doctor:
        return "--doctor"
    if args.fetch:
        return "--fetch"
    if args.inspect is not None:
        return "--inspect"
    if args.demo is not None:
        return "--demo"
    if args.inputs == ["-"]:
        return "standard input" if args.format is None else "standard input as one file"
    return "files" if args.format in (None, *WRITERS) else "a parquet dataset"


class _Parser(argparse.ArgumentParser):
    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """What an abbreviation may stand for: two names of one option make it no less clear."""
        found = {id(match[0]): match for match in reversed(super()._get_option_tuples(option_string))}
        return list(found.values())


def with_packaged_model(argv: Sequence[str]) -> str:
    """The command line of ``argv`` for the model that comes with the package, to be copied into a shell.

    An option that chooses a model and was abbreviated stays; the one at the end overrides it.
    """
    chosen = {"model_type", "emb_dim", "retrain_type", "model_sparsity"}
    options = {name: action.dest for action in _parser()._actions for name in action.option_strings}
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, has_value, _ = word.partition("=")
        if options.get(name) not in chosen:
            kept.append(word)
        elif not has_value:
            next(words, None)
    at = kept.index("--") if "--" in kept else len(kept)
    join = subprocess.list2cmdline if sys.platform == "win32" else shlex.join
    return join([PROGRAM, *kept[:at], "--model-type", "micro", *kept[at:]])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s INPUT... [--output DIR] [--model-type TYPE] [options]",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="*", help="audio file, directory of audio files, or - for standard input"
    )
    _add_model(parser.add_argument_group("model"))
    _add_embedding(parser.add_argument_group("embedding"))
    _add_parts(parser.add_argument_group("parts, channels, pooling"))
    _add_output(parser.add_argument_group("output"))
    _add_running(parser.add_argument_group("running"))
    _add_reading(parser.add_argument_group("reading"))
    _add_information(parser.add_argument_group("information, in place of inputs"))
    return parser


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model-type", "-mtype", choices=MODEL_TYPES, default="sparse", help="default: %(default)s")
    group.add_argument(
        "--emb-dim",
        "-e",
        metavar="N",
        type=int,
        default=128,
        help="values of a sea embedding: 512, 256, 128 (default), 64",
    )
    group.add_argument(
        "--retrain-type",
        "-retrain",
        choices=("ft", "kd"),
        default="ft",
        help="a sparse model's training after pruning: fine-tuned (default) or knowledge-distilled",
    )
    group.add_argument(
        "--model-sparsity",
        "-sp",
        metavar="P",
        type=float,
        default=95.45,
        help="percentage of zero weights of a sparse model (default: %(default)s); --list-models lists them",
    )
    group.add_argument("--weights", metavar="FILE", help="own .h5, .h5.gz or .onnx instead of the published weights")
    group.add_argument("--precision", choices=COMPUTED, default="fp32", help="default: %(default)s")


def _add_embedding(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--hop-size", "-t", metavar="S", type=positive_float, default=0.1, help="seconds between windows (default: 0.1)"
    )
    group.add_argument(
        "--no-centering",
        "-n",
        action="store_true",
        help="let a timestamp be the start of its window instead of its centre",
    )
    group.add_argument(
        "--resampler",
        choices=RESAMPLERS,
        default=RESAMPLERS[0],
        help="kaiser_best (default) gives the published numbers; soxr is faster, and its numbers are others",
    )


def _add_parts(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--offset", metavar="S", type=float, default=0.0, help="begin so many seconds into a recording")
    group.add_argument(
        "--duration", metavar="S", type=positive_float, help="embed so many seconds (default: to the end)"
    )
    group.add_argument(
        "--regions",
        metavar="FILE",
        help="embed what is labelled: CSV (path,start,end,label), Audacity label track or Raven selection table; "
        ".txt: the file of that ending beside each recording",
    )
    group.add_argument(
        "--edges",
        choices=EDGES,
        default=EDGES[0],
        help="windows at the edges of a part see the audio beyond it (context, default) or zeros (cut)",
    )
    group.add_argument(
        "--channels",
        metavar="WHICH",
        type=_channels,
        default="mix",
        help="mix (default: their mean), each (an embedding for each), or numbers such as 1,3",
    )
    group.add_argument(
        "--pool", choices=POOLS, default=POOLS[0], help="one embedding for each recording or part (default: none)"
    )
    group.add_argument("--normalize", choices=NORMALIZATIONS, help="divide each embedding by its Euclidean length")


def _channels(text: str) -> str:
    try:
        return check_channels(text)
    except EdgeL3ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--output",
        "--output-dir",
        "-o",
        dest="output_dir",
        metavar="DIR",
        help="where outputs go, in the sub-folders of the input directories; default: beside each input",
    )
    group.add_argument("--suffix", "-x", metavar="S", help="name outputs <input>_S.npz instead of <input>.npz")
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="npz (default), npy (the embedding alone), parquet (all inputs in the one dataset DIR), or csv, csv.gz "
        "(the same, and of it one table, DIR.csv or DIR.csv.gz)",
    )
    group.add_argument("--recursive", "-r", action="store_true", help="take the sub-folders of directories too")
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing",
        dest="existing",
        action="store_const",
        const="skip",
        help="keep outputs that are whole and were made from the same file with the same model and options",
    )
    existing.add_argument(
        "--overwrite",
        dest="existing",
        action="store_const",
        const="replace",
        help="replace existing outputs: the default, except for a parquet dataset",
    )
    group.add_argument("--dry-run", action="store_true", help="only print what would be done")
    group.add_argument(
        "--report", metavar="FILE", help="write one JSON line per input: status, reason, windows, seconds"
    )


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--provider",
        metavar="NAME",
        default="cpu",
        help="cpu (default), cuda, cuda:1, tensorrt, tensorrt-rtx, openvino, openvino:gpu, coreml, directml, xnnpack, "
        "qnn, migraphx, mlx, webgpu, "
        "native (our own engine on the CPU; sparse is another name of it) or auto; --doctor tells which load",
    )
    group.add_argument(
        "--provider-option",
        metavar="KEY=VALUE",
        type=_key_value,
        action="append",
        default=[],
        help="option of the ONNX Runtime execution provider, or fallback=cpu, which lets the CPU run what the "
        "provider does not; may be repeated",
    )
    group.add_argument(
        "--batch-size", metavar="N", type=positive_int, help="windows per run (default: the model's choice)"
    )
    group.add_argument(
        "--threads", dest="num_threads", metavar="N", type=positive_int, help="CPU threads per job (default: all CPUs)"
    )
    group.add_argument("--jobs", "-j", metavar="N", type=positive_int, default=1, help="processes (default: 1)")
    group.add_argument("--quiet", "-q", action="store_true", help="print errors only")


def _add_reading(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--strict",
        action="store_true",
        help="make it an error if something of a recording is lost or had to be guessed",
    )
    group.add_argument(
        "--rate", metavar="HZ", type=positive_float, help="what has no header is raw mono PCM at this rate"
    )
    group.add_argument(
        "--time-pattern",
        metavar="P",
        help="how file names have the time when a recording began, such as %%Y%%m%%d_%%H%%M%%S",
    )
    group.add_argument(
        "--time-zone",
        metavar="Z",
        help="of recorders' clocks that do not say theirs: UTC, +02:00, Europe/Berlin",
    )
    group.add_argument("--pcm", choices=tuple(PCM_FORMATS), help="samples of raw PCM (default: s16le)")


def _add_information(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--help", "-h", action="help", help="show this help")
    group.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    group.add_argument("--list-models", action="store_true", help="the models, their sizes, and which are at hand")
    group.add_argument("--fetch", metavar="VARIANT", nargs="+", help="download and convert models ahead of use")
    group.add_argument("--doctor", action="store_true", help="what works on this machine, and what does not")
    group.add_argument("--inspect", metavar="FILE", help="how an output was made")
    group.add_argument(
        "--demo",
        metavar="PORT",
        type=_port,
        nargs="?",
        const=DEMO_PORT,
        help="serve the browser page on 127.0.0.1 (port %(const)s; 0: any that is free)",
    )


def positive_float(value: object) -> float:
    """``value``, a number above 0 or the text of one, as a float. argparse.ArgumentTypeError if it is not."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"a positive number is needed, got {value!r}")
    return number


def positive_int(value: object) -> int:
    """``value``, a whole number above 0 or the text of one, as an int. argparse.ArgumentTypeError if it is not."""
    try:
        number = positive_float(value)
    except argparse.ArgumentTypeError:
        number = 0.5
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"a positive whole number is needed, got {value!r}")
    return int(number)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535 is needed, got {text!r}")
    return int(text)


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"KEY=VALUE is needed, got {text!r}")
    return key, value
