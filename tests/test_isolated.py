"""What reads files from elsewhere can loop, eat memory or die without harm to this process."""

import os
import subprocess
import sys
import time

import pytest

import misbehaving
from edgel3_onnx import EdgeL3Error
from edgel3_onnx.export.convert import isolated


def call(function, *arguments, data=b"data"):
    return isolated.call(function, data, *arguments, source_file="x.h5")


def test_the_result_comes_back_whatever_a_library_prints():
    data = os.urandom(3 << 20)
    assert call(misbehaving.echo, b"\n\0", data=data) == data + b"\n\0"
    process, safe_path = call(misbehaving.process_id).split()
    assert int(process) != os.getpid() and safe_path == b"True"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (misbehaving.refuse, r"^x\.h5: of another kind$"),
        (misbehaving.fail, r"^x\.h5: damaged \(OverflowError: [^\n]*\)$"),
        (misbehaving.never_return, r"^x\.h5: damaged: reading it takes longer than the 0\.5 s that it may$"),
        (misbehaving.die, r"^x\.h5: damaged: reading it ended the process \([^\n]+\)$"),
        pytest.param(
            misbehaving.take_all_memory,
            r"^x\.h5: damaged: reading it takes too much memory$",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="this system has no limit of memory"),
        ),
    ],
)
def test_every_misbehaviour_is_one_error_of_one_line(function, message, monkeypatch):
    monkeypatch.setattr(isolated, "TIME_LIMIT_S", 0.5)
    started = time.monotonic()
    with pytest.raises(EdgeL3Error, match=message):
        call(function)
    assert time.monotonic() - started < 30


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no limit of memory")
def test_a_gigabyte_may_be_taken():
    assert call(misbehaving.take, 900 << 20) == b"%d" % (900 << 20)
    with pytest.raises(EdgeL3Error, match=r"^x\.h5: damaged: reading it takes too much memory$"):
        call(misbehaving.take, 1050 << 20)


@pytest.mark.parametrize(
    ("kind", "message"), [("EdgeL3Error", "x" * 500), ("ValueError", f"x.h5: damaged (ValueError: {'x' * 188})")]
)
def test_a_long_message_is_cut(kind, message):
    with pytest.raises(EdgeL3Error) as caught:
        call(misbehaving.say, kind, 900)
    assert str(caught.value) == message


def test_a_missing_package_is_named():
    with pytest.raises(ModuleNotFoundError) as caught:
        call(misbehaving.want_a_package)
    assert caught.value.name == "h5py"


def test_a_program_without_interpreter_reads_by_itself(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert call(misbehaving.process_id).split()[0] == str(os.getpid()).encode()
    with pytest.raises(EdgeL3Error, match=r"^x\.h5: damaged \(OverflowError"):
        call(misbehaving.fail)


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no limit of memory")
def test_a_process_may_grow_from_where_it_is():
    code = (
        "import resource; from edgel3_onnx.export.convert import isolated; isolated.limit_memory(1 << 28); "
        "pages = int(open('/proc/self/statm').read().split()[0]); "
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] - pages * resource.getpagesize())"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == pytest.approx(1 << 28, abs=1 << 24)
