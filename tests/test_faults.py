"""A system call of a run fails: one line says so, nothing is lost, and the next run completes what is missing.

And without a failure: the disk has each file before the file has its name, and the name before the run says so.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

import golden
from faults import FAULTS, SCENARIOS, STATE

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc")
    if platform.libc_ver()[0] != "glibc" or compiler is None:
        pytest.skip("needs glibc and a C compiler")
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", path, HERE / "faults.c", "-ldl"], check=True)
    return path


def attempt(library, folder, scenario, fault, step):
    if "parquet" in scenario:
        pytest.importorskip("pyarrow")
    (folder / "state").write_bytes(bytes(STATE.size))
    environment = {**os.environ, "LD_PRELOAD": str(library), "FAULTS_STATE": str(folder / "state")}
    command = [sys.executable, "-P", str(HERE / "faults.py"), str(folder), scenario, fault, str(step)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result["violations"], "\n".join(result["violations"])
    return result["tried"]


@pytest.mark.parametrize(
    ("scenario", "fault", "step", "least"),
    [("npz", "EIO", 16, 8), ("npy", "ENOSPC", 3, 2), ("parquet", "EIO", 9, 5), ("parquet-anew", "EACCES", 4, 3)],
)
def test_some_calls_that_fail(library, tmp_path, scenario, fault, step, least):
    assert attempt(library, tmp_path, scenario, fault, step) >= least


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_call_that_fails(library, tmp_path, scenario, fault, capsys):
    """With several processes every seventh, since each run starts them."""
    tried = attempt(library, tmp_path, scenario, fault, 7 if "jobs" in scenario else 1)
    with capsys.disabled():
        print(f"\n{scenario}, {fault}: {tried} calls failed, one after another")
    assert tried >= 1


def run_logged(library, folder, *options):
    """What a run over ``in`` calls, in order, each with the path that it is about; and the records of its report."""
    report, state, log = folder / "report.jsonl", folder.parent / "state", folder.parent / "log"
    state.write_bytes(STATE.pack(0, 0, 0, 0, b"", f"{folder.parent}/".encode(), b""))
    environment = {**os.environ, "LD_PRELOAD": str(library), "FAULTS_STATE": str(state), "FAULTS_LOG": str(log)}
    command = [sys.executable, "-P", "-m", "edgel3_onnx", folder / "in", *options, "--report", report]
    done = subprocess.run([*command, "--model-type", "micro"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    calls = [line.split(" ", 1) for line in log.read_text().splitlines()]
    return calls, [json.loads(line) for line in report.read_text().splitlines()]


@pytest.mark.parametrize("options", ["npz", "npy --jobs 2", "csv"])
def test_the_disk_has_each_file_before_its_name_and_the_name_before_it_is_reported(library, tmp_path, options):
    if options == "csv":
        pytest.importorskip("pyarrow")
    folder = tmp_path / "run"
    (folder / "in").mkdir(parents=True)
    for k in range(4):
        soundfile.write(folder / "in" / f"{k}.wav", golden.audio(8000, 1.2, k), 8000)
    out = folder / "new" / "out"
    calls, records = run_logged(library, folder, "-o", out, "--format", *options.split())
    assert [record["status"] for record in records] == ["done"] * 4
    synced, unsynced, durable = set(), set(), set()  # files; names that the disk may not have, and that it has
    for call, path in calls:
        if call == "write" and path.endswith("report.jsonl"):
            output = records.pop(0)["output"]
            assert output in durable if output else any("/part-" in name for name in durable)
            assert output is None or {str(out), str(out.parent)} <= durable
        elif call in ("write", "ftruncate"):
            synced.discard(path)
        elif call == "fsync":
            synced.add(path)
            durable |= (found := {name for name in unsynced if os.path.dirname(name) == path})
            unsynced -= found
        elif call == "rename":
            assert path in synced
        elif call in ("name", "mkdir"):
            unsynced.add(path)
    lost = {name for name in unsynced if not name.endswith("/_attempts")}  # whose marks may get lost
    assert records == [] and lost == set()
    named = sorted(os.path.relpath(name, folder) for name in durable if os.path.isfile(name))
    if options == "csv":
        kinds = [name.split("-")[0] for name in named]
        assert kinds == ["new/out.csv", "new/out/_plan/plan", "new/out/part"]
    else:
        assert named == [f"new/out/{k}.{options[:3]}" for k in range(4)]
