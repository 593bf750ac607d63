"""tools/fuzz notices what breaks its rule, keeps the input, and goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent.parent / "tools" / "fuzz"
TARGETS = """
import os
from dataclasses import dataclass
from typing import Any
from edgel3_onnx import EdgeL3Error

@dataclass
class Target:
    name: str
    read: Any
    is_isolated: bool = False
    def samples(self):
        return [b"sample"]
    def mutate(self, random, data):
        return data + bytes([random.randrange(256)])

def refuse(data):
    if data[-1] < 128:
        raise EdgeL3Error("x: takes too much memory" if data[-1] == 7 else "x: damaged")

def fail(data):
    if data[-1] == 5:
        raise KeyError("secret")

def die(data):
    if data[-1] == 5:
        os.abort()

def grow(data):
    bytearray(3 << 30)

TARGETS = {each.__name__: Target(each.__name__, each) for each in (refuse, fail, die, grow)}
TARGETS["die-alone"] = Target("die-alone", die, is_isolated=True)
"""


@pytest.fixture
def fuzz(tmp_path):
    if sys.platform != "linux":
        pytest.skip("tools/fuzz is for Linux")
    shutil.copy(FUZZ, tmp_path)
    (tmp_path / "fuzz_targets.py").write_text(TARGETS)

    def run(*arguments):
        command = [sys.executable, str(tmp_path / "fuzz"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100)

    return run


def counts(done, name):
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"{name} "))
    return [int(count) for count in line.split()[1:]]


def test_what_is_read_or_refused_is_counted(fuzz, tmp_path):
    done = fuzz("--targets", "refuse", "--seconds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    inputs, read, refused, stopped, broken = counts(done, "refuse")
    assert inputs == read + refused + stopped > 100 and read > 10 and refused > 10 and stopped > 0 and broken == 0
    assert not (tmp_path / "fuzz-findings").exists()


def test_what_is_isolated_may_die(fuzz, tmp_path):
    done = fuzz("--targets", "die-alone", "--seconds", "2")
    assert done.returncode == 0
    inputs, read, refused, stopped, broken = counts(done, "die-alone")
    assert inputs == read + stopped and read > 50 and stopped > 1 and refused == broken == 0
    assert not (tmp_path / "fuzz-findings").exists()


@pytest.mark.parametrize(
    ("target", "reason"),
    [("fail", "KeyError: 'secret'"), ("die", "the process died with status -6"), ("grow", "MemoryError: ")],
)
def test_what_breaks_the_rule_is_kept(fuzz, tmp_path, target, reason):
    done = fuzz("--targets", target, "--seconds", "0.6")
    assert done.returncode == 1 and counts(done, target)[4] >= 1
    found = tmp_path / "fuzz-findings" / f"{target}-1"
    assert found.read_bytes().startswith(b"sample")
    assert target == "grow" or found.read_bytes()[-1] == 5
    assert f"  fuzz-findings/{target}-1: {reason}" in done.stdout
    if target == "fail":
        assert fuzz("--targets", "fail", "--replay", str(found)).stdout == "broken KeyError: 'secret'\n"
