"""micro, the model that ships with the package, from end to end and without a network."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

import micro_golden
from conftest import posix_only
from edgel3_onnx import EmbeddingStream, get_embedding, load_embedding_model, load_embedding_model_path
from edgel3_onnx.export.convert.quantize import quantize
from parity import least_cosine, relative_error

ROOT = Path(__file__).parents[1]
# The golden values were computed by another version of ONNX Runtime or on another processor, perhaps.
LIMIT = 1e-4
CASE = micro_golden.CASES[0]


def expected(case):
    return np.load(case.path)["embedding"]


@functools.cache
def can_unshare():
    return shutil.which("unshare") and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0


def without_network(command, **options):
    if not can_unshare():
        pytest.skip("needs the right to make a network namespace (unshare -n)")
    return subprocess.run(["unshare", "-n", *map(str, command)], capture_output=True, text=True, **options)


@pytest.mark.filterwarnings("ignore:Provided audio is shorter:edgel3_onnx.EdgeL3Warning")
@pytest.mark.parametrize("case", micro_golden.CASES, ids=lambda case: case.path.stem)
def test_golden(case):
    embedding, _ = get_embedding(case.audio(), case.sr, model_type="micro", hop_size=case.hop_size, verbose=0)
    assert relative_error(embedding, expected(case)) <= LIMIT


def test_it_comes_from_the_package_and_says_what_it_is():
    model = load_embedding_model("micro")
    assert Path(load_embedding_model_path("micro")).parent.name == "onnx_models"
    assert (model.info.variant, model.info.licence, model.embedding_dim) == ("micro", "MIT", 64)
    assert "student of SEA-64" in model.info.citation


def test_a_stream_gives_the_same(tmp_path):
    stream = EmbeddingStream(load_embedding_model("micro"), CASE.sr, CASE.hop_size)
    chunks = [stream.push(chunk)[0] for chunk in np.array_split(CASE.audio(), 37)]
    assert relative_error(np.concatenate([*chunks, stream.flush()[0]]), expected(CASE)) <= LIMIT


def test_the_command_needs_no_network_and_no_cache(tmp_path):
    soundfile.write(tmp_path / "clip.wav", CASE.audio(), CASE.sr, subtype="FLOAT")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEL3_ONNX_")}
    command = [sys.executable, "-P", "-m", "edgel3_onnx", "clip.wav", "--model-type", "micro"]
    done = without_network(command, cwd=tmp_path, env={**environment, "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert relative_error(np.load(tmp_path / "clip.npz")["embedding"], expected(CASE)) <= LIMIT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.npz", "clip.wav"]


def test_a_folder_in_two_processes(tmp_path, command):
    for name in ("a", "sub/b"):
        path = tmp_path / "in" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, CASE.audio(), CASE.sr, subtype="FLOAT")
    options = ["--recursive", "--output", tmp_path / "out", "--jobs", 2, "--model-type", "micro"]
    assert command(tmp_path / "in", *options, with_model=False).returncode == 0
    for name in ("a", "sub/b"):
        saved = np.load(tmp_path / "out" / f"{name}.npz")
        assert relative_error(saved["embedding"], expected(CASE)) <= LIMIT
        assert json.loads(str(saved["metadata"]))["variant"] == "micro"


def test_nothing_falls_back_to_it(tmp_path, command):
    soundfile.write(tmp_path / "clip.wav", CASE.audio(), CASE.sr)
    done = command(tmp_path / "clip.wav", with_model=False)
    assert done.returncode == 1 and not (tmp_path / "clip.npz").exists()
    assert "Cannot get the weights of sparse-ft-95.45" in done.stderr and "--model-type micro" in done.stderr


@posix_only
@pytest.mark.slow
def test_a_wheel_installs_and_embeds_with_the_network_cut(tmp_path):
    """The wheel is built here; what it depends on is taken from the environment of the tests."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    without_package = tmp_path / "dependencies"
    without_package.mkdir()
    for folder in map(Path, dict.fromkeys(p for p in sys.path if p.endswith("site-packages"))):
        for item in folder.iterdir():
            if not item.name.startswith(("edgel3_onnx", "__editable__")) and not (without_package / item.name).exists():
                (without_package / item.name).symlink_to(item)
    (site / "dependencies.pth").write_text(str(without_package))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEL3_ONNX_")}
    environment["HOME"] = str(tmp_path)
    installed = without_network(
        [python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", wheel], env=environment
    )
    assert installed.returncode == 0, installed.stderr
    soundfile.write(tmp_path / "clip.wav", CASE.audio(), CASE.sr, subtype="FLOAT")
    command = [tmp_path / "venv" / "bin" / "edgel3-onnx", "clip.wav", "--model-type", "micro"]
    done = without_network(command, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert relative_error(np.load(tmp_path / "clip.npz")["embedding"], expected(CASE)) <= LIMIT
    where = without_network(
        [python, "-c", "import edgel3_onnx; print(edgel3_onnx.__file__)"], cwd=tmp_path, env=environment
    )
    assert where.stdout.startswith(str(site))


def test_int8_comes_from_the_package_too():
    model = load_embedding_model("micro", precision="int8")
    assert model.info.path == Path(load_embedding_model_path("micro")).with_suffix(".int8.onnx")
    assert model.info.precision == "int8" and model.info.path.stat().st_size <= 200_000
    embedding, _ = get_embedding(CASE.audio(), CASE.sr, model, hop_size=CASE.hop_size, verbose=0)
    assert least_cosine(embedding, expected(CASE)) >= 0.97


def test_the_int8_graph_is_made_from_the_fp32_one():
    """One of an earlier micro would be at 0.99."""
    fp32, int8 = (Path(load_embedding_model_path("micro", precision=precision)) for precision in ("fp32", "int8"))
    images = np.random.default_rng(0).uniform(-80, 0, (32, 1, 64, 50)).astype(np.float32)
    made, shipped = (
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"melspectrogram": images})[0]
        for graph in (quantize(fp32.read_bytes(), "int8"), int8.read_bytes())
    )
    assert least_cosine(made, shipped) >= 0.9999
