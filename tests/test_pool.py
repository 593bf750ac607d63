"""How the work of a run is shared among processes: through the command and its function, as users meet it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3Error, cli, embed_corpus, load_embedding_model
from edgel3_onnx.corpora import embed

UNGUARDED = """
import sys
from edgel3_onnx import EdgeL3Error, cli
from edgel3_onnx.command import runner
try:
    cli.run(sys.argv[1], sys.argv[2], model_type="micro", jobs=2)
except EdgeL3Error as error:
    print("caught", error)
"""
GUARDED = """
import sys
from edgel3_onnx import cli
if __name__ == "__main__":
    cli.run(sys.argv[1], sys.argv[2], model_type="micro", jobs=2)
"""

# What each process of a run does first: leave a file in the folder LOG, or end.
WITNESS = """
import os, sys
if "--multiprocessing-fork" in sys.orig_argv:
    open(os.path.join(os.environ["LOG"], str(os.getpid())), "w").close()
"""
DOOMED = """
import os, sys
if "--multiprocessing-fork" in sys.orig_argv:
    os._exit(7)
"""


@pytest.fixture
def recordings(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(6):
        soundfile.write(tmp_path / "in" / f"{k}.wav", golden.audio(8000, 1.2, k), 8000)
    return tmp_path / "in"


def site(tmp_path, code):
    """An environment in which each Python that starts runs ``code``."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(code)
    (tmp_path / "log").mkdir()
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "LOG": str(tmp_path / "log")}


def micro(*args, **options):
    command = [sys.executable, "-P", "-m", "edgel3_onnx", *map(str, args), "--model-type", "micro"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_a_script_without_a_main_guard_is_told(recordings, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    command = [sys.executable, script, recordings, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert f"{script} must start its run under  if __name__ == '__main__':" in done.stdout
    assert done.stdout.startswith("caught a worker process ended with status ")


def test_with_a_main_guard_it_runs(recordings, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(GUARDED)
    command = [sys.executable, script, recordings, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sys.orig_argv of processes that are spawned")
@pytest.mark.parametrize("jobs", [2, 3])
def test_as_many_processes_as_jobs(recordings, tmp_path, jobs):
    environment = site(tmp_path, WITNESS)
    done = micro(recordings, "-o", tmp_path / "out", "--jobs", jobs, "--threads", 1, env=environment)
    assert done.returncode == 0 and "6 done" in done.stderr
    assert len(os.listdir(tmp_path / "log")) == jobs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sys.orig_argv of processes that are spawned")
def test_processes_that_all_die_end_the_run(recordings, tmp_path):
    done = micro(recordings, "-o", tmp_path / "out", "--jobs", 2, env=site(tmp_path, DOOMED))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "edgel3-onnx: error: a worker process ended with status 7 without having worked on any file"


def test_an_error_of_a_process_is_that_of_the_run(recordings, tmp_path):
    with pytest.raises(EdgeL3Error, match="provider 'cuda'"):
        cli.run(recordings, tmp_path / "out", model_type="micro", jobs=2, provider="cuda")


@pytest.mark.parametrize(("jobs", "given", "expected"), [(2, None, 4), (3, None, 2), (9, None, 1), (2, 5, 5)])
def test_jobs_divide_the_processors_among_them(recordings, tmp_path, monkeypatch, jobs, given, expected):
    asked = []

    def no_work(tasks, options, count, on_progress):
        asked.append((options.model.num_threads, count))
        yield from ()

    monkeypatch.setattr(cli, "available_cpus", lambda: 8)
    monkeypatch.setattr("edgel3_onnx.corpora.pool.work_in_processes", no_work)
    cli.run(recordings, tmp_path / "out", model_type="micro", jobs=jobs, num_threads=given)
    assert asked == [(expected, jobs)]


@pytest.mark.parametrize(
    ("workers", "given", "loaded", "threads"),
    [
        (None, None, None, None),
        (1, None, None, None),
        (2, None, None, 4),
        (3, None, None, 2),
        (9, None, None, 1),
        (2, 3, None, 3),
        (1, 3, None, 3),
        (2, None, 5, 5),
        (2, 3, 5, 3),
    ],
)
def test_workers_divide_the_processors_among_them(recordings, tmp_path, monkeypatch, workers, given, loaded, threads):
    asked = []

    def no_work(found, work, running):
        asked.append((work.model.num_threads, running.workers))
        yield from ()

    monkeypatch.setattr(embed, "available_cpus", lambda: 8)
    monkeypatch.setattr(embed, "embed_inputs", no_work)
    model = load_embedding_model("micro", num_threads=loaded)
    embed_corpus(recordings, tmp_path / "out", model=model, workers=workers, cpus_per_worker=given)
    assert asked == [(threads, workers or 1)]


@posix_only
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_signal_that_is_ignored_from_the_start_stays_ignored(tmp_path, jobs):
    """As under nohup, or where a shell starts a command in the background."""
    for k in range(12):
        (tmp_path / "in").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "in" / f"{k:02}.wav", golden.audio(8000, 4, k), 8000)
    command = [sys.executable, "-P", "-m", "edgel3_onnx", tmp_path / "in", "-o", tmp_path / "out", "--jobs", str(jobs)]
    process = subprocess.Popen(
        [*command, "--model-type", "micro"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    deadline = time.monotonic() + 60
    while not list(Path(tmp_path).glob("out/*.npz")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "12 done" in errors, errors
