"""Which file is to blame for processes that die, found out by processes that are threads here, and die when told."""

import os
import signal
import threading
from collections import Counter
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3Error, embed_corpus, load_embedding_model
from edgel3_onnx.corpora import attempts
from edgel3_onnx.corpora.attempts import attempt, killers
from edgel3_onnx.corpora.place import Folder
from edgel3_onnx.corpora.plan import PlanFile
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.recordings.decode import ReadingOptions
from test_corpora import failures, rows

pytest.importorskip("pyarrow")
pytestmark = posix_only  # connections are descriptors


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


class Death(BaseException):
    """The end of a process, with its exit code."""


class Process(threading.Thread):
    """A thread in place of a process; it ends its connection when it ends."""

    def __init__(self, target, args, name):
        super().__init__(name=name, daemon=True)
        theirs = Connection(os.dup(args[0].fileno()))  # as a process has it: the other is closed
        self._work, self._given, self.exitcode, self.killed = target, (theirs, *args[1:]), None, False

    def run(self):
        try:
            self._work(*self._given)
            self.exitcode = 0
        except Death as death:
            self.exitcode = death.args[0]
        finally:
            self._given[0].close()


class Processes:
    """A multiprocessing context.

    Attributes
    ----------
    deaths : dict of str to list of int
        Exit codes of the processes that work next on the files of these names.
    embedded : Counter of str
    started : list of Process
    ignored : set of (signal, action)
    """

    Pipe = staticmethod(Pipe)

    def __init__(self):
        self.deaths, self.embedded, self.started, self.ignored = {}, Counter(), [], set()
        self.kind = Process

    def Process(self, **arguments):
        self.started.append(self.kind(**arguments))
        return self.started[-1]


@pytest.fixture
def processes(monkeypatch):
    found = Processes()
    embed_files = attempts.embed_files

    def embed(model, jobs, *args, **kwargs):
        name = os.path.basename(jobs[0].path)
        found.embedded[name] += 1
        if waiting := found.deaths.get(name):
            raise Death(waiting.pop(0))
        return embed_files(model, jobs, *args, **kwargs)

    monkeypatch.setattr(attempts, "embed_files", embed)
    monkeypatch.setattr(attempts, "get_context", lambda how: found)
    monkeypatch.setattr(attempts.signal, "signal", lambda number, action: found.ignored.add((number, action)))
    return found


@pytest.fixture
def folder(tmp_path):
    for k in range(4):
        soundfile.write(tmp_path / f"{k}.wav", golden.audio(8000, 1.1, k), 8000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    return tmp_path


def blamed(folder, micro, names=("0.wav", "1.wav", "bad.wav", "2.wav", "3.wav")):
    paths = [str(folder / name) for name in names]
    found = killers(paths, micro.options, EmbeddingOptions(), ReadingOptions(), None)
    return {os.path.basename(path): how for path, how in found.items()}


def test_the_files_that_end_two_processes_each_are_to_blame(processes, folder, micro):
    processes.deaths = {"1.wav": [-9, -9], "2.wav": [3, 1]}
    assert blamed(folder, micro) == {
        "1.wav": "the process that worked on it was killed by signal 9, twice",
        "2.wav": "the process that worked on it ended with status 1, twice",
    }
    assert processes.embedded == {"0.wav": 1, "1.wav": 2, "bad.wav": 1, "2.wav": 2, "3.wav": 1}
    assert len(processes.started) == 5  # a new one after each death
    assert not any(process.is_alive() for process in processes.started)
    assert processes.ignored == {(signal.SIGINT, signal.SIG_IGN), (signal.SIGTERM, signal.SIG_IGN)}


def test_a_file_that_ends_one_process_may_have_had_bad_luck(processes, folder, micro):
    processes.deaths = {"0.wav": [-9], "3.wav": [-9]}
    assert blamed(folder, micro) == {}
    assert processes.embedded == {"0.wav": 2, "1.wav": 1, "bad.wav": 1, "2.wav": 1, "3.wav": 2}


def test_a_process_that_does_not_end_is_killed(processes, micro):
    class Stubborn(Process):
        def join(self, timeout=None):
            self.patience = timeout

        def is_alive(self):
            return not self.killed

        def kill(self):
            self.killed, self.last_patience = True, self.patience

    processes.kind = Stubborn
    child = attempts._Child(micro.options, EmbeddingOptions(), ReadingOptions(), None)
    child.stop()
    (process,) = processes.started
    assert process.killed and process.last_patience == 5 and process.patience is None


def test_attempts_are_counted_where_the_dataset_lies(tmp_path, monkeypatch):
    place = Folder(str(tmp_path))
    for killed in range(3):
        with pytest.raises(Death), monkeypatch.context() as patch:
            patch.setattr(place, "remove", lambda name: None)  # as if it were killed
            with attempt(place, "chunk") as before:
                assert before == killed
                raise Death
    assert len(place.names("_attempts")) == 3
    with attempt(place, "other") as before:
        assert before == 0
        assert len(place.names("_attempts")) == 4
    with pytest.raises(ZeroDivisionError), attempt(place, "chunk") as before:
        assert before == 3
        raise ZeroDivisionError  # an end that leaves no mark, but those of the others
    assert len(place.names("_attempts")) == 3
    with attempt(place, "chunk") as before:
        assert before == 3
    assert place.names("_attempts") == []  # done after all


def test_a_chunk_over_which_processes_died_is_done_without_the_one_to_blame(processes, folder, micro, tmp_path):
    processes.deaths = {"1.wav": [-11, -11]}
    out, plan = tmp_path / "set", tmp_path / "plan"
    embed_corpus(folder, out, model=micro, plan=plan)
    (chunk,) = next(PlanFile(Folder(str(tmp_path)), "plan").chunk_names())
    (out / "_attempts").mkdir(parents=True)
    for mark in ("0", "1"):
        (out / "_attempts" / f"{chunk}-{mark}").write_bytes(b"")
    summary = embed_corpus(None, out, model=micro, plan=plan)
    assert (summary.done, summary.failed) == (3, 2)
    assert failures(out) == {
        "1.wav": "the process that worked on it was killed by signal 11, twice",
        "bad.wav": failures(out)["bad.wav"],
    }
    assert {os.path.basename(path) for path in rows(out)["path"].to_pylist()} == {"0.wav", "2.wav", "3.wav"}
    assert os.listdir(out / "_attempts") == []
    processes.embedded.clear()
    again = embed_corpus(folder, out, model=micro, existing="skip")
    assert (again.skipped, again.failed, dict(processes.embedded)) == (3, 2, {})
    os.utime(folder / "1.wav", ns=(1, 1))  # another file may be better
    assert embed_corpus(folder, out, model=micro, existing="skip").done == 1


def test_a_plan_that_is_replaced_meanwhile_is_not_worked_on(folder, micro, tmp_path):
    out = tmp_path / "set"

    def remove_plan(record):
        for path in (out / "_plan").iterdir():
            path.unlink()

    with pytest.raises(EdgeL3Error, match=r"_plan/plan-\w+\.parquet: is gone, since another run replaces the dataset$"):
        embed_corpus(folder, out, model=micro, chunk_files=1, on_record=remove_plan)
    assert len(list(out.glob("part-*"))) == 1
