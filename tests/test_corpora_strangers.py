"""A dataset whose plans are gone is gone on with by what its parts say; and inputs of which nothing can be told."""

import os
import shutil

import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3Error, embed_corpus, load_embedding_model
from edgel3_onnx.corpora.inputs import listed
from edgel3_onnx.labels import Region
from test_corpora import rows

pytest.importorskip("pyarrow")
OTHER = "is in the dataset already, made from a file of another size or time, or other parts (see --overwrite)"


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


@pytest.mark.parametrize("parts", [{}, {"offset": 0.2}, {"regions": True}], ids=["whole", "offset", "regions"])
def test_recordings_in_parts_without_a_plan(tmp_path, micro, parts):
    source, out = tmp_path / "in", tmp_path / "set"
    source.mkdir()
    for k in range(3):
        soundfile.write(source / f"{k}.wav", golden.audio(8000, 1.1, k), 8000)
    if parts.get("regions"):
        parts = {"regions": [Region(str(source / f"{k}.wav"), 0.1, 1.0 + 0.01 * k) for k in range(4)]}
        soundfile.write(source / "3.wav", golden.audio(8000, 1.1, 3), 8000)
    embed_corpus([source / f"{k}.wav" for k in range(3)], out, model=micro, **parts)
    before = rows(out)
    shutil.rmtree(out / "_plan")
    os.utime(source / "1.wav", ns=(1, 1))
    soundfile.write(source / "3.wav", golden.audio(8000, 1.1, 3), 8000)
    records = []
    embed_corpus(source, out, model=micro, existing="skip", on_record=records.append, **parts)
    assert {os.path.basename(each.path): (each.status, each.reason) for each in records} == {
        "0.wav": ("skipped", None),
        "1.wav": ("failed", OTHER),
        "2.wav": ("skipped", None),
        "3.wav": ("done", None),
    }
    after = rows(out)
    assert after.slice(0, len(before)).equals(before) and len(after) > len(before)


def test_a_path_that_no_file_can_have(tmp_path, micro):
    records = []
    soundfile.write(tmp_path / "a.wav", golden.audio(8000, 1.1, 0), 8000)
    names = ["a\0b.wav", str(tmp_path / "a.wav")]
    summary = embed_corpus(names, tmp_path / "set", model=micro, on_record=records.append)
    assert (summary.done, summary.failed) == (1, 1)
    assert records[0].reason == "cannot be read (embedded null byte)"


def test_a_member_of_an_archive_that_no_store_has(tmp_path, micro):
    records = []
    embed_corpus("nowhere://host/a.tar::512+10::a.wav", tmp_path / "set", model=micro, on_record=records.append)
    assert records[0].status == "failed" and "nowhere://: is known to neither pyarrow nor fsspec" in records[0].reason


def test_shards_that_are_none(tmp_path, micro):
    for shard in ((1, 1), (-1, 2), (0, 0)):
        with pytest.raises(EdgeL3Error, match=r"^shard must be \(i, n\) with 0 <= i < n, got "):
            embed_corpus(None, tmp_path / "set", model=micro, shard=shard, plan="plan")
    with pytest.raises(EdgeL3Error, match=r"^a plan is gone on with: existing='replace' cannot be given with it"):
        embed_corpus(None, tmp_path / "set", model=micro, plan="plan", existing="replace")


def test_a_list_of_inputs_that_cannot_be_read(tmp_path):
    with pytest.raises(EdgeL3Error) as error:
        list(listed(tmp_path / "none"))
    assert str(error.value) == f"{tmp_path}/none: cannot be read (No such file or directory)"
