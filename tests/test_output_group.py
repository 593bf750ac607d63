"""Outputs that get their names together: what one of them does to the others, and an interruption to all."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3Error, cli, durable, load_embedding_model, process_file
from edgel3_onnx.command import interrupt, runner
from edgel3_onnx.command.corpus import plan_run
from edgel3_onnx.command.runner import RunOptions
from edgel3_onnx.models import ModelOptions
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.outputs import group
from edgel3_onnx.outputs.group import OutputGroup

COUNT = 5


class Clock:
    """Time that goes on by ``step`` seconds whenever it is asked for, and by ``disk`` seconds in a wait for a file."""

    def __init__(self, monkeypatch, step, disk):
        self.now, self.step, self.disk, self.synced = 0.0, step, disk, []
        monkeypatch.setattr(group.time, "monotonic", self.tell)
        monkeypatch.setattr(os, "fsync", self.sync)

    def tell(self):
        self.now += self.step
        return self.now

    def sync(self, descriptor):
        self.now += self.disk
        self.synced.append(descriptor)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(COUNT):
        soundfile.write(tmp_path / "in" / f"{k}.wav", golden.audio(8000, 1.2, k), 8000)
    return tmp_path / "in"


@pytest.fixture
def patient(monkeypatch):
    """A group waits until it is full, or all is done."""
    monkeypatch.setattr(group, "_SHARE", -1.0)


def refuse(monkeypatch, *numbers):
    """Let the disk refuse files, counted from 0 in the order in which they are synced."""
    asked = []

    def fail_some(descriptor):
        asked.append(descriptor)
        if len(asked) - 1 in numbers:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("edgel3_onnx.atomic.sync_file", fail_some)


def write(group, path, data):
    with group.replacing(path) as file:
        file.write(data)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_outputs_have_no_name_before_they_are_committed(tmp_path):
    (tmp_path / "1").write_bytes(b"before")
    with OutputGroup() as outputs:
        for k in range(3):
            write(outputs, tmp_path / str(k), b"after")
        found = contents(tmp_path)
        assert found.pop("1") == b"before" and set(found.values()) == {b"after"}
        assert len(found) == 3 and all(name.endswith(".part") for name in found)
        assert outputs.commit() == {}
        assert contents(tmp_path) == dict.fromkeys("012", b"after")


def test_one_that_the_disk_refuses_leaves_the_others(tmp_path, monkeypatch):
    (tmp_path / "1").write_bytes(b"before")
    refuse(monkeypatch, 1)
    with OutputGroup() as outputs:
        for k in range(3):
            write(outputs, tmp_path / str(k), b"after")
        ((path, error),) = outputs.commit().items()
    assert path == str(tmp_path / "1") and str(error) == f"{path}: cannot be written (Input/output error)"
    assert contents(tmp_path) == {"0": b"after", "1": b"before", "2": b"after"}


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_one_that_is_not_written_to_its_end_leaves_the_others(tmp_path, stop):
    (tmp_path / "1").write_bytes(b"before")
    wanted = EdgeL3Error if isinstance(stop, OSError) else KeyboardInterrupt
    with pytest.raises(wanted), OutputGroup() as outputs:
        write(outputs, tmp_path / "0", b"after")
        with outputs.replacing(tmp_path / "1") as file:
            file.write(b"half")
            raise stop
    assert contents(tmp_path) == {"0": b"after", "1": b"before"}


def test_an_interruption_of_the_wait_loses_one_at_most(tmp_path, monkeypatch):
    waits = []

    def interrupted_once(descriptor):
        waits.append(descriptor)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("edgel3_onnx.atomic.sync_file", interrupted_once)
    with pytest.raises(KeyboardInterrupt), OutputGroup() as outputs:
        for k in range(4):
            write(outputs, tmp_path / str(k), b"after")
        outputs.commit()
    assert contents(tmp_path) == dict.fromkeys("023", b"after")


@pytest.mark.parametrize(
    ("between", "disk", "sizes"),
    [(1.0, 0.001, [1] * 40), (0.001, 0.0, [1] * 40), (0.001, 5.0, [1, 32]), (0.1, 0.01, [1, 9])],
    ids=["slow to come", "no disk", "slow disk", "in between"],
)
def test_a_group_is_due_when_waiting_costs_little_or_many_wait(tmp_path, monkeypatch, between, disk, sizes):
    """A wait is for each file, and once for the folder."""
    clock = Clock(monkeypatch, 0.0, disk)
    outputs, found, waiting = OutputGroup(), [], 0
    for k in range(40):
        clock.now += between
        write(outputs, tmp_path / str(k), b"x")
        waiting += 1
        if outputs.is_due:
            assert outputs.commit() == {}
            found.append(waiting)
            waiting = 0
            assert outputs.is_due  # nothing waits: what has no output need not
    assert found == sizes
    outputs.commit()


def test_without_a_way_to_sync_all_at_once_each_file_is(tmp_path, monkeypatch):
    clock = Clock(monkeypatch, 0.0, 0.0)
    monkeypatch.setattr(durable.ctypes, "CDLL", lambda name: object())
    with OutputGroup() as outputs:
        for k in range(3):
            write(outputs, tmp_path / str(k), b"x")
    assert len(clock.synced) == 4 and contents(tmp_path) == dict.fromkeys("012", b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="syncfs")
def test_several_are_synced_at_once_first(tmp_path, monkeypatch):
    calls = []

    class Library:
        def syncfs(self, descriptor):
            assert os.path.dirname(os.readlink(f"/proc/self/fd/{descriptor}")) == str(tmp_path)
            calls.append("all")

    monkeypatch.setattr(durable.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("one"))
    with OutputGroup() as outputs:
        write(outputs, tmp_path / "0", b"x")
        outputs.commit()
        assert calls == ["one", "one"]
        for k in range(2):
            write(outputs, tmp_path / str(k), b"x")
    assert calls[2:] == ["all", "one", "one", "one"]


def test_a_run_says_which_outputs_the_disk_refused(folder, tmp_path, monkeypatch, patient, capsys):
    """In the order of the inputs, a bad one among them."""
    (folder / "1.wav").write_bytes(b"")
    refuse(monkeypatch, 1, 3)  # of 0, 2, 3 and 4
    summary = cli.run(folder, tmp_path / "out", model_type="micro", report=tmp_path / "report")
    assert (summary.done, summary.failed) == (2, 3)
    records = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert [(os.path.basename(each["path"]), each["status"]) for each in records] == [
        ("0.wav", "done"),
        ("1.wav", "failed"),
        ("2.wav", "failed"),
        ("3.wav", "done"),
        ("4.wav", "failed"),
    ]
    reason = f"{tmp_path / 'out' / '4.npz'}: cannot be written (Input/output error)"
    assert records[4]["reason"] == reason
    assert f"error: {folder / '4.wav'}: {reason}" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / "out")) == ["0.npz", "3.npz"]


def test_process_file_says_which_outputs_the_disk_refused(folder, tmp_path, monkeypatch, patient):
    refuse(monkeypatch, 2)
    paths = [folder / f"{k}.wav" for k in range(COUNT)]
    reason = rf"^{tmp_path / 'out' / '2.npz'}: cannot be written \(Input/output error\)$"
    with pytest.raises(EdgeL3Error, match=reason):
        process_file(paths, tmp_path / "out", model_type="micro", verbose=False)
    assert sorted(os.listdir(tmp_path / "out")) == ["0.npz", "1.npz", "3.npz", "4.npz"]


def records_of(folder, out, **options):
    tasks = plan_run([folder], out).tasks
    options = RunOptions(ModelOptions("micro", 64), EmbeddingOptions(), **options)
    return runner.work(load_embedding_model("micro"), tasks, options)


def test_a_run_that_nobody_listens_to_any_more_saves_what_it_wrote(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(group, "_MOST", 3)
    monkeypatch.setattr(group, "_SHARE", -1.0)
    with closing(records_of(folder, tmp_path / "out")) as records:
        assert os.path.basename(next(records).path) == "0.wav"
    assert sorted(os.listdir(tmp_path / "out")) == ["0.npz", "1.npz", "2.npz"]
    for path in (tmp_path / "out").iterdir():
        assert np.load(path)["embedding"].shape[1] == 64


@posix_only
@pytest.mark.parametrize("at", [0, 2, "wait"])
def test_an_interrupted_run_saves_what_it_wrote_and_says_so(folder, tmp_path, monkeypatch, patient, at):
    """Between files, and while it waits for the disk."""
    if at == "wait":
        monkeypatch.setattr("edgel3_onnx.atomic.sync_file", lambda descriptor: signal.raise_signal(signal.SIGINT))
    else:
        save = runner._save

        def interrupted(task, *args):
            if task.path.endswith(f"{at}.wav"):
                signal.raise_signal(signal.SIGINT)
            return save(task, *args)

        monkeypatch.setattr(runner, "_save", interrupted)
    said = []
    with pytest.raises(interrupt.Interrupted), interrupt.raising_on_signals():
        for record in records_of(folder, tmp_path / "out"):
            said.append((os.path.basename(record.path), record.status))
    count = COUNT if at == "wait" else at
    assert said == [(f"{k}.wav", "done") for k in range(count)]
    assert sorted(os.listdir(tmp_path / "out") if count else []) == [f"{k}.npz" for k in range(count)]


@posix_only
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_whole_outputs_and_nothing_else(tmp_path, jobs):
    """Groups are as they are; what is there is what --skip-existing keeps."""
    (tmp_path / "in").mkdir()
    for k in range(150):
        soundfile.write(tmp_path / "in" / f"{k:03}.wav", golden.audio(8000, 1.2, 0), 8000)
    command = [sys.executable, "-P", "-m", "edgel3_onnx", tmp_path / "in", "-o", tmp_path / "out"]
    command += ["--model-type", "micro", "--jobs", str(jobs), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("out/*.npz"))) < 20:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    names = os.listdir(tmp_path / "out")
    assert 20 <= len(names) < 150 and all(name.endswith(".npz") for name in names)
    again = subprocess.run([*command, "--skip-existing"], capture_output=True, text=True)
    assert f"{150 - len(names)} done, {len(names)} skipped, 0 failed" in again.stderr
