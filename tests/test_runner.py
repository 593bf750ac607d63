"""What a run does with each of its files, and what it says of them: in one process, through cli.run."""

import json
import os

import numpy as np
import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3Error, cli, embed_corpus, load_embedding_model, process_file
from edgel3_onnx.corpora import parts
from edgel3_onnx.outputs import dataset
from edgel3_onnx.outputs.inspect import read_metadata

FORMATS = ["npz", "npy", "parquet"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for k, seconds in enumerate([1.2, 2.0, 0.7]):
        soundfile.write(tmp_path / "in" / f"{k}.wav", golden.audio(8000, seconds, k), 8000)
    return tmp_path / "in"


def run(inputs, out, **options):
    """Summary as a tuple, and the records of the report."""
    report = out.parent / "report.jsonl"
    summary = cli.run(inputs, out, model_type="micro", report=report, **options)
    records = [json.loads(line) for line in report.read_text().splitlines()]
    return (summary.done, summary.skipped, summary.failed), records


def sources(out):
    """The record of each recording in a dataset."""
    return {each["path"]: each for part in dataset.parts(str(out)) for each in read_metadata(part)["sources"]}


@pytest.mark.parametrize("format", FORMATS)
def test_records_of_each_fate(folder, tmp_path, format):
    out = tmp_path / "out"
    assert run(folder / "1.wav", out, format=format)[0] == (1, 0, 0)
    (folder / "bad.wav").write_bytes(b"")
    counts, records = run(folder, out, format=format, existing="skip")
    assert counts == (2, 1, 1)
    by_name = {os.path.basename(record["path"]): record for record in records}
    assert {name: record["status"] for name, record in by_name.items()} == {
        "0.wav": "done",
        "1.wav": "skipped",
        "2.wav": "done",
        "bad.wav": "failed",
    }
    assert by_name["0.wav"]["windows"] == 8 and by_name["0.wav"]["seconds"] == pytest.approx(1.2)
    assert by_name["2.wav"]["windows"] == 3 and "shorter than the window" in by_name["2.wav"]["warnings"][0]
    assert by_name["1.wav"]["windows"] == 0 and by_name["1.wav"]["reason"] is None
    assert by_name["bad.wav"]["reason"] == "is empty (0 bytes)"
    for name, record in by_name.items():
        assert record["absolute_path"] == str(folder / name)
        output = None if format == "parquet" else str(out / f"{name[:-4]}.{format}")
        assert record["output"] == output and (output is None or os.path.exists(output) == (name != "bad.wav"))
    assert run(folder, out, format=format, existing="skip")[0] == (0, 3, 1)


@pytest.mark.parametrize("format", ["npz", "npy"])
def test_without_a_word_outputs_are_replaced(folder, tmp_path, format):
    out = tmp_path / "out"
    run(folder, out, format=format)
    before = {path: path.stat().st_ino for path in out.iterdir()}
    assert run(folder, out, format=format)[0] == (3, 0, 0)
    assert all(path.stat().st_ino != inode for path, inode in before.items())
    assert run(folder, out, format=format, existing="replace", hop_size=0.5)[0] == (3, 0, 0)
    assert {read_metadata(path)["hop_size"] for path in before} == {0.5}


def test_a_dataset_is_refused_replaced_or_continued(folder, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    assert run(folder / "0.wav", out, format="parquet")[0] == (1, 0, 0)
    first = dataset.parts(str(out))
    with pytest.raises(EdgeL3Error, match=r"holds a dataset already: go on with it by --skip-existing, replace it by"):
        run(folder, out, format="parquet")
    assert run(folder, out, format="parquet", existing="skip")[0] == (2, 1, 0)
    assert first[0] in dataset.parts(str(out)) and len(dataset.parts(str(out))) == 2 and len(sources(out)) == 3
    with pytest.raises(EdgeL3Error, match=r"was made with hop_size 0\.1, this run has 0\.5"):
        run(folder, out, format="parquet", existing="skip", hop_size=0.5)
    assert run(folder / "1.wav", out, format="parquet", existing="replace", hop_size=0.5)[0] == (1, 0, 0)
    assert list(sources(out)) == [str(folder / "1.wav")] and len(dataset.parts(str(out))) == 1


def test_a_recording_that_changed_is_an_error_in_a_dataset(folder, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    run(folder, out, format="parquet")
    soundfile.write(folder / "0.wav", golden.audio(8000, 3, 9), 8000)
    counts, records = run(folder, out, format="parquet", existing="skip")
    assert counts == (0, 2, 1)
    (failed,) = (record for record in records if record["status"] == "failed")
    assert failed["path"] == str(folder / "0.wav") and "made from a file of another size or time" in failed["reason"]
    assert sources(out)[str(folder / "0.wav")]["windows"] == 8


@pytest.mark.parametrize(
    ("limit", "parts"),
    [({}, [[8, 16, 3]]), ({"chunk_files": 2}, [[3], [8, 16]]), ({"chunk_bytes": 1}, [[3], [8], [16]])],
)
def test_a_part_has_the_recordings_of_a_chunk(folder, tmp_path, limit, parts):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    model = load_embedding_model("micro")
    assert embed_corpus(folder, out, model=model, **limit).done == 3
    assert sorted([s["windows"] for s in read_metadata(part)["sources"]] for part in dataset.parts(str(out))) == parts


def test_row_groups_have_the_rows_of_several_recordings(folder, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parts, "_GROUP_VALUES", 20 * 64)
    run(folder, tmp_path / "out", format="parquet")
    (part,) = dataset.parts(str(tmp_path / "out"))
    file = parquet.ParquetFile(part)
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [24, 3]
    table = file.read().to_pydict()
    assert table["path"] == [str(folder / "0.wav")] * 8 + [str(folder / "1.wav")] * 16 + [str(folder / "2.wav")] * 3
    assert table["start_sample"][:3] == [-4000, -3200, -2400]
    np.testing.assert_allclose(table["timestamp"][8:11], [0, 0.1, 0.2])


def test_a_part_that_cannot_be_written_fails_what_is_in_it_and_no_more(folder, tmp_path, monkeypatch):
    """The second part fails at its end, when its recording is in it."""
    pytest.importorskip("pyarrow")
    from edgel3_onnx.atomic import PartialFile

    commit, calls = PartialFile.commit, []

    def fail_second(self, **options):
        if "_plan" not in self.path:
            calls.append(self.path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        commit(self, **options)

    monkeypatch.setattr(PartialFile, "commit", fail_second)
    records = []
    model = load_embedding_model("micro")
    embed_corpus(folder, tmp_path / "out", model=model, chunk_files=1, on_record=records.append)
    assert len(calls) == 3
    assert [record.status for record in records] == ["done", "failed", "done"]
    assert records[1].reason == f"{calls[1]}: cannot be written (No space left on device)"
    assert dataset.parts(str(tmp_path / "out")) == sorted([calls[0], calls[2]])
    monkeypatch.setattr(PartialFile, "commit", commit)
    again = embed_corpus(folder, tmp_path / "out", model=model, existing="skip")
    assert (again.done, again.skipped, again.failed) == (1, 2, 0)


@pytest.mark.parametrize("existing", ["skip", None])
def test_where_nothing_can_be_tried_no_model_is_needed(tmp_path, existing):
    """Here none can be had."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as caught:
        cli.run([tmp_path / "empty"], tmp_path / "out", model_type="sparse", existing=existing)
    assert caught.value.code == cli.EXIT_NO_RECORDINGS
    with pytest.raises(EdgeL3Error, match=r"Cannot get the weights of sparse-ft-95\.45"):
        cli.run([tmp_path / "empty", tmp_path / "a.wav"], tmp_path / "out", model_type="sparse", existing=existing)


def test_a_dry_run_tells_and_does_nothing(folder, tmp_path, capsys):
    out = tmp_path / "out"
    run(folder / "1.wav", out)
    summary = cli.run([folder, tmp_path], out, model_type="micro", existing="skip", dry_run=True, verbose=True)
    assert (summary.planned, summary.done, summary.skipped, summary.failed) == (2, 0, 1, 1)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{folder / name}.wav -> {out / name}.npz" for name in "02"]
    assert "2 to do, 1 to skip, 1 failed (dry run)" in printed.err
    assert os.listdir(out) == ["1.npz"]


def test_a_dry_run_tells_what_would_be_skipped(folder, tmp_path):
    out = tmp_path / "out"
    run(folder, out)
    for hop_size, status in ((0.1, "skipped"), (0.5, "planned")):
        _, records = run(folder, out, dry_run=True, existing="skip", hop_size=hop_size)
        assert [record["status"] for record in records] == [status] * 3


def test_what_killed_runs_left_is_removed_from_the_folders_of_a_run(folder, tmp_path):
    for place in (tmp_path / "out", tmp_path / "elsewhere"):
        place.mkdir()
        (place / ".edgel3-onnx-0123456789abcdef.part").write_bytes(b"half")
    run(folder, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["0.npz", "1.npz", "2.npz"]
    assert len(os.listdir(tmp_path / "elsewhere")) == 1


def test_what_processes_that_die_leave_is_removed_at_the_end_of_their_run(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def die(tasks, options, jobs, on_progress):
        (out / ".edgel3-onnx-0123456789abcdef.part").write_bytes(b"half")
        yield from ()

    monkeypatch.setattr("edgel3_onnx.corpora.pool.work_in_processes", die)
    cli.run(folder, out, model_type="micro", jobs=2)
    assert os.listdir(out) == []


def test_a_file_whose_size_cannot_be_had_is_not_saved(folder, tmp_path, monkeypatch):
    """Its record would not tell what it was made from."""

    def unknown(path, parts=None):
        return {"source": os.path.basename(path), "source_bytes": None, "source_mtime_ns": None}

    monkeypatch.setattr("edgel3_onnx.outputs.record.source", unknown)
    reason = "its size and its time of change cannot be read"
    counts, records = run(folder / "0.wav", tmp_path / "out")
    assert counts == (0, 0, 1) and records[0]["reason"] == reason
    with pytest.raises(EdgeL3Error, match=rf"0\.wav: {reason}"):
        process_file(folder / "0.wav", tmp_path / "out", model_type="micro")
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_cannot_be_listed_is_not_taken_for_an_empty_one(folder, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    run(folder, out, format="parquet")
    listdir = os.listdir

    def refuse(path):
        if os.path.normpath(path) == str(out):
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", refuse)
        with pytest.raises(EdgeL3Error, match=r"out: cannot be listed \(Permission denied\)"):
            run(folder, out, format="parquet", existing="skip")
    assert len(sources(out)) == 3 and len(dataset.parts(str(out))) == 1


def test_a_replaced_part_that_stays_is_an_error(folder, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    run(folder, out, format="parquet")
    (old,) = dataset.parts(str(out))
    unlink = os.unlink

    def refuse(path, **options):
        if str(path) == old:
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        counts, records = run(folder, out, format="parquet", existing="replace")
    assert counts == (0, 0, 3)
    reason = f"{old}: cannot be removed (Operation not permitted), whose rows are replaced"
    assert {record["reason"] for record in records} == {reason}
    assert run(folder, out, format="parquet", existing="replace")[0] == (3, 0, 0)
    assert old not in dataset.parts(str(out)) and len(sources(out)) == 3
