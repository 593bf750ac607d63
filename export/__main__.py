"""Export, verify and describe variants: ``python -m edgel3_onnx.export (--all | --variants ID...) --out DIR``."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgel3_onnx.atomic import write_bytes
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export import exporter
from edgel3_onnx.export.convert import calibration
from edgel3_onnx.export.convert.source import read_file
from edgel3_onnx.export.recordings import calibration_of, read_windows
from edgel3_onnx.metadata import KINDS, PRECISIONS
from edgel3_onnx.spec import FRONTENDS
from edgel3_onnx.store import download
from edgel3_onnx.store.registry import Variant, upstream_url, variants
from edgel3_onnx.terminal import usable_streams


@usable_streams()
def main(argv: list[str] | None = None) -> int:
    """Command line. Returns 0 if every variant was exported, 1 if some failed (one line each on stderr)."""
    args = _parse(argv)
    wanted = list(variants().values()) if args.all else [variants()[name] for name in args.variants]
    if args.mirror:
        os.environ["EDGEL3_ONNX_MIRROR"] = args.mirror
    options = exporter.ExportOptions(args.kinds, args.precisions, args.route, Path(args.out), args.dense)

    @cache
    def sounds(frontend: str) -> exporter.Sounds:
        return _sounds(frontend, args.audio, args.calibration, "int8" in args.precisions)

    try:
        options.out.mkdir(parents=True, exist_ok=True)
        entries = _read_manifest(options.out)
    except (OSError, EdgeL3Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = 0
    for variant in _progress(wanted):
        try:
            for entry in exporter.export(variant, _read_weights(variant, args), options, sounds(variant.frontend)):
                entries[entry["file"]] = entry
        except EdgeL3Error as error:
            failed += 1
            _say(f"error: {variant.id}: {error}")
        else:
            _say(f"{variant.id}: {len(options.kinds) * len(options.precisions)} graphs")
        try:
            _write_manifest(options.out, entries)
        except EdgeL3Error as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 1 if failed else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m edgel3_onnx.export",
        description="Export variants as ONNX graphs, verify them, and write a manifest and model cards.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="every variant")
    which.add_argument("--variants", nargs="+", metavar="ID", choices=list(variants()), help="such as sea-64")
    parser.add_argument("--out", metavar="DIR", required=True, help="directory to write to")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", metavar="FILE", help=".h5 or .h5.gz of the one variant, of any origin")
    source.add_argument("--weights-dir", metavar="DIR", help="files under their published names, of any origin")
    source.add_argument("--mirror", metavar="URL", help="where the published files are; digests are checked")
    parser.add_argument("--kinds", type=_list_of(KINDS), default=KINDS, help="mel,waveform")
    parser.add_argument("--precisions", type=_list_of(PRECISIONS), default=PRECISIONS, help="fp32,int8,fp16")
    parser.add_argument("--route", choices=exporter.ROUTES, default="h5", help="tf: Keras and tf2onnx")
    parser.add_argument("--dense", action="store_true", help="store pruned weights dense, for runtimes that need it")
    parser.add_argument("--calibration", metavar="DIR", help="recordings for int8; default: built-in sounds")
    parser.add_argument("--audio", metavar="DIR", help="recordings to verify on; default: built-in sounds")
    args = parser.parse_args(argv)
    if args.weights and (args.all or len(args.variants) != 1):
        parser.error("--weights is one variant's file: name that variant with --variants")
    return args


def _list_of(allowed: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return names

    return parse


def _read_weights(variant: Variant, args: argparse.Namespace) -> bytes | None:
    if args.weights:
        return read_file(args.weights)
    if variant.git_blob_id is None:
        return None
    if not args.weights_dir:
        return download.fetch(variant.file, variant.git_blob_id, upstream_url(), verbose=True)
    path = Path(args.weights_dir) / variant.file
    return read_file(path if path.exists() else path.with_suffix(""))


def _sounds(frontend: str, audio: str | None, calibrate: str | None, needed: bool) -> exporter.Sounds:
    spec = FRONTENDS[frontend]
    images = calibration_of(calibrate, spec) if calibrate and needed else calibration.built_in(spec)
    if audio is None:
        return exporter.Sounds(images, "built-in sounds", calibration.verification_windows(spec))
    windows = np.concatenate([windows for _, windows in read_windows(audio, spec)])
    return exporter.Sounds(images, f"recordings in {Path(audio).resolve().name}", windows)


def _read_manifest(out: Path) -> dict[str, dict[str, Any]]:
    """Entries by file name of an earlier export into the same directory, whose files are still there."""
    path = out / "manifest.json"
    if not path.exists():
        return {}
    try:
        graphs = json.loads(path.read_text("utf-8"))["graphs"]
        return {entry["file"]: entry for entry in graphs if (out / entry["file"]).exists()}
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeL3Error(f"{path}: not a manifest of this command ({error!r}); remove it") from error


def _write_manifest(out: Path, entries: dict[str, dict[str, Any]]) -> None:
    graphs = [entries[file] for file in sorted(entries)]
    write_bytes(out / "manifest.json", (json.dumps({"graphs": graphs}, indent=2) + "\n").encode())


def _progress(wanted: list[Variant]) -> Any:
    """The variants, with a progress bar on stderr if that is a terminal."""
    from tqdm import tqdm

    return tqdm(wanted, unit="variant", disable=None)


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
