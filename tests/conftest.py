"""Fixtures that several test files use; the tests run against the installed package."""

import dataclasses
import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what a script starts with &
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else the commands under test would ignore it too

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX: signals, permissions, limits or named pipes")


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path_factory, monkeypatch):
    """No test sees the user's cache or reaches the network."""
    for name in ("EDGEL3_ONNX_MIRROR", "EDGEL3_ONNX_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("EDGEL3_ONNX_OFFLINE", "1")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The directory of embeddings made by the published code, or a visible skip."""
    folder = os.environ.get("EDGEL3_ONNX_REFERENCE")
    if not folder:
        pytest.skip("needs EDGEL3_ONNX_REFERENCE, a directory of embeddings made by the published edgel3")
    return Path(folder)


@pytest.fixture(scope="session")
def seeded_graph(tmp_path_factory):
    """A function from a key of spec.NETWORKS to the path of its graph with the seeded weights of the golden data."""
    import golden
    from edgel3_onnx.export.convert.h5_to_onnx import convert
    from edgel3_onnx.spec import NETWORKS

    folder = tmp_path_factory.mktemp("graphs")

    def make(name: str) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            case = next(case for case in golden.cases() if case["network"] == name)
            h5 = folder / f"{name}.h5"
            golden.write_h5(h5, golden.weights(case["weights_seed"], NETWORKS[name], case["pruned"]), name)
            path.write_bytes(convert(h5.read_bytes(), NETWORKS[name], source_file=h5.name, source_sha256="0" * 64))
            h5.unlink()
        return path

    return make


@pytest.fixture(scope="session")
def sea64(seeded_graph):
    """The sea-64 model with seeded weights."""
    from edgel3_onnx import load_embedding_model

    return load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), num_threads=1)


@pytest.fixture(scope="session")
def models(seeded_graph):
    """A function from a key of spec.NETWORKS to its EmbeddingModel with seeded weights."""
    from edgel3_onnx import load_embedding_model

    def load(name: str):
        model_type, _, emb_dim = name.partition("-")
        return load_embedding_model(model_type, int(emb_dim or 512), weights=seeded_graph(name))

    return load


@pytest.fixture(scope="session")
def checked(seeded_graph, tmp_path_factory):
    """What a cache remembers of the graph of ``sea64``, so that not every process has to check it."""
    from edgel3_onnx.store import weights

    folder = tmp_path_factory.mktemp("checked")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EDGEL3_ONNX_CACHE", str(folder))
        weights.convert_file(seeded_graph("sea-64"), "sea-64")
    return list(folder.iterdir())


@pytest.fixture
def command(seeded_graph, checked):
    """The command line in a process of its own, by default with the model of ``sea64``: a function from
    arguments to subprocess.CompletedProcess; ``command.start`` gives the running process instead."""
    model = ["--model-type", "sea", "--emb-dim", "64", "--weights", str(seeded_graph("sea-64"))]
    for path in checked:
        shutil.copy(path, os.environ["EDGEL3_ONNX_CACHE"])

    def line(args, with_model):
        return [sys.executable, "-P", "-m", "edgel3_onnx", *map(str, args), *(model if with_model else [])]

    def run(*args, with_model=True, **options):
        return subprocess.run(line(args, with_model), capture_output=True, timeout=120, **{"text": True, **options})

    def start(*args, with_model=True, **options):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(line(args, with_model), **{**streams, **options})

    run.start = start
    return run


@pytest.fixture(scope="session")
def seeded(tmp_path_factory) -> bytes:
    """Uncompressed whole-model HDF5 of a sea-64 network with seeded weights."""
    import golden
    from edgel3_onnx.spec import NETWORKS

    path = tmp_path_factory.mktemp("seeded") / "weights.h5"
    golden.write_h5(path, golden.weights(0, NETWORKS["sea-64"]), "sea-64", layout="model")
    return path.read_bytes()


@pytest.fixture(scope="session")
def published(seeded) -> bytes:
    """The same in the form of a published file."""
    return gzip.compress(seeded, 1, mtime=0)


@pytest.fixture
def variant(published):
    """sea-64 with the digest of ``published`` in place of the published weights'."""
    from edgel3_onnx.store.download import git_blob_id
    from edgel3_onnx.store.registry import variants

    return dataclasses.replace(variants()["sea-64"], git_blob_id=git_blob_id(published))


@pytest.fixture
def mirror(published, variant, monkeypatch, tmp_path) -> Path:
    """A directory with the file of ``variant``; offline."""
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", str(tmp_path))
    (tmp_path / variant.file).write_bytes(published)
    return tmp_path


@pytest.fixture
def fed(tmp_path):
    """A function that gives samples (N, C) and findings of bytes on a pipe, at 8 kHz; all must have been taken."""
    import numpy as np

    from edgel3_onnx.recordings.pipe import open_pipe
    from edgel3_onnx.recordings.pipe_reader import PipeReader

    def feed(content, raw=None, reader=PipeReader):
        (tmp_path / "stdin").write_bytes(content)
        descriptor = os.open(tmp_path / "stdin", os.O_RDONLY)
        try:
            audio = open_pipe(reader(descriptor), raw)
            blocks = list(audio.blocks())
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == len(content)  # so that who writes can end
        finally:
            for thread in threading.enumerate():
                if thread.name == "edgel3-onnx-pipe":  # it takes all, whatever the decoder does
                    thread.join(10)
            os.close(descriptor)
        assert audio.sample_rate == 8000
        return np.concatenate(blocks) if blocks else np.zeros((0, 1)), audio.findings()

    return feed
