"""A system call of a run fails: one line says so, nothing is lost, and the next run completes what is missing."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
