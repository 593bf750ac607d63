"""What tools/fuzz feeds with damaged input. Another target is another entry of TARGETS."""

import contextlib
import gzip
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
import onnx
import soundfile
from fuzz_mutators import mutate_bytes, mutate_json, mutate_message

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import golden
import odd_recordings as odd
from edgel3_onnx.command.arguments import parse_arguments
from edgel3_onnx.export.convert import isolated
from edgel3_onnx.export.convert.check import check_file
from edgel3_onnx.export.convert.compact import compact
from edgel3_onnx.export.convert.h5_to_onnx import convert
from edgel3_onnx.export.convert.hdf5 import read_weights
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.metadata import KEY, GraphMetadata
from edgel3_onnx.outputs.arrays import is_current
from edgel3_onnx.outputs.inspect import read_metadata
from edgel3_onnx.recordings.decode import open_recording
from edgel3_onnx.recordings.pipe import open_pipe
from edgel3_onnx.recordings.pipe_reader import PipeReader
from edgel3_onnx.spec import FRONTENDS, NETWORKS
from edgel3_onnx.store import cache as store_cache
from edgel3_onnx.store import weights

NETWORK = NETWORKS["sea-64"]


@dataclass(frozen=True)
class Target:
    """Samples of good input, how to damage one, and what reads it; that may raise nothing but EdgeL3Error."""

    name: str
    samples: Callable[[], list[bytes]]
    read: Callable[[bytes], object]
    mutate: Callable[[Random, bytes], bytes] = mutate_bytes
    is_isolated: bool = False  # whether the package reads it in a process of its own, which may die or hang


# HDF5 weights


@cache
def _hdf5() -> dict[bytes, list[int]]:
    """Files of weights, and where in each the structures of HDF5 are: the rest, nearly all of it, are values."""
    import h5py

    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for layout in ("weights", "model", "compressed"):
            path = os.path.join(folder, layout)
            golden.write_h5(path, golden.weights(0, NETWORK), "sea-64", "weights" if layout == "weights" else "model")
            is_structure = np.ones(os.path.getsize(path), bool)
            with h5py.File(path, "r+") as file:
                names: list[str] = []
                file.visit(names.append)
                for name in names:
                    dataset = file[name]
                    if not isinstance(dataset, h5py.Dataset):
                        continue
                    if layout == "compressed":
                        values = dataset[()]
                        del file[name]
                        file.create_dataset(name, data=values, compression="gzip", shuffle=True)
                    else:
                        start = dataset.id.get_offset()
                        is_structure[start : start + dataset.nbytes] = False
            data = Path(path).read_bytes()
            if layout == "compressed":
                is_structure = np.ones(len(data), bool)
            files[data] = np.flatnonzero(is_structure).tolist()
    return files


def _mutate_hdf5(random: Random, data: bytes) -> bytes:
    return mutate_bytes(random, data, _hdf5().get(data))


def _call_here(function: Callable[..., bytes], data: bytes, *arguments: object, source_file: str) -> bytes:
    """``isolated.call`` without a process of its own, which takes a thousand times as long as most inputs do."""
    return isolated.run(function, data, arguments, source_file)


isolated.call = _call_here

# ONNX graphs


@cache
def _graphs() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        graphs = []
        for pruned in (False, True):
            path = os.path.join(folder, "weights.h5")
            golden.write_h5(path, golden.weights(0, NETWORK, pruned), "sea-64")
            graphs.append(convert(Path(path).read_bytes(), NETWORK, source_file="w.h5", source_sha256="0" * 64))
    mel, pruned_mel = graphs
    return [mel, compact(pruned_mel), quantize(mel, "int8"), add_front_end(mel)]


def _mutate_graph(random: Random, data: bytes) -> bytes:
    if random.random() < 0.2:
        return mutate_bytes(random, data)
    try:
        model = onnx.load_model_from_string(data)
        for _ in range(random.choice((1, 1, 2, 4))):
            mutate_message(random, model)
        return bytes(model.SerializeToString())
    except Exception:
        return mutate_bytes(random, data)


# What this package says about a graph, in it and beside it


def _metadata() -> list[bytes]:
    return [onnx.load_model_from_string(graph).metadata_props[0].value.encode() for graph in _graphs()]


def _read_metadata(data: bytes) -> None:
    metadata = GraphMetadata.read({KEY: data.decode("utf-8", "replace")}, "x.onnx")
    if metadata is not None:
        metadata.check(FRONTENDS["sea"], NETWORK, "x.onnx")
        metadata.write()


def _read_cache_record(data: bytes, folder: Path) -> None:
    (folder / "a.onnx").write_bytes(b"graph")
    (folder / "a.onnx.json").write_bytes(data)
    store_cache.fault(folder / "a.onnx", {"format": 1, "source": "x"})


# Files by their path


def _in_file(read: Callable[[str], object], name: str, data: bytes) -> None:
    path = _folder() / name
    path.write_bytes(data)
    read(str(path))


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="edgel3-onnx-fuzz-"))
    os.environ["EDGEL3_ONNX_CACHE"] = str(folder)
    return folder


def _own_weights() -> list[bytes]:
    hdf5 = next(iter(_hdf5()))
    return [gzip.compress(hdf5[:100_000], 1), gzip.compress(b"text"), hdf5[:4096], b"text"]


def _read_own_weights(path: str) -> None:
    weights.convert_file(path, "sea-64")


@cache
def _outputs() -> list[bytes]:
    """What the command line writes, in every format."""
    from edgel3_onnx import cli

    source, out = _folder() / "in.wav", _folder() / "out"
    soundfile.write(source, golden.audio(8000, 1.3, 0), 8000)
    command = [str(source), "--model-type", "micro", "-o", str(out), "--quiet"]
    with contextlib.redirect_stderr(io.StringIO()):
        for kind in ("npz", "npy", "parquet"):
            assert cli.main([*command, "--format", kind, *(["--hop-size", "0.5"] if kind == "npz" else [])]) == 0
    return [path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()]


def _read_output(path: str) -> None:
    is_current(path, {"model": "x"})
    read_metadata(path)


def _recordings() -> list[bytes]:
    samples = golden.audio(8000, 0.2, 0)
    files = []
    for kind, subtype in (
        *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("AIFF", "PCM_16")),
        *(("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")),
        *(("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
    ):
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
        files.append(file.getvalue())
    return files + _recordings_for_ffmpeg(samples)


def _recordings_for_ffmpeg(samples: np.ndarray) -> list[bytes]:
    files = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        for codec, container in (
            *(("aac", "adts"), ("aac", "mp4"), ("alac", "mp4"), ("ac3", "ac3"), ("adpcm_ima_qt", "caf")),
            *(("pcm_s24le", "matroska"), ("libopus", "webm")),
        ):
            odd.encoded_with_av(path, samples, 8000 if codec != "ac3" else 48000, codec, container)
            files.append(path.read_bytes())
    return files


def _read_recording(path: str) -> None:
    with open_recording(path) as recording:
        for number, _ in enumerate(recording.blocks(1.0)):
            if number == 1000:
                return


def _read_pipe(data: bytes) -> None:
    descriptor = os.memfd_create("input")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        audio = open_pipe(PipeReader(descriptor))
        for _ in audio.blocks():
            pass
        audio.findings()
    finally:
        os.close(descriptor)


# The command line, one argument per line; nothing runs


def _command_lines() -> list[bytes]:
    return [
        b"a.wav\n-o\nout\n--model-type\nsea\n--emb-dim\n64\n--hop-size\n0.5\n--no-centering\n--overwrite",
        b"-\n--rate\n8000\n--channels\n2\n--sample-format\ns16le\n--timestamps",
        b"a\n--format\nparquet\n--report\nr.csv\n--jobs\n2\n--recursive\n--skip-existing\n--provider\ncuda:1",
        b"--list-models\n--doctor\n--fetch\n--inspect\nx.npz\n--weights\nw.h5\n--precision\nint8",
    ]


def _read_command_line(data: bytes) -> None:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            parse_arguments(data.decode("utf-8", "surrogateescape").split("\n"))
        except SystemExit as end:
            assert end.code in (0, 2)


def _record() -> list[bytes]:
    return [json.dumps({"sha256": "0" * 64, "origin": {"format": 1, "source": "x"}}).encode()]


TARGETS = {
    target.name: target
    for target in (
        Target(
            "hdf5",
            lambda: list(_hdf5()),
            partial(read_weights, network=NETWORK, source_file="x.h5"),
            _mutate_hdf5,
            is_isolated=True,
        ),
        Target(
            "onnx", _graphs, partial(check_file, network=NETWORK, source_file="x.onnx"), _mutate_graph, is_isolated=True
        ),
        Target("graph-metadata", _metadata, _read_metadata, mutate_json),
        Target("cache-record", _record, lambda data: _read_cache_record(data, _folder()), mutate_json),
        Target("own-weights", _own_weights, partial(_in_file, _read_own_weights, "own.h5.gz"), is_isolated=True),
        Target("outputs", _outputs, partial(_in_file, _read_output, "output")),
        Target("recordings", _recordings, partial(_in_file, _read_recording, "recording")),
        Target("pipe", _recordings, _read_pipe),
        Target("command-line", _command_lines, _read_command_line),
    )
}
