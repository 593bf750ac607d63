"""Runs over folders: what is found, what is left alone, and what remains after a run was stopped or killed."""

import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, cli, get_embedding
from edgel3_onnx.command import corpus
from edgel3_onnx.corpora import inputs
from edgel3_onnx.outputs.inspect import read_metadata


def write(path, seconds=1.2, seed=0, sr=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, golden.audio(sr, seconds, seed), sr)
    return path


def outputs(folder, but_partial=False):
    """Embedding and metadata of every file below ``folder`` by relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not (but_partial and path.suffix == ".part"):
            with np.load(path, allow_pickle=False) as arrays:
                found[str(path.relative_to(folder))] = arrays["embedding"], json.loads(arrays["metadata"].item())
    return found


def assert_same_outputs(found, expected):
    assert found.keys() == expected.keys()
    for name, (embedding, metadata) in expected.items():
        assert found[name][1] == metadata
        assert found[name][0].shape == embedding.shape
        # A file's windows may share batches with other files' in one run and not in the other.
        np.testing.assert_allclose(found[name][0], embedding, rtol=0, atol=1e-5 * np.abs(embedding).max())


def records(path):
    return {record["path"]: record for record in map(json.loads, path.read_text().splitlines())}


@pytest.fixture
def folder(tmp_path):
    """A small corpus in sub-folders, with one name twice."""
    for k, name in enumerate(["b.wav", "a.flac", "one/x.wav", "two/x.wav", "two/deep/y.ogg", "notes.txt"]):
        if name.endswith("txt"):
            (tmp_path / "in" / name).write_text("not audio")
        else:
            write(tmp_path / "in" / name, 0.7 + 0.4 * k, k)
    return tmp_path / "in"


class TestPlan:
    def test_directory_is_sorted_and_not_recursive(self, folder):
        plan = corpus.plan_run([folder])
        assert [(task.path, task.output) for task in plan.tasks] == [
            (str(folder / "a.flac"), str(folder / "a.npz")),
            (str(folder / "b.wav"), str(folder / "b.npz")),
        ]

    def test_recursive_mirrors_sub_folders(self, folder):
        plan = corpus.plan_run([folder], "out", "s", recursive=True)
        names = [os.path.relpath(task.output, "out") for task in plan.tasks]
        assert names == ["a_s.npz", "b_s.npz", "one/x_s.npz", "two/x_s.npz", "two/deep/y_s.npz"]

    def test_same_output_twice_is_refused(self, folder):
        write(folder / "one" / "x.flac")
        with pytest.raises(EdgeL3ArgumentError, match=r"1 outputs .*\n.*x\.npz from .*x\.flac, .*x\.wav"):
            corpus.plan_run([folder], "out", recursive=True)
        with pytest.raises(EdgeL3ArgumentError, match="more than one input"):
            corpus.plan_run([folder / "one" / "x.wav", folder / "two" / "x.wav"], "out")

    def test_same_input_twice_is_done_once(self, folder):
        plan = corpus.plan_run([folder / "b.wav", folder, folder / "." / "b.wav"])
        assert [os.path.basename(task.path) for task in plan.tasks] == ["b.wav", "a.flac"]

    def test_output_that_is_an_input_is_refused(self, folder):
        write(folder / "c.npy.wav").rename(folder / "c.npy")
        with pytest.raises(EdgeL3ArgumentError, match="is one of the inputs"):
            corpus.plan_run([folder / "c.npy"], format="npy")

    def test_directory_without_recordings_is_a_problem(self, tmp_path):
        (tmp_path / "sub").mkdir()
        (task,) = corpus.plan_run([tmp_path]).tasks
        assert "no recordings" in task.problem

    @posix_only
    def test_links_to_directories_are_noted(self, folder):
        (folder / "loop").symlink_to(folder)
        plan = corpus.plan_run([folder], recursive=True)
        assert len(plan.tasks) == 5 and "loop" in plan.notes[0]

    def test_files_for_the_absent_pyav_are_noted(self, folder, monkeypatch):
        (folder / "c.m4a").write_bytes(b"x")
        monkeypatch.setattr(inputs, "has_av", lambda: False)
        plan = corpus.plan_run([folder])
        assert len(plan.tasks) == 2 and "edgel3-onnx[av]" in plan.notes[0]


def test_processes_give_what_one_gives(folder, tmp_path, command):
    for jobs in ("1", "3"):
        done = command(folder, "-r", "-o", tmp_path / jobs, "--jobs", jobs, "--report", tmp_path / f"{jobs}.jsonl")
        assert done.returncode == 0, done.stderr
        assert "5 done, 0 skipped, 0 failed" in done.stderr
    assert_same_outputs(outputs(tmp_path / "3"), outputs(tmp_path / "1"))
    assert len(outputs(tmp_path / "1")) == 5
    assert records(tmp_path / "3.jsonl") == {
        path: {**record, "output": record["output"].replace(str(tmp_path / "1"), str(tmp_path / "3"))}
        for path, record in records(tmp_path / "1.jsonl").items()
    }


@posix_only
def test_nasty_folder(tmp_path, command):
    nasty = tmp_path / "nasty"
    good = [
        write(nasty / name, 1.1, k)
        for k, name in enumerate(["good.wav", "naïve ♪.wav", "new\nline.flac", "sub/good.wav"])
    ]
    if sys.platform == "linux":  # others have no names but Unicode
        surrogate = nasty / os.fsdecode(b"latin-\xe9.wav")
        write(nasty / "x.wav").rename(surrogate)
        good.append(surrogate)
    bad = [nasty / name for name in ("empty.wav", "trunc.wav", "none.wav", "self.wav", "gone.wav")]
    corrupt = bytearray(write(nasty / "corrupt.flac", 3).read_bytes())
    corrupt[len(corrupt) // 2 : len(corrupt) // 2 + 4000] = bytes(4000)
    (nasty / "corrupt.flac").write_bytes(corrupt)
    bad[0].write_bytes(b"")
    bad[1].write_bytes(write(nasty / "x.wav", 3).read_bytes()[:9000])
    (nasty / "x.wav").unlink()
    soundfile.write(bad[2], np.zeros(0), 8000)
    bad[3].symlink_to(bad[3].name)
    bad[4].symlink_to("nowhere.wav")
    (nasty / "loop").symlink_to(".")
    if os.geteuid() != 0:  # root reads everything
        bad.append(write(nasty / "secret.wav"))
        bad[-1].chmod(0)
    (nasty / "folder.wav").mkdir()

    done = command(nasty, "--recursive", "-o", tmp_path / "out", "--report", tmp_path / "r.jsonl")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == len(bad)
    found = records(tmp_path / "r.jsonl")
    good.append(nasty / "corrupt.flac")
    assert {path for path, record in found.items() if record["status"] == "done"} == {str(path) for path in good}
    assert [path for path, record in found.items() if not record["complete"]] == [str(nasty / "corrupt.flac")]
    assert f"{len(good)} done (1 in part), 0 skipped" in done.stderr and "zeros for" in done.stderr
    failed = {path: record for path, record in found.items() if record["status"] == "failed"}
    assert failed.keys() == {str(path) for path in bad} and all(record["reason"] for record in failed.values())
    assert len(outputs(tmp_path / "out")) == len(good)

    flat = command(nasty, "-o", tmp_path / "flat", "--report", tmp_path / "f.jsonl")
    assert flat.returncode == 1
    assert "is a directory" in records(tmp_path / "f.jsonl")[str(nasty / "folder.wav")]["reason"]


class TestSkipExisting:
    def run(self, command, folder, out, *args):
        done = command(folder, "-r", "-o", out, "--skip-existing", *args)
        assert done.returncode == 0, done.stderr
        return done.stderr.splitlines()[-1]

    @pytest.fixture
    def format(self):
        return "npz"

    @pytest.fixture
    def made(self, format, command, folder, tmp_path):
        args = ["--format", format]
        assert "5 done, 0 skipped" in self.run(command, folder, tmp_path / "out", *args)
        return tmp_path / "out", args

    def test_whole_outputs_of_the_same_options_are_kept(self, made, command, folder):
        out, args = made
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.np*")}
        assert "0 done, 5 skipped" in self.run(command, folder, out, *args)
        assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.np*")}

    @pytest.mark.parametrize("format", ["npz", "npy"])
    def test_damaged_and_missing_ones_are_done_again(self, made, command, folder):
        out, args = made
        damaged, *_, missing = sorted(out.rglob("*.np*"))
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: len(whole) * 2 // 3])
        missing.unlink()
        assert "2 done, 3 skipped" in self.run(command, folder, out, *args)
        assert damaged.read_bytes() == whole

    def test_changed_sources_are_done_again(self, made, command, folder):
        out, args = made
        write(folder / "b.wav", 3, 77)
        assert "1 done, 4 skipped" in self.run(command, folder, out, *args)

    @pytest.mark.parametrize("option", [["--hop-size", "0.5"], ["-n"], ["--resampler", "soxr"]])
    def test_other_options_are_done_again(self, made, command, folder, option):
        out, args = made
        assert "5 done, 0 skipped" in self.run(command, folder, out, *args, *option)

    def test_overwrite_does_all_again(self, made, command, folder):
        out, args = made
        done = command(folder, "-r", "-o", out, "--overwrite", *args)
        assert "5 done, 0 skipped" in done.stderr

    def test_dry_run_tells_which(self, made, command, folder):
        out, args = made
        sorted(out.rglob("*.np*"))[0].unlink()
        done = command(folder, "-r", "-o", out, "--dry-run", "--skip-existing", *args)
        assert len(done.stdout.splitlines()) == 1 and "1 to do, 4 to skip" in done.stderr
        assert len(list(out.rglob("*.np*"))) == 4


@posix_only
def test_killed_runs_are_resumed(tmp_path, command):
    for k in range(40):
        write(tmp_path / "in" / f"{k % 3}" / f"{k}.wav", 0.3 + 0.1 * (k % 30), k)
    args = [tmp_path / "in", "-r", "--skip-existing"]
    expected_run = command(*args, "-o", tmp_path / "expected")
    assert expected_run.returncode == 0
    rng = random.Random(4)
    killed = 0
    for attempt in range(6):
        process = command.start(*args, "-o", tmp_path / "out", "--jobs", 1 + attempt % 2, start_new_session=True)
        deadline = time.monotonic() + 20
        before = len(list(tmp_path.glob("out/*/*.npz")))
        while len(list(tmp_path.glob("out/*/*.npz"))) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert_same_outputs(
            finished := outputs(tmp_path / "out", but_partial=True),
            {name: value for name, value in outputs(tmp_path / "expected").items() if name in finished},
        )
    assert killed >= 3
    resumed = command(*args, "-o", tmp_path / "out")
    assert resumed.returncode == 0 and " 0 skipped" not in resumed.stderr
    assert_same_outputs(outputs(tmp_path / "out"), outputs(tmp_path / "expected"))  # no temporary file either


@pytest.mark.parametrize(
    ("signum", "status", "jobs", "format"),
    [
        (signal.SIGINT, 130, 1, "npz"),
        (signal.SIGTERM, 143, 2, "npz"),
        (signal.SIGTERM, 143, 1, "parquet"),
        (signal.SIGINT, 130, 2, "parquet"),
    ],
)
@posix_only
def test_signals_stop_cleanly(tmp_path, command, signum, status, jobs, format):
    for k in range(30):
        write(tmp_path / "in" / f"{k:02}.wav", 6, k)
    process = command.start(
        tmp_path / "in", "-o", tmp_path / "out", "--jobs", jobs, "--format", format, start_new_session=True
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("out/*.npz")) and not list(tmp_path.glob("out/.*.part")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signum)  # as a terminal and as a service manager do: to all processes
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status, errors
    assert "Traceback" not in errors and signal.Signals(signum).name in errors
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".part"]
    for path in tmp_path.glob("out/*.*"):
        assert read_metadata(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_what_a_dead_worker_had_is_done_by_others(tmp_path, command, format):
    for k in range(12):
        write(tmp_path / "in" / f"{k:02}.wav", 8, k)
    process = command.start(
        *(tmp_path / "in", "-o", tmp_path / "out", "--jobs", 2, "--threads", 1, "--format", format),
        *("--report", tmp_path / "r.jsonl"),
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("out/*.npz")) and not list(tmp_path.glob("out/.*.part")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    found = records(tmp_path / "r.jsonl")
    assert process.returncode == 0 and {record["status"] for record in found.values()} == {"done"}, errors
    if format == "npz":
        assert len(found) == len(outputs(tmp_path / "out", but_partial=True)) == 12
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(tmp_path / "out").to_pydict()
        assert len(set(zip(table["path"], table["timestamp"], strict=True))) == len(table["path"]) == 12 * 76


KILLER = """
import builtins, multiprocessing, os, signal
real = builtins.open
def deadly(file, *args, **kwargs):
    if "poison" in str(file) and multiprocessing.current_process().name == "edgel3-onnx-worker":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(file, *args, **kwargs)
builtins.open = deadly
"""


def test_a_file_that_kills_its_process_fails_alone(tmp_path, command):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLER)
    for k in range(8):
        write(tmp_path / "in" / f"{k:02}.wav", 2, k)
    poison = write(tmp_path / "in" / "03poison.wav", 2)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    args = [tmp_path / "in", "-o", tmp_path / "out", "--jobs", 2, "--threads", 1]
    done = command(*args, env=environment)
    assert done.returncode == 1 and "8 done, 0 skipped, 1 failed" in done.stderr
    assert f"{poison}: the process that worked on it was killed by signal 9, twice" in done.stderr
    assert len(outputs(tmp_path / "out")) == 8


@pytest.mark.parametrize("format", ["npz", "npy", "parquet"])
@posix_only
def test_full_disk(tmp_path, command, format):
    import resource

    write(tmp_path / "in" / "a.wav", 1)
    write(tmp_path / "in" / "b.wav", 15)
    args = ["--format", format, "-o", tmp_path / "out", "--skip-existing"]
    assert command(tmp_path / "in" / "a.wav", *args).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.*")}
    limit = 16_000  # bytes of one file; more than a.wav's output, less than b.wav's
    full = command(
        tmp_path / "in" / "b.wav",
        *args,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert full.returncode == 1 and "cannot be written (File too large)" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr and "Exception ignored" not in full.stderr
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.*")}


class TestParquet:
    def test_rows_are_those_of_the_files(self, folder, tmp_path, command, sea64):
        parquet = pytest.importorskip("pyarrow.parquet")
        done = command(folder, "-r", "--format", "parquet", "-o", tmp_path / "set", "--jobs", 2)
        assert done.returncode == 0, done.stderr
        table = parquet.read_table(tmp_path / "set")
        assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[64]"
        paths = np.array(table["path"].to_pylist())
        assert set(paths) == {str(path) for path in folder.rglob("*") if path.suffix in (".wav", ".flac", ".ogg")}
        for path in set(paths):
            audio, sr = soundfile.read(path, dtype="float32")
            with warnings.catch_warnings(action="ignore"):  # one of them is short
                embedding, timestamps = get_embedding(audio, sr, sea64, verbose=0)
            rows = table.filter(paths == path)
            np.testing.assert_array_equal(rows["timestamp"].to_numpy(), timestamps)
            found = np.array(rows["embedding"].to_pylist(), np.float32)
            np.testing.assert_allclose(found, embedding, rtol=0, atol=1e-5 * np.abs(embedding).max())
        sources = [s for part in (tmp_path / "set").glob("*.*") for s in read_metadata(part)["sources"]]
        assert len(sources) == 5 and all(source["variant"] == "sea-64" for source in sources)

    def test_going_on_and_replacing(self, folder, tmp_path, command):
        parquet = pytest.importorskip("pyarrow.parquet")
        args = [folder, "--format", "parquet", "-o", tmp_path / "set"]
        assert command(*args).returncode == 0
        refused = command(*args)
        assert refused.returncode == 1 and "--skip-existing" in refused.stderr
        assert "3 done, 2 skipped" in command(*args, "-r", "--skip-existing").stderr
        rows = parquet.read_table(tmp_path / "set").num_rows
        other = command(*args, "-r", "--skip-existing", "-t", "0.5")
        assert other.returncode == 1 and other.stderr.count("error:") == 1
        assert "was made with hop_size 0.1, this run has 0.5: replace it by --overwrite" in other.stderr
        assert parquet.read_table(tmp_path / "set").num_rows == rows
        assert "5 done" in command(*args, "-r", "--overwrite", "-t", "0.5").stderr
        assert parquet.read_table(tmp_path / "set").num_rows < rows

    def test_rows_do_not_depend_on_how_the_input_was_typed(self, folder, tmp_path, command, monkeypatch):
        args = ["--format", "parquet", "-o", tmp_path / "set", "--report", tmp_path / "r.jsonl"]
        assert command(folder, *args, "-r").returncode == 0
        absolute = {record["absolute_path"] for record in records(tmp_path / "r.jsonl").values()}
        assert absolute == {str(path) for path in folder.rglob("*") if path.suffix in (".wav", ".flac", ".ogg")}
        for typed, cwd in (("in", tmp_path), ("./in", tmp_path), ("../in", folder), (".", folder)):
            done = command(typed, *args, "-r", "--skip-existing", cwd=cwd)
            assert "0 done, 5 skipped, 0 failed" in done.stderr, typed
            assert absolute == {record["absolute_path"] for record in records(tmp_path / "r.jsonl").values()}

    def test_replacing_removes_nothing_before_there_is_something_new(self, folder, tmp_path, command):
        pytest.importorskip("pyarrow")
        args = ["--format", "parquet", "-o", tmp_path / "set", "--overwrite"]
        assert command(folder, *args).returncode == 0
        before = {path.name: path.read_bytes() for path in (tmp_path / "set").glob("*.*")}
        assert command(folder, *args, "--provider", "cuda").returncode == 1  # which is not installed
        (tmp_path / "bad.wav").write_bytes(b"RIFF")
        assert command(tmp_path / "bad.wav", *args).returncode == 1
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "set").glob("*.*")}
        assert command(folder / "b.wav", *args).returncode == 0
        assert len(list((tmp_path / "set").glob("*.*"))) == 1 and before.keys().isdisjoint(os.listdir(tmp_path / "set"))

    def test_parts_of_other_programs_are_never_touched(self, folder, tmp_path, command):
        parquet = pytest.importorskip("pyarrow.parquet")
        import pyarrow

        (tmp_path / "set").mkdir()
        foreign = tmp_path / "set" / "part-0.parquet"
        parquet.write_table(pyarrow.table({"x": [1]}), foreign)
        for option in ([], ["--overwrite"], ["--skip-existing"]):
            done = command(folder, "--format", "parquet", "-o", tmp_path / "set", *option)
            assert done.returncode == 1 and done.stderr.count("error:") == 1
            assert f"{foreign}: is no output of edgel3-onnx" in done.stderr
        assert parquet.read_table(foreign).to_pydict() == {"x": [1]} and len(list((tmp_path / "set").glob("*.*"))) == 1

    def test_datasets_of_the_first_release_are_refused_or_replaced(self, folder, tmp_path, command):
        parquet = pytest.importorskip("pyarrow.parquet")
        args = [folder, "--format", "parquet", "-o", tmp_path / "set"]
        assert command(*args).returncode == 0
        (part,) = (tmp_path / "set").glob("*.*")
        table, sources = parquet.read_table(part), read_metadata(part)["sources"]
        for source in sources:
            source["weights_sha256"] = source.pop("source_sha256")
            del source["graph_sha256"], source["absolute_path"]
        old = table.drop_columns(["start_sample"]).replace_schema_metadata({"edgel3_onnx": json.dumps(sources)})
        part.unlink()
        shutil.rmtree(tmp_path / "set" / "_plan")  # there were no plans
        part = part.with_name("part-0123456789abcdef0123456789abcdef.parquet")
        parquet.write_table(old, part)
        done = command(*args, "--skip-existing")
        assert done.returncode == 1 and done.stderr.count("error:") == 1
        assert "was made by edgel3-onnx 0.1.0, whose records do not say which graph ran" in done.stderr
        assert "2 done" in command(*args, "--overwrite").stderr
        assert part.name not in os.listdir(tmp_path / "set")


def test_run_is_a_function_too(folder, tmp_path, seeded_graph, capsys):
    model = {"model_type": "sea", "emb_dim": 64, "weights": seeded_graph("sea-64")}
    (folder / "c.wav").write_bytes(b"")
    summary = cli.run([str(folder)], str(tmp_path / "out"), **model)
    assert (summary.done, summary.skipped, summary.failed) == (2, 0, 1)
    assert summary.audio_seconds == pytest.approx(0.7 + 1.1)
    assert capsys.readouterr().err.splitlines() == [f"edgel3-onnx: error: {folder / 'c.wav'}: is empty (0 bytes)"]
    with pytest.raises(EdgeL3ArgumentError, match="jobs"):
        cli.run([str(folder)], jobs=0, **model)
    with pytest.raises(EdgeL3Error, match="weights"):
        cli.run([str(folder)], model_type="sea", emb_dim=64)
