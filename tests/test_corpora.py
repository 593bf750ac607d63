"""A dataset that several processes and runs make together: each window in it once, whatever ends them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, cli, embed_corpus, load_embedding_model
from edgel3_onnx.outputs.inspect import read_metadata

pytest.importorskip("pyarrow")
HERE = Path(__file__).parent
KEYS = [("path", "ascending"), ("timestamp", "ascending")]


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


def write(folder, names, seconds=1.3):
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        soundfile.write(folder / name, golden.audio(8000, seconds + 0.3 * (k % 4), k), 8000)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "in", [f"{k}.wav" for k in range(7)])
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    return tmp_path / "in"


def rows(dataset):
    """All rows of a dataset, sorted; each window is there once."""
    from pyarrow import parquet

    table = parquet.read_table(dataset).sort_by(KEYS)
    windows = list(zip(table["path"].to_pylist(), table["start_sample"].to_pylist(), strict=True))
    assert len(set(windows)) == len(windows)
    return table


def assert_same_rows(found, expected):
    assert found.drop_columns(["embedding"]).equals(expected.drop_columns(["embedding"]))
    values = [np.array(table["embedding"].to_pylist(), np.float32) for table in (found, expected)]
    # Windows may share batches with other files' in one run and not in the other.
    np.testing.assert_allclose(*values, rtol=0, atol=1e-5 * np.abs(values[1]).max())


def failures(dataset):
    """The reason of each file that ``_errors`` names."""
    from pyarrow import parquet

    tables = [parquet.read_table(path) for path in (Path(dataset) / "_errors").glob("part-*.parquet")]
    return {os.path.basename(row["path"]): row["reason"] for table in tables for row in table.to_pylist()}


def test_shards_together_are_the_whole(folder, tmp_path, micro):
    whole, parts, plan = tmp_path / "whole", tmp_path / "parts", tmp_path / "plan.parquet"
    assert embed_corpus(folder, whole, model=micro).done == 7
    planned = embed_corpus(folder, parts, model=micro, plan=plan, chunk_files=2)
    assert planned.planned == 8 and not parts.exists()
    records = []
    shard = {"inputs": None, "output": parts, "model": micro, "plan": plan, "on_record": records.append}
    for number in (2, 0, 3, 1, 2):  # one of them twice
        embed_corpus(**shard, shard=(number, 4))
    by_status = {}
    for record in records:
        by_status.setdefault(record.status, []).append(os.path.basename(record.path))
    assert sorted(by_status["done"]) == [f"{k}.wav" for k in range(7)] and len(by_status["skipped"]) == 2
    assert by_status["failed"] == ["bad.wav"] and failures(parts) == {"bad.wav": "is empty (0 bytes)"}
    assert_same_rows(rows(parts), rows(whole))
    before = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert embed_corpus(**shard).skipped == 7
    assert before == {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}


def test_a_plan_and_its_shards_on_the_command_line(folder, tmp_path, command):
    args = ["--format", "parquet", "-o", tmp_path / "set", "--plan", tmp_path / "plan.parquet"]
    made = command(folder, *args)
    assert made.returncode == 0 and "8 to do" in made.stderr and not (tmp_path / "set").exists()
    first = command(*args, "--shard", "0/2")
    assert first.returncode == 1 and "7 done" in first.stderr  # all in one chunk, the bad one too
    assert "0 done, 0 skipped, 0 failed" in command(*args, "--shard", "1/2").stderr
    other = command(*args, "-t", "0.5")
    assert other.returncode == 1 and "was made with hop_size 0.1, this run has 0.5" in other.stderr
    for wrong in (["--shard", "2/2"], [folder, "--shard", "0/2"], ["--overwrite"], ["--workers", "2"]):
        assert command(*args, *wrong).returncode == 2


def test_a_plan_that_has_what_is_there_already_is_refused(folder, tmp_path, micro):
    plan = tmp_path / "plan.parquet"
    embed_corpus(folder, tmp_path / "set", model=micro, plan=plan)
    embed_corpus(folder / "3.wav", tmp_path / "set", model=micro)
    with pytest.raises(EdgeL3Error, match=r"plan\.parquet: has .*3\.wav, which is in another plan of .*set"):
        embed_corpus(None, tmp_path / "set", model=micro, plan=plan)


def test_a_plan_for_a_dataset_that_was_made_otherwise_is_refused(folder, tmp_path, micro):
    plan = tmp_path / "plan.parquet"
    embed_corpus(folder / "3.wav", tmp_path / "set", model=micro, options={"hop_size": 0.5})
    embed_corpus(folder / "4.wav", tmp_path / "other", model=micro, plan=plan)
    with pytest.raises(EdgeL3Error, match=r"set/? was made with hop_size 0\.5, this run has 0\.1"):
        embed_corpus(None, tmp_path / "set", model=micro, plan=plan)
    assert set(rows(tmp_path / "set")["path"].to_pylist()) == {str(folder / "3.wav")}


def test_failures_that_cannot_be_read_are_told(folder, tmp_path, micro):
    embed_corpus(folder, tmp_path / "set", model=micro)
    (path,) = (tmp_path / "set" / "_errors").glob("part-*.parquet")
    path.write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(EdgeL3Error, match=re.escape(f"{path}: cannot be read (")):
        embed_corpus(folder, tmp_path / "set", model=micro, existing="skip")


def test_a_plan_says_how_many_records_there_will_be(folder, tmp_path, micro, monkeypatch):
    totals = []
    monkeypatch.setattr("edgel3_onnx.command.report.Reporter.expect", lambda reporter, total: totals.append(total))
    plan = tmp_path / "plan.parquet"
    embed_corpus(folder, tmp_path / "set", model=micro, plan=plan, chunk_files=2)
    options = {"model_type": "micro", "format": "parquet", "plan": plan}
    counts = cli.run([], tmp_path / "set", **options, shard=(1, 2))
    assert counts.done + counts.failed == totals[-1] == 4
    counts = cli.run([], tmp_path / "set", **options)
    assert (counts.done + counts.failed + counts.skipped, totals[-1]) == (8, 8)


@pytest.mark.parametrize(
    "wrong",
    [{"inputs": None}, {"shard": (2, 2)}, {"shard": (0, 2)}, {"workers": 0}, {"existing": "keep"}, {"engine": "spark"}],
)
def test_arguments_that_are_not_allowed(folder, tmp_path, micro, wrong):
    with pytest.raises(EdgeL3ArgumentError):
        embed_corpus(**{"inputs": folder, "output": tmp_path / "set", "model": micro, **wrong})


def test_inputs_from_a_file(folder, tmp_path, micro):
    listing = tmp_path / "list.txt"
    listing.write_text(f"{folder / '2.wav'}\n\n{folder / '0.wav'}\r\n{folder / '2.wav'}\n")
    options = {"model_type": "micro", "format": "parquet", "inputs_from": listing}
    assert cli.run([], tmp_path / "set", **options).done == 2
    assert sorted(set(rows(tmp_path / "set")["path"].to_pylist())) == [str(folder / "0.wav"), str(folder / "2.wav")]
    assert cli.run([], tmp_path / "npz", model_type="micro", inputs_from=listing).done == 2


def test_a_file_that_changes_after_it_was_planned_is_no_part_of_it(folder, tmp_path, micro):
    plan = tmp_path / "plan.parquet"
    embed_corpus(folder, tmp_path / "set", model=micro, plan=plan)
    soundfile.write(folder / "4.wav", golden.audio(8000, 3, 77), 8000)
    summary = embed_corpus(None, tmp_path / "set", model=micro, plan=plan)
    assert (summary.done, summary.failed) == (6, 2)
    assert "has changed since it was planned" in failures(tmp_path / "set")["4.wav"]
    again = embed_corpus(folder, tmp_path / "set", model=micro, existing="skip")
    assert (again.done, again.skipped, again.failed) == (1, 6, 1)
    assert rows(tmp_path / "set")["path"].to_pylist().count(str(folder / "4.wav")) == 26


def test_failures_are_tried_again_and_again(folder, tmp_path, micro):
    options = {"model": micro, "existing": "skip"}
    for _ in range(3):
        assert embed_corpus(folder, tmp_path / "set", **options).failed == 1
    write(folder, ["bad.wav"])
    assert embed_corpus(folder, tmp_path / "set", **options).done == 1
    assert embed_corpus(folder, tmp_path / "set", **options).skipped == 8
    assert len(set(rows(tmp_path / "set")["path"].to_pylist())) == 8


def test_a_file_that_fails_after_rows_of_it_were_written(tmp_path, micro, monkeypatch):
    """A NaN at the end: the part is begun again without it."""
    from pyarrow import parquet

    from edgel3_onnx.corpora import parts

    monkeypatch.setattr(parts, "_GROUP_VALUES", 64 * 64)
    write(tmp_path / "in", ["a.wav", "c.wav"])
    samples = golden.audio(8000, 40, 3)
    soundfile.write(tmp_path / "in" / "d.wav", samples, 8000, subtype="FLOAT")
    samples[-1] = np.nan
    soundfile.write(tmp_path / "in" / "b.wav", samples, 8000, subtype="FLOAT")
    summary = embed_corpus(tmp_path / "in", tmp_path / "set", model=micro)
    assert (summary.done, summary.failed) == (3, 1)
    assert "finite" in failures(tmp_path / "set")["b.wav"]
    found = rows(tmp_path / "set")
    assert set(found["path"].to_pylist()) == {str(tmp_path / "in" / name) for name in ("a.wav", "c.wav", "d.wav")}
    (part,) = (tmp_path / "set").glob("part-*")
    groups = parquet.ParquetFile(part).metadata
    sizes = [groups.row_group(k).num_rows for k in range(groups.num_row_groups)]
    assert max(sizes) <= 2 * 64 + 32 and sum(sizes) == found.num_rows  # of a long file, several
    assert {source["windows"] for source in read_metadata(part)["sources"]} == {9, 12, 396}


class Server:
    """Of histories.py."""

    def __init__(self):
        command = [sys.executable, "-P", str(HERE / "histories.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, kill_at=None, **arguments):
        arguments = {name: str(each) if isinstance(each, Path) else each for name, each in arguments.items()}
        self._process.stdin.write(json.dumps({"arguments": arguments, "kill_at": kill_at}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def stop(self):
        self._process.stdin.close()
        self._process.wait(20)


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


@posix_only
def test_a_run_that_is_killed_wherever_it_touches_the_dataset(folder, tmp_path, micro, server):
    embed_corpus(folder, tmp_path / "whole", model=micro)
    for number in range(1, 90, 5):
        out = tmp_path / f"set{number}"
        arguments = {"inputs": folder, "output": out, "existing": "skip", "chunk_files": 3}
        died = server.run(number, **arguments)["status"] != 0
        if list(out.glob("part-*")):
            rows(out)
        done = len(list(out.glob("part-*")))
        records = []
        embed_corpus(folder, out, model=micro, existing="skip", on_record=records.append)
        assert sum(record.status == "skipped" for record in records) >= 2 * done  # of those parts, nothing is redone
        assert_same_rows(rows(out), rows(tmp_path / "whole"))
        assert failures(out) == {"bad.wav": "is empty (0 bytes)"}
        assert not [path for path in out.rglob("*") if path.suffix == ".part"]
        if not died:
            break
    assert number > 20 and not died


@posix_only
def test_a_replacement_that_is_killed_leaves_the_old_rows_or_the_new(folder, tmp_path, micro, server):
    old, new = tmp_path / "old", tmp_path / "new"
    embed_corpus(folder, old, model=micro, options={"hop_size": 0.5})
    embed_corpus(folder, new, model=micro)
    for number in range(1, 90, 5):
        out = tmp_path / f"set{number}"
        embed_corpus(folder, out, model=micro, options={"hop_size": 0.5})
        died = server.run(number, inputs=folder, output=out, existing="replace", chunk_files=3)["status"] != 0
        try:  # whoever comes next finishes it
            embed_corpus(folder, out, model=micro, existing="skip", options={"hop_size": 0.5})
        except EdgeL3Error as error:
            assert "was made with hop_size 0.1" in str(error)
            embed_corpus(folder, out, model=micro, existing="skip")
            assert_same_rows(rows(out), rows(new))
        else:
            assert died
            assert_same_rows(rows(out), rows(old))
        if not died:
            break
    assert number > 10 and not died


class Histories(RuleBasedStateMachine):
    """Runs and shards, some of them killed, over files that become more."""

    @initialize()
    def begin(self):
        self.number = Histories.count = Histories.count + 1
        self.inputs = Histories.folder / f"{self.number}" / "in"
        self.out = self.inputs.with_name("set")
        self.files = 0
        self.plan = None
        self.more(3)

    def run(self, kill_at, **arguments):
        Histories.server.run(kill_at, output=self.out, chunk_files=2, **arguments)
        if list(self.out.glob("part-*")):
            rows(self.out)

    @rule(count=st.integers(1, 3))
    def more(self, count):
        write(self.inputs, [f"{self.files + k}.wav" for k in range(count)], 1.0 + 0.05 * self.files)
        (self.inputs / f"bad{self.files}.wav").write_bytes(b"RIFF")
        self.files += count

    @rule(kill_at=st.integers(1, 40))
    def killed_run(self, kill_at):
        self.run(kill_at, inputs=self.inputs, existing="skip")

    @rule()
    def make_plan(self):
        self.plan = self.inputs.with_name(f"plan{self.files}.parquet")
        arguments = {"inputs": self.inputs, "existing": "skip", "plan": self.plan}
        Histories.server.run(None, output=self.out, chunk_files=2, **arguments)

    @precondition(lambda self: self.plan is not None)
    @rule(number=st.integers(0, 2), kill_at=st.one_of(st.none(), st.integers(1, 30)))
    def shard(self, number, kill_at):
        self.run(kill_at, inputs=None, plan=self.plan, shard=[number, 3])

    def teardown(self):
        if not hasattr(self, "inputs"):
            return
        last = Histories.server.run(None, output=self.out, inputs=self.inputs, existing="skip")
        assert last["status"] == 0
        whole = self.inputs.with_name("whole")
        embed_corpus(self.inputs, whole, model=load_embedding_model("micro", num_threads=1))
        assert_same_rows(rows(self.out), rows(whole))
        assert failures(self.out).keys() == failures(whole).keys()


def tell_histories(folder, server, count, kind=Histories):
    Histories.folder, Histories.server, Histories.count = folder, server, 0
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=count,
            stateful_step_count=6,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        ),
    )


@posix_only
def test_three_histories(tmp_path, server):
    tell_histories(tmp_path, server, 3)
