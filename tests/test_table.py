"""One CSV of a corpus: read back, it has the numbers of the npz files; it is whole, or as it was."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import posix_only
from edgel3_onnx.embedding import Embeddings
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import rows
from edgel3_onnx.outputs.table import write_table

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ("a.wav", 'b, "c".wav')


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k, name in enumerate(NAMES):
        soundfile.write(tmp_path / "in" / name, rng.normal(0, 0.1, 6000 + 3000 * k), 8000, format="WAV")
    return tmp_path / "in"


def part(folder, embedding, path="a.wav", name="part-0.parquet", **columns):
    """A part of a dataset with these rows."""
    folder.mkdir(exist_ok=True)
    count = np.arange(len(embedding))
    given = Embeddings(embedding, count * 0.1, count * 800, count * 0.1, count * 0.1 + 1, **columns)
    sources = [{"path": path, "absolute_path": f"/{path}", "graph_sha256": "0", "windows": len(embedding)}]
    table = rows.table(path, given, {})
    parquet.write_table(
        table.replace_schema_metadata({"edgel3_onnx": json.dumps(sources)}), folder / name, write_page_checksum=True
    )


@pytest.mark.parametrize("format", ["csv", "csv.gz"])
def test_pandas_and_duckdb_read_the_numbers_of_npz(format, folder, tmp_path, command):
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    out = tmp_path / "table"
    assert command(folder, "-o", tmp_path / "npz").returncode == 0
    done = command(folder, "-o", out, "--format", format)
    assert done.returncode == 0 and "2 done" in done.stderr, done.stderr
    frame = pandas.read_csv(f"{out}.{format}")
    assert list(frame.columns) == ["path", "start", "end", "channel", "label", *(f"e{k}" for k in range(64))]
    query = f"FROM read_csv('{out}.{format}')"
    dataset = pandas.read_parquet(out, engine="pyarrow")
    in_parquet = duckdb.sql(f"FROM '{out}/part-*.parquet'").df()
    assert len(frame) == len(dataset) == duckdb.sql(f"SELECT count(*) {query}").fetchall()[0][0] == len(in_parquet)
    for name in NAMES:
        path = str(folder / name)
        with np.load(tmp_path / "npz" / f"{name.removesuffix('.wav')}.npz") as arrays:
            embedding, start = arrays["embedding"], arrays["start_sample"] / 8000
        ours = frame[frame["path"] == path]
        theirs = duckdb.execute(f"{query} WHERE path = ? ORDER BY start", [path]).df()
        for found in (ours, theirs):
            values = found[[f"e{k}" for k in range(64)]].to_numpy()
            np.testing.assert_array_equal(values.astype(np.float32), embedding)
            np.testing.assert_array_equal(found["start"], start)
            np.testing.assert_array_equal(found["end"], start + 1)
            assert found["channel"].isna().all() and found["label"].isna().all()
        for kept in (dataset, in_parquet):
            of_path = kept[kept["path"] == path].sort_values("start")
            np.testing.assert_array_equal(np.stack(of_path["embedding"].to_list()), embedding)
            assert of_path["recorded_at"].isna().all()


def test_a_run_goes_on_and_the_table_has_all(folder, tmp_path, command):
    out = tmp_path / "table"
    args = [folder, "-o", out, "--format", "csv"]
    (folder / NAMES[1]).rename(tmp_path / "later.wav")
    assert "1 done" in command(*args).stderr
    first = (tmp_path / "table.csv").read_text()
    done = command(*args)
    assert done.returncode == 1 and "holds a dataset already" in done.stderr
    assert (tmp_path / "table.csv").read_text() == first
    (tmp_path / "later.wav").rename(folder / NAMES[1])
    done = command(*args, "--skip-existing", "--jobs", "2")
    assert "1 done" in done.stderr and "1 skipped" in done.stderr
    with open(tmp_path / "table.csv", newline="") as file:
        table = list(csv.reader(file))
    assert {row[0] for row in table[1:]} == {str(folder / name) for name in NAMES}
    assert [line for line in (tmp_path / "table.csv").read_text().splitlines() if line in first] == first.splitlines()
    os.unlink(tmp_path / "table.csv")
    assert "2 skipped" in command(*args[:-1], "csv.gz", "--skip-existing").stderr
    packed = gzip.decompress((tmp_path / "table.csv.gz").read_bytes()).decode()
    assert sorted(packed.splitlines()) == sorted(",".join(map(_quoted, row)) for row in table)
    assert command(*args, "--dry-run", "--overwrite").returncode == 0
    assert not (tmp_path / "table.csv").exists()


def _quoted(text):
    return '"' + text.replace('"', '""') + '"' if '"' in text else text


@pytest.mark.parametrize("args", [("a.wav", "--format", "csv"), ("-", "--format", "csv.gz", "-o", "x")])
def test_usage(args, command):
    done = command(*args)
    assert done.returncode == 2
    assert "makes one dataset of all inputs: name its directory" in done.stderr or "not as csv.gz" in done.stderr


CELLS = st.none() | st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)


@settings(deadline=None)  # pyarrow is loaded in the first example
@given(
    st.lists(
        st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 9) | st.none(), CELLS),
        min_size=1,
    ),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\\"), min_size=1, max_size=9),
)
def test_what_csv_reads_is_what_was_written(tmp_path_factory, given, path):
    folder = tmp_path_factory.mktemp("table", numbered=True)
    values = np.array([[value, -value] for value, _, _ in given], np.float32)
    channels = np.array([channel or 0 for _, channel, _ in given], np.int16)
    labels = [label for _, _, label in given]
    part(folder, values, path, channel=channels, label=labels)
    write_table(str(folder), "csv")
    with open(f"{folder}.csv", newline="", encoding="utf-8") as file:
        header, *found = csv.reader(file)
    assert header == ["path", "start", "end", "channel", "label", "e0", "e1"]
    assert [row[0] for row in found] == [path] * len(given)
    assert [int(row[3]) for row in found] == channels.tolist() and [row[4] or None for row in found] == labels
    np.testing.assert_array_equal(np.array([row[5:] for row in found], np.float64).astype(np.float32), values)
    assert [float(row[1]) for row in found] == (np.arange(len(given)) * 0.1).tolist()


@pytest.mark.parametrize("format", ["csv", "csv.gz"])
def test_a_table_is_whole_or_as_it_was(format, tmp_path):
    folder = tmp_path / "set"
    part(folder, np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32))
    write_table(str(folder), format)
    before = (tmp_path / f"set.{format}").read_bytes()
    part(folder, np.ones((9, 3), np.float32), name="part-1.parquet")
    with pytest.raises(EdgeL3Error, match=r"part-1.parquet: has embeddings of 3 values, those of other parts have 2"):
        write_table(str(folder), format)
    damaged = bytearray((folder / "part-0.parquet").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "part-0.parquet").write_bytes(damaged)
    with pytest.raises(EdgeL3Error, match=r"part-0.parquet: is no output of edgel3-onnx, or is damaged"):
        write_table(str(folder), format)
    old = parquet.read_table(folder / "part-1.parquet").drop_columns(["start", "end"])
    parquet.write_table(old, folder / "part-0.parquet")
    with pytest.raises(EdgeL3Error, match=r"part-0.parquet: .*no columns end, start"):
        write_table(str(folder), format)
    assert (tmp_path / f"set.{format}").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["part-0.parquet", "part-1.parquet"]


@posix_only
@pytest.mark.parametrize("format", ["csv", "csv.gz"])
def test_a_table_for_which_there_is_no_room(format, tmp_path):
    folder = tmp_path / "set"
    part(folder, np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32))
    (tmp_path / f"set.{format}").write_text("as it was")
    script = (
        "import resource, sys; from edgel3_onnx.outputs.table import write_table\n"
        "from edgel3_onnx.exceptions import EdgeL3Error\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "try: write_table(*sys.argv[1:])\n"
        "except EdgeL3Error as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script, folder, format], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{folder}.{format}: cannot be written (File too large)\n", "")
    assert (tmp_path / f"set.{format}").read_text() == "as it was"
    assert sorted(os.listdir(tmp_path)) == ["set", f"set.{format}"]


def test_no_table_of_no_parts(tmp_path):
    write_table(str(tmp_path / "none"), "csv")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_with_the_columns_of_before_is_refused_in_one_line(folder, tmp_path, command):
    args = [folder, "--format", "parquet", "-o", tmp_path / "set"]
    assert command(*args).returncode == 0
    (name,) = (tmp_path / "set").glob("part-*.parquet")
    table = parquet.read_table(name)
    shutil.rmtree(tmp_path / "set" / "_plan")  # there were none
    old = table.drop_columns(["start", "end", "channel", "label", "recorded_at"])
    parquet.write_table(old.replace_schema_metadata(parquet.read_metadata(name).metadata), name)
    done = command(*args, "--skip-existing")
    assert done.returncode == 1 and done.stderr.count("error:") == 1
    assert "by an earlier edgel3-onnx, whose rows have no start, end, channel, label, recorded_at: repl" in done.stderr
    assert "2 done" in command(*args, "--overwrite").stderr


def test_the_examples_of_the_documents(folder, tmp_path, command, monkeypatch):
    """docs/how-to/tables.md, where it says what it says."""
    pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    for path in folder.iterdir():
        path.rename(folder / f"20240601_050000_{path.name}")
    clock = ["--time-pattern", "%Y%m%d_%H%M%S", "--time-zone", "UTC"]
    assert command(folder, "--format", "csv", "-o", tmp_path / "embeddings", *clock).returncode == 0
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "how-to" / "tables.md").read_text()
    reading, labels = (block.partition("```")[0] for block in text.split("```python\n")[1:])
    names = {}
    exec(reading, names)
    assert names["values"].shape == (len(names["dataset"]), 64) and len(names["loud"]) == 3
    assert names["loud"][0][2] == names["values"][:, 0].max()
    assert names["times"].min().isoformat() == "2024-06-01T04:59:59.500000+00:00"
    assert sum(count for _, count in names["hours"]) == len(names["values"])
    exec(labels, names)
    assert [region.label for region in names["read_regions"]("street.txt")] == ["siren", "dog"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(monkeypatch):
    """benchmarks/tables.py says no, for fewer windows than it takes by itself."""
    pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    spec = spec_from_file_location("tables", Path(__file__).parents[1] / "benchmarks" / "tables.py")
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(sys, "argv", ["tables.py", "300000"])
    assert not benchmark.main()
