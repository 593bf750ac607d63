"""Plans and ledgers, made and read in columns, against the same done for one file after another."""

import bisect
import hashlib
import json
import os
import re
import string
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import posix_only
from edgel3_onnx import EdgeL3Error, embed_corpus, load_embedding_model
from edgel3_onnx.corpora import sorting
from edgel3_onnx.corpora.cutting import Cutter, Files
from edgel3_onnx.corpora.inputs import Input, listed
from edgel3_onnx.corpora.keys import Seen, absolutes, distinct, from_bytes, keys_of, order, search
from edgel3_onnx.corpora.ledger import Ledger, Standing
from edgel3_onnx.corpora.parts import part_name, write_failures
from edgel3_onnx.corpora.place import Folder
from edgel3_onnx.corpora.plan import Entry, PlanFile, PlanWriter
from edgel3_onnx.outputs.dataset import key

pytest.importorskip("pyarrow")
# Of few bytes, so that many are the same in one half or in both.
KEYS = st.builds(
    lambda first, second: first * 8 + second * 8, *[st.sampled_from([b"\0", b"\x01", b"\x7f", b"\x80", b"\xff"])] * 2
)


def array(keys):
    return from_bytes(b"".join(keys))


def in_order(keys):
    """As tuples, which are compared as the arrays are."""
    return [tuple(each) for each in array(keys).T.tolist()]


def files_of(entries):
    return Files(
        [entry.path for entry in entries],
        array(entry.key for entry in entries),
        [(entry.size, entry.modified) for entry in entries],
    )


def entries_of(files):
    keys = [each.tobytes() for each in files.keys.T]
    return list(map(Entry, files.paths, keys, files.sizes.tolist(), files.modified.tolist()))


PIECES = ["/", "//", ".", "..", "./", "/.", "a", "b.wav", ":", "::", "::1+2::", "s3://", "é", "\udc80", " ", "\n", "-9"]
USUAL = [f"/data/{k}.wav" for k in range(2000)]


@given(
    st.lists(st.builds("".join, st.lists(st.sampled_from(PIECES), max_size=6)), max_size=6),
    st.sampled_from([[], USUAL[:5], ["x/y.wav"], USUAL]),
)
@settings(deadline=None)
def test_absolute_paths_are_those_of_one_at_a_time(odd, usual):
    paths = [*odd, *usual, *odd]
    assert absolutes(paths) == [key(path) for path in paths]


def test_a_key_is_a_digest_of_the_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ["a.wav", "./a.wav", str(tmp_path / "a.wav"), "sub/é.wav", "s3://bucket/a.wav"]
    plain = [str(tmp_path / "a.wav")] * 3 + [str(tmp_path / "sub/é.wav"), paths[-1]]
    expected = [hashlib.blake2b(path.encode(), digest_size=16).digest() for path in plain]
    assert [each.tobytes() for each in keys_of(absolutes(paths)).T] == expected


@given(st.lists(KEYS, max_size=20), st.lists(KEYS, max_size=20))
def test_tables_of_keys(keys, wanted):
    table, numbers = distinct(array(keys))
    plain = sorted(set(in_order(keys)))
    assert [tuple(each) for each in table.T.tolist()] == plain
    assert [plain[at] for at in numbers] == in_order(keys)
    repeated = sorted(in_order(keys))
    at, is_there = search(array(keys)[:, order(array(keys))], array(wanted))
    assert at.tolist() == [bisect.bisect_left(repeated, each) for each in in_order(wanted)]
    assert is_there.tolist() == [each in keys for each in wanted]


@given(st.lists(st.tuples(KEYS, st.integers(0, 2)), max_size=20))
def test_equal_keys_are_sorted_by_standing_then_as_they_are(rows):
    keys = in_order([key for key, _ in rows])
    found = order(array(key for key, _ in rows), np.array([standing for _, standing in rows], np.int8))
    assert found.tolist() == sorted(range(len(rows)), key=lambda row: (keys[row], rows[row][1]))


@given(st.lists(st.lists(KEYS, max_size=12), max_size=12))
def test_what_was_met_before(batches):
    seen, met = Seen(), set()
    for batch in batches:
        expected = []
        for each in batch:
            expected.append(each not in met)
            met.add(each)
        assert seen.first(array(batch)).tolist() == expected


def test_what_was_met_before_among_many():
    rng = np.random.default_rng(7)
    keys = rng.integers(0, 2**63, (2, 60_000), dtype=np.uint64) * 2 + 1
    seen = Seen()
    for start in range(0, 60_000, 1000):
        again = rng.integers(0, start, 50) if start else []
        batch = np.concatenate([keys[:, start : start + 1000], keys[:, again]], axis=1)
        assert seen.first(batch).tolist() == [True] * 1000 + [False] * len(again)
    assert not seen.first(keys[:, ::-1]).any()


def cut(entries, workers, chunk_files, chunk_bytes):
    """The chunks of entries, taken one after another."""
    shares = workers * 4 if workers > 1 else 1
    if len(entries) < chunk_files * shares:
        chunk_files = max(-(-len(entries) // shares), 1)
    chunks, size = [], 0
    for entry in entries:
        if not chunks or len(chunks[-1]) == chunk_files or size + entry.size > chunk_bytes:
            chunks.append([])
            size = 0
        chunks[-1].append(entry)
        size += entry.size
    return chunks


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 3, 7, 2**62]), max_size=15), max_size=8),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 12),
)
def test_chunks_are_those_of_one_file_after_another(batches, workers, chunk_files, chunk_bytes):
    sizes = [size for batch in batches for size in batch]
    entries = [Entry(f"{k}.wav", bytes([k] * 16), size, k) for k, size in enumerate(sizes)]
    left, found, cutter = list(entries), [], Cutter(workers, chunk_files, chunk_bytes)
    for batch in batches:
        taken, left = left[: len(batch)], left[len(batch) :]
        found += cutter.add(files_of(taken))
    found += cutter.end()
    assert [entries_of(chunk) for chunk in found] == cut(entries, workers, chunk_files, chunk_bytes)


def write_plan(folder, chunks, recipe=None):
    writer = PlanWriter(Folder(str(folder)), recipe or {"hop": 0.1})
    for chunk in chunks:
        writer.add(files_of(chunk))
    return PlanFile(Folder(str(folder)), writer.commit())


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_a_plan_has_what_was_put_in(data):
    names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
    entry = st.builds(Entry, names, st.binary(min_size=16, max_size=16), *[st.integers(0, 2**63 - 1)] * 2)
    chunks = data.draw(st.lists(st.lists(entry, min_size=1, max_size=4), min_size=1, max_size=5, unique_by=str))
    if os.name == "posix" and data.draw(st.booleans()):
        chunks[-1].append(Entry(os.fsdecode(b"\xff.wav"), b"k" * 16, 1, 2))
    with tempfile.TemporaryDirectory() as folder:
        plan = write_plan(folder, chunks)
        read = [chunk for group in range(plan.groups) for chunk in plan.group(group)]
        assert [list(chunk.entries) for chunk in read] == chunks
        about = json.dumps([{"hop": 0.1}, []], sort_keys=True).encode()
        ids = []
        for chunk in chunks:
            digest = hashlib.sha256(about)
            for _, file, size, modified in chunk:
                digest.update(file + size.to_bytes(8, "little") + modified.to_bytes(8, "little"))
            ids.append(digest.hexdigest()[:32])
        assert [chunk.id for chunk in read] == ids
        whole = hashlib.sha256(about + "".join(ids).encode()).hexdigest()[:32]
        assert plan.own_name == f"plan-{whole}.parquet" and plan.files == sum(map(len, chunks))


def test_a_plan_as_all_releases_read_it(tmp_path):
    from pyarrow import parquet

    entries = [Entry(f"/in/{k}.wav", key_of(k), 1000 + k, -k) for k in range(70_000)]
    plan = write_plan(tmp_path, [entries[start : start + 64] for start in range(0, 70_000, 64)])
    assert plan.own_name == "plan-8ab13054e194f224c3a9fd923da3f7f6.parquet"  # what the first release with plans wrote
    file = parquet.ParquetFile(tmp_path / plan.name)
    columns = {"chunk": "string", "key": "fixed_size_binary[16]", "path": "string", "raw": "binary", "size": "int64"}
    assert {field.name: str(field.type) for field in file.schema_arrow} == {**columns, "modified": "int64"}
    groups = [file.read_row_group(group) for group in range(file.num_row_groups)]
    assert 2 <= len(groups) <= 3  # whoever reads one holds little
    chunks = [set(group["chunk"].to_pylist()) for group in groups]
    assert sum(map(len, chunks)) == len(set.union(*chunks)) == -(-70_000 // 64)
    rows = [row for group in groups for row in group.drop_columns("chunk").to_pylist()]
    assert rows == [dict(entry._asdict(), raw=None) for entry in entries]
    about = json.loads(file.metadata.metadata[b"edgel3_onnx.plan"])
    assert (about["files"], about["chunks"], about["bytes"]) == (70_000, 1094, sum(entry.size for entry in entries))


def key_of(k):
    return hashlib.blake2b(b"%d" % k, digest_size=16).digest()


ROWS = st.builds(Entry, st.just("x.wav"), KEYS, *[st.integers(0, 1)] * 2)


@given(
    st.lists(
        st.lists(st.lists(ROWS, min_size=1, max_size=3), min_size=1, max_size=3, unique_by=tuple),  # of a plan
        max_size=3,
    ),
    st.lists(ROWS, max_size=10),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=40)
def test_a_ledger_tells_what_looking_through_its_plans_would(plans, wanted, rng):
    with tempfile.TemporaryDirectory() as folder:
        place = Folder(folder)
        names = sorted({write_plan(folder, chunks).name for chunks in plans})
        chunks = {}  # id: entries, and how each of their keys stands
        rows = []
        for plan in (PlanFile(place, name) for name in names):
            for chunk in (each for group in range(plan.groups) for each in plan.group(group)):
                if chunk.id not in chunks:  # else it is in two plans
                    chunks[chunk.id] = chunk.entries, some_of_it_done(place, chunk, rng)
                rows += [(each, chunks[chunk.id][1][each.key], chunk.id) for each in chunk.entries]
        strangers = [f"part-{'0' * 32}.parquet", "part-mine.parquet"]
        for name in (*strangers, "notes.txt"):
            Path(folder, name).touch()
        ledger = Ledger(place)
        assert ledger.strangers == strangers
        found = ledger.look_up(files_of(wanted))
        for row, entry in enumerate(wanted):
            same = [(standing, each, chunk) for each, standing, chunk in rows if each.key == entry.key]
            if not same:
                assert found.standing[row] == Standing.UNKNOWN
                continue
            standing, each, chunk = min(same, key=lambda row: row[0])  # the first of these
            number = int(found.chunk[row])
            assert found.standing[row] == standing and ledger.numbers([chunk]).tolist() == [number]
            assert found.is_same[row] == (each[2:] == entry[2:])
            has_failed = standing in (Standing.KILLED, Standing.FAILED)
            assert ledger.reason(number, entry.key) == ("why " + entry.key.hex() if has_failed else "")
        owed = {name: entries for name, (entries, how) in chunks.items() if Standing.OWED in how.values()}
        numbers = ledger.numbers(list(owed))
        assert ledger.want(np.concatenate([numbers, numbers])) == sum(map(len, owed.values()))
        assert ledger.want(numbers) == 0
        given = [(chunk.id, chunk.entries) for chunk in ledger.wanted()]
        assert dict(given) == owed and len(given) == len(owed)


def some_of_it_done(place, chunk, rng):
    """Perhaps the part of a chunk, with some failures. Gives the standing of each of its keys."""
    keys = sorted({entry.key for entry in chunk.entries})
    killed = {key: rng.random() < 0.5 for key in keys if rng.random() < 0.4}
    about = {"path": "x.wav", "absolute_path": "/x.wav", "size": 1, "modified": 2}
    failures = [{**about, "key": key.hex(), "reason": f"why {key.hex()}", "killed": killed[key]} for key in killed]
    write_failures(place, part_name(chunk.id), failures)  # which comes first: the part may be missing
    if rng.random() < 0.3:
        return dict.fromkeys(keys, Standing.OWED)
    Path(place.shown(part_name(chunk.id))).touch()
    standing = {key: Standing.KILLED if is_killed else Standing.FAILED for key, is_killed in killed.items()}
    return {**dict.fromkeys(keys, Standing.EMBEDDED), **standing}


NAMES = [f"no-{letter}.wav" for letter in string.ascii_lowercase[:8]]
INPUTS = st.builds(
    lambda name, problem, state: Input(name, "", problem, state),
    st.sampled_from([*NAMES, "./no-a.wav", "x/../no-b.wav", "gone/no-c.wav"]),
    st.sampled_from([None] * 5 + ["cannot be listed"]),
    st.one_of(st.none(), st.tuples(st.integers(0, 1), st.just(0))),
)


@given(
    st.lists(INPUTS, max_size=12),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*Standing][:-1])),
    st.booleans(),
    st.integers(1, 5),
)
@settings(deadline=None, max_examples=100)
def test_inputs_are_sorted_out_as_one_after_another(inputs, known, dry, batch):
    """Of files that are known, size and time are (0, 0); of those that have no state and are no more, nothing."""
    chunks = {name: [Entry(name, one_key(name), 0, 0), Entry("z" + name, one_key("z" + name), 0, 0)] for name in known}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_BATCH", batch)
        if known:
            plan = write_plan(folder, chunks.values())
            for chunk, standing in zip(plan.group(0), known.values(), strict=True):
                if standing is not Standing.OWED:
                    Path(folder, part_name(chunk.id)).touch()
                if standing in (Standing.KILLED, Standing.FAILED):
                    file = {
                        "path": "",
                        "absolute_path": "",
                        "key": chunk.entries[0].key.hex(),
                        "size": 0,
                        "modified": 0,
                    }
                    killed = {"reason": "a killer", "killed": standing is Standing.KILLED}
                    write_failures(Folder(folder), part_name(chunk.id), [{**file, **killed}])
        sorter = sorting.Sorter(Ledger(Folder(folder)), None, dry)
        records, fresh = [], []
        for some, files in sorter.batches(inputs):
            records += some
            fresh += files.paths
    expected_records, expected_fresh, owed = [], [], set()
    met = set()
    for start in range(0, len(inputs), batch):
        later = []  # those whose state is known come after those that failed
        for item in inputs[start : start + batch]:
            name = os.path.normpath(item.path)
            if name in met:
                continue
            met.add(name)
            if item.problem is not None or item.state is None:
                reason = item.problem or "cannot be read (No such file or directory)"
                expected_records.append((item.path, "failed", reason))
                continue
            is_same, standing = item.state == (0, 0), known.get(name)
            if standing is Standing.OWED:
                owed.add(name)
            elif standing is Standing.EMBEDDED:
                later.append((item.path, *(("skipped", None) if is_same else ("failed", sorting._OTHER_FILE))))
            elif standing is Standing.KILLED and is_same:
                later.append((item.path, "failed", "a killer"))
            else:
                expected_fresh.append(item.path)
                later += [(item.path, "planned", None)] * dry
        expected_records += later
    assert [(record.path, record.status, record.reason) for record in records] == expected_records
    assert all(record.absolute_path == os.path.abspath(record.path) for record in records)
    assert fresh == expected_fresh
    assert sorter.total == len(records) + 2 * len(owed) + (0 if dry else len(fresh))


def one_key(name):
    return hashlib.blake2b(os.path.abspath(name).encode(), digest_size=16).digest()


@posix_only
def test_a_line_that_can_be_no_path_is_the_record_of_a_failure(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a\0.wav\n\xff.wav\r\n\n")
    records = []
    inputs = listed(tmp_path / "list.txt")
    model = load_embedding_model("micro")
    summary = embed_corpus(inputs, tmp_path / "set", model=model, on_record=records.append)
    assert summary.failed == 2
    assert [record.reason for record in records] == [
        "cannot be read (embedded null byte)",
        "cannot be read (No such file or directory)",
    ]


def test_a_chunk_that_is_in_two_plans_is_given_once(tmp_path):
    chunks = [[Entry(f"{k}.wav", bytes([k]) * 16, 1, 2)] for k in range(3)]
    write_plan(tmp_path, chunks)
    write_plan(tmp_path, chunks[1:])
    ledger = Ledger(Folder(str(tmp_path)))
    assert len(ledger.plans) == 2 and ledger.want(np.arange(len(ledger.is_done))) >= 3
    assert sorted(entry.path for chunk in ledger.wanted() for entry in chunk.entries) == ["0.wav", "1.wav", "2.wav"]


def test_what_a_plan_skips_is_named_from_its_own_folder(tmp_path, monkeypatch):
    import soundfile

    model, plan = load_embedding_model("micro"), tmp_path / "plan.parquet"
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    monkeypatch.chdir(tmp_path)
    embed_corpus("a.wav", "set", model=model, plan=plan)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    records = []
    for _ in range(2):
        embed_corpus(None, tmp_path / "set", model=model, plan=plan, on_record=records.append)
    assert [record.status for record in records] == ["done", "skipped"]
    assert {(record.path, record.absolute_path) for record in records} == {("a.wav", str(tmp_path / "a.wav"))}


def test_a_plan_whose_chunks_have_other_names_is_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    plan = write_plan(tmp_path, [[Entry("a.wav", b"k" * 16, 1, 2)]])
    table = parquet.read_table(tmp_path / plan.name)
    table = table.set_column(0, "chunk", pyarrow.array(["first"]))
    parquet.write_table(
        table.replace_schema_metadata(parquet.read_metadata(tmp_path / plan.name).metadata),
        plan_path := tmp_path / plan.name,
    )
    with pytest.raises(EdgeL3Error, match=f"{re.escape(str(plan_path))}: is no plan of edgel3-onnx, or is damaged"):
        Ledger(Folder(str(tmp_path)))


def test_memory_grows_by_little_for_each_file(tmp_path):
    count = 200_000
    inputs = (Input(f"/data/recordings/{k:08}.flac", state=(k, k)) for k in range(count))
    tracemalloc.start()
    try:
        writer, cutter = PlanWriter(Folder(str(tmp_path)), {}), Cutter()
        for _, files in sorting.Sorter(None, None, False).batches(inputs):
            for chunk in cutter.add(files):
                writer.add(chunk)
        for chunk in cutter.end():
            writer.add(chunk)
        writer.commit()
        of_planning = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        ledger = Ledger(Folder(str(tmp_path)))
        of_reading = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(ledger.is_done) == count / 64
    assert of_planning < 16_000_000 + 60 * count  # a batch, and its keys several times
    assert of_reading < 8_000_000 + 80 * count


def test_what_a_corpus_costs(tmp_path):
    command = [sys.executable, str(Path(__file__).parents[1] / "benchmarks" / "corpora.py"), "plan", "40000"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "list: 40000 lines read" in found
    assert "plan: 40000 files looked up, 40000 records announced, so far {}" in found
    assert "plan: 40000 files to do in" in found
    skipped, to_do = (
        int(re.search(rf"resume.*?{what}", found)[1]) for what in (r"'skipped': (\d+)", r": (\d+) files to do")
    )
    assert skipped + to_do == 40000 and 19000 < skipped < 21000
