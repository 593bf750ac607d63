"""The weight store with real conversions of seeded weights in the published layouts."""

import dataclasses
import gzip
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import onnx
import pytest
import soundfile

import edgel3_onnx
import golden
from conftest import posix_only
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, cli, models
from edgel3_onnx.store import cache, download, weights
from edgel3_onnx.store.registry import variants
from store import cached_names, metadata
from upstream import Terminal, Upstream

# Runs in a process of its own: the path of the variant whose published file has the git blob id argv[2].
# Ctrl-C works in it even where pytest runs in the background.
CHILD = """
import dataclasses, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgel3_onnx.store import weights
from edgel3_onnx.store.registry import variants
variant = dataclasses.replace(variants()[sys.argv[1]], git_blob_id=sys.argv[2])
print(weights.embedding_model_path(variant))
"""


@pytest.fixture
def upstream(published, variant, monkeypatch):
    """A server with the file of ``variant`` in place of upstream, with short waits for its failures."""
    monkeypatch.delenv("EDGEL3_ONNX_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF_S", 0.01)
    monkeypatch.setattr(download, "SOCKET_TIMEOUT_S", 0.3)
    with Upstream() as server:
        server.files[variant.file] = published
        monkeypatch.setenv("EDGEL3_ONNX_MIRROR", server.url)
        yield server


PUBLISHED = "https://github.com/ksangeeta2429/edgel3/raw/models"
GRAPH = "sea-64.mel.fp32.onnx"


def test_first_use_downloads_and_converts_later_ones_read_the_cache(upstream, variant, published):
    assert weights.cached_path(variant) is None
    path = weights.embedding_model_path(variant)
    assert path == weights.cache_dir() / GRAPH
    onnx.checker.check_model(onnx.load(path))
    assert metadata(path)["variant"] == "sea-64"
    assert metadata(path)["source"] == {"file": variant.file, "sha256": hashlib.sha256(published).hexdigest()}
    before = path.stat().st_mtime_ns
    assert weights.embedding_model_path(variant) == weights.cached_path(variant) == path
    assert path.stat().st_mtime_ns == before and len(upstream.requests) == 1
    assert cached_names() == {GRAPH, GRAPH + ".json"}


def test_quiet_hides_the_download_too(upstream, variant, monkeypatch, tmp_path):
    audio = tmp_path / "clip.wav"
    soundfile.write(audio, golden.audio(8000, 1.5, 1), 8000)
    monkeypatch.setattr(models, "find_variant", lambda *arguments: variant)
    monkeypatch.setattr(sys, "stderr", Terminal())
    command = [str(audio), "--model-type", "sea", "--emb-dim", "64", "-o", str(tmp_path), "--overwrite"]
    assert cli.main([*command, "--quiet"]) == 0
    assert len(upstream.requests) == 1 and sys.stderr.getvalue() == ""
    weights.cached_path(variant).unlink()
    assert cli.main(command) == 0
    assert len(upstream.requests) == 2 and variant.file in sys.stderr.getvalue()


def test_cached_graph_needs_neither_network_nor_converter_nor_a_cache_that_can_be_written(mirror, variant):
    path = weights.embedding_model_path(variant)
    (mirror / variant.file).unlink()
    path.parent.chmod(0o500)
    code = (
        f"import builtins, sys; sys.modules.update(dict.fromkeys(['onnx', 'h5py']));{CHILD}"
        "assert not {'ssl', 'http.client', 'tqdm', 'onnxruntime'} & set(sys.modules)"
    )
    command = [sys.executable, "-P", "-c", code, variant.id, variant.git_blob_id]
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=mirror)
    finally:
        path.parent.chmod(0o700)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, str(path), "")


def test_reading_the_cache_writes_nothing(mirror, variant, monkeypatch):
    path = weights.embedding_model_path(variant)

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "unlink", "replace"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(cache, "write_bytes", refuse)
    monkeypatch.setattr(cache, "_locked", refuse)
    assert weights.embedding_model_path(variant) == path


def test_real_published_file_has_the_pinned_digest(reference, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", str(reference / "published"))
    path = weights.embedding_model_path(variants()["sea-64"])
    digest = "d1cf0ce5640e93f07b3eef950f0694c40f3be33d8d7241deaea7f71e2f929a7f"
    assert metadata(path)["source"]["sha256"] == digest


def start(variant, **env) -> subprocess.Popen:
    command = [sys.executable, "-P", "-c", CHILD, variant.id, variant.git_blob_id]
    return subprocess.Popen(command, env={**os.environ, **env}, stdout=-1, stderr=-1, text=True)


def test_processes_at_once_download_once(upstream, variant):
    upstream.faults.append("slow")
    children = [start(variant) for _ in range(3)]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out.strip(), err) == (0, str(weights.cache_dir() / GRAPH), "")
    assert len(upstream.requests) == 1
    assert weights.cached_path(variant) is not None
    assert cached_names() == {GRAPH, GRAPH + ".json"}


def test_threads_at_once_download_once(upstream, variant):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(weights.embedding_model_path(variant))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [weights.cache_dir() / GRAPH] * 4
    assert len(upstream.requests) == 1


def test_lock_holds_after_the_first_holder_failed():
    """Each holder removes the lock's file; who waited on the removed one must not count as its holder."""
    first_may_fail, entered, running, most = threading.Event(), threading.Event(), [], []

    def fail():
        entered.set()
        first_may_fail.wait(10)
        raise EdgeL3Error("no graph")

    def make():
        entered.set()
        running.append(1)
        most.append(len(running))
        time.sleep(0.3)
        running.pop()
        raise EdgeL3Error("no graph either")

    def get(make):
        with pytest.raises(EdgeL3Error):
            cache.get_or_make("a.onnx", {}, make)

    threads = [threading.Thread(target=get, args=(function,)) for function in (fail, make, make)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    time.sleep(0.2)  # by then it waits, with the first one's file open
    entered.clear()
    first_may_fail.set()
    assert entered.wait(10)
    threads[2].start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]
    assert cached_names() == set()


@posix_only
def test_killed_download_leaves_no_data_and_no_lock(upstream, variant):
    upstream.faults.append("stall")
    child = start(variant)
    assert upstream.half_sent.wait(30)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert [path.stat().st_size for path in weights.cache_dir().iterdir()] == [0]  # the lock's empty file
    assert weights.embedding_model_path(variant) == weights.cached_path(variant)
    assert cached_names() == {GRAPH, GRAPH + ".json"}


@posix_only
def test_interrupted_download_leaves_nothing(upstream, variant):
    upstream.faults.append("stall")
    child = start(variant)
    assert upstream.half_sent.wait(30)
    child.send_signal(signal.SIGINT)
    child.communicate()
    assert child.returncode != 0
    assert cached_names() == set()


@posix_only
def test_waiting_process_takes_over_from_one_that_is_killed(upstream, variant):
    upstream.faults.append("stall")
    first = start(variant)
    assert upstream.half_sent.wait(30)
    second = start(variant)
    time.sleep(0.7)  # by then it waits for the lock
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out.strip(), err) == (0, str(weights.cache_dir() / GRAPH), "")
    assert len(upstream.requests) == 2


@posix_only
def test_stopped_holder_of_the_lock_is_not_waited_for_for_ever(upstream, variant, monkeypatch):
    monkeypatch.setattr(cache, "LOCK_TIMEOUT_S", 0.2)
    upstream.faults.append("stall")
    first = start(variant)
    assert upstream.half_sent.wait(30)
    first.send_signal(signal.SIGSTOP)
    try:
        path = weights.embedding_model_path(variant)
        assert cached_names() == {GRAPH, GRAPH + ".json", GRAPH + ".lock"}  # the lock stays the holder's
    finally:
        first.kill()
        first.communicate()
    assert weights.cached_path(variant) == path


def test_failed_write_leaves_the_cache_as_it_was(mirror, variant, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        EdgeL3Error, match=r"cannot be written to \(No space left on device\); set EDGEL3_ONNX_CACHE to a"
    ):
        weights.embedding_model_path(variant)
    assert cached_names() == set()


def test_leftovers_of_a_process_killed_while_writing_are_removed(mirror, variant):
    weights.cache_dir().mkdir(exist_ok=True)
    (weights.cache_dir() / ".edgel3-onnx-0123456789abcdef.part").write_bytes(b"half")
    (weights.cache_dir() / ".edgel3-onnx-123456789abcdef0.part").write_bytes(b"half")
    weights.embedding_model_path(variant)
    assert cached_names() == {GRAPH, GRAPH + ".json"}


def damage_graph(graph: Path) -> None:
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def truncate_graph(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[:1000])


def remove_record(graph: Path) -> None:
    Path(f"{graph}.json").unlink()


def damage_record(graph: Path) -> None:
    Path(f"{graph}.json").write_bytes(b'{"sha256": \xff')


def outdate_record(graph: Path) -> None:
    record = json.loads(Path(f"{graph}.json").read_text())
    record["origin"]["format"] -= 1
    Path(f"{graph}.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damage_graph, "damaged (sha256 "),
        (truncate_graph, "damaged (sha256 "),
        (remove_record, f"cannot be verified, because {GRAPH}.json is not beside it"),
        (damage_record, f"cannot be verified, because {GRAPH}.json cannot be read"),
        (outdate_record, "made from other weights or by another version of this package"),
    ],
)
def test_unusable_cached_graph_is_noticed_and_made_anew(upstream, variant, monkeypatch, harm, reason):
    path = weights.embedding_model_path(variant)
    good = path.read_bytes()
    harm(path)
    assert weights.cached_path(variant) is None
    with monkeypatch.context() as offline, pytest.raises(EdgeL3Error) as caught:
        offline.setenv("EDGEL3_ONNX_OFFLINE", "1")
        weights.embedding_model_path(variant)
    assert f"  {path}: {reason}" in str(caught.value)
    assert weights.embedding_model_path(variant).read_bytes() == good
    assert len(upstream.requests) == 2


def test_graph_of_another_published_file_is_not_taken_for_this_one(mirror, variant):
    weights.embedding_model_path(variant)
    assert weights.cached_path(dataclasses.replace(variant, git_blob_id="0" * 40)) is None


# What version 0.1.0 wrote about a graph, and beside it.
METADATA_0_1_0 = (
    '{"exporter":"0.1.0","filters":[32,32,64,64,128,128,64,64],"format":1,"frontend":{"amin":1e-10,"hop_length":160,'
    '"n_fft":1024,"n_mels":64,"name":"sea","sample_rate":8000,"top_db":80.0},"kind":"mel","network":'
    '{"batch_norm_epsilon":0.001,"filters":[32,32,64,64,128,128,64,64],"final_activation":true,"frontend":"sea"},'
    '"precision":"fp32","source":{"file":"edgel3_sea_ust_audio_emb_64.h5.gz","sha256":"%s"},"variant":"sea-64"}'
)
RECORD_0_1_0 = '{"origin": {"format": 1, "source": "%s"}, "sha256": "%s"}'


def test_graph_that_version_0_1_0_cached_is_used_as_it_is(seeded_graph, published, variant, monkeypatch):
    model = onnx.load(seeded_graph("sea-64"))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"edgel3_onnx": METADATA_0_1_0 % hashlib.sha256(published).hexdigest()})
    graph = weights.cache_dir() / GRAPH
    graph.write_bytes(model.SerializeToString())
    digest = hashlib.sha256(graph.read_bytes()).hexdigest()
    Path(f"{graph}.json").write_text(RECORD_0_1_0 % (variant.git_blob_id, digest))
    assert weights.embedding_model_path(variant) == weights.cached_path(variant) == graph  # offline, with no mirror
    monkeypatch.setattr("edgel3_onnx.models.find_variant", lambda *arguments: variant)
    loaded = models.load_embedding_model("sea", 64)
    assert loaded.info.path == graph and loaded.predict(golden.audio(8000, 1, 0)[None]).shape == (1, 64)


def test_graphs_are_cached_and_described_as_version_0_1_0_did(mirror, variant, published):
    """So that both versions can share a cache; another layout is another FORMAT."""
    path = weights.embedding_model_path(variant)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert Path(f"{path}.json").read_text() == RECORD_0_1_0 % (variant.git_blob_id, digest)
    expected = json.loads(METADATA_0_1_0 % hashlib.sha256(published).hexdigest())
    assert metadata(path) == {**expected, "exporter": edgel3_onnx.__version__}


def test_copied_cache_is_used(mirror, variant, monkeypatch, tmp_path):
    path = weights.embedding_model_path(variant)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.parent.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.delenv("EDGEL3_ONNX_MIRROR")
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(copy))
    assert weights.embedding_model_path(variant) == copy / GRAPH


def test_cache_directory_of_the_user_unless_the_environment_names_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", "here")
    assert weights.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("EDGEL3_ONNX_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert weights.cache_dir() == tmp_path / "edgel3-onnx"
    assert weights.cached_path(variants()["sea-64"]) is None
    assert list(tmp_path.iterdir()) == []


@posix_only
def test_cache_that_cannot_be_written_is_reported_with_the_way_out(mirror, variant, monkeypatch, tmp_path):
    blocked = tmp_path / "file" / "cache"
    blocked.parent.write_text("not a directory")
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(blocked))
    with pytest.raises(EdgeL3Error) as caught:
        weights.embedding_model_path(variant)
    assert str(caught.value) == (
        f"{GRAPH} is not in the cache directory {blocked}, which cannot be written to (Not a directory); "
        "set EDGEL3_ONNX_CACHE to a directory that can"
    )


def test_unavailable_variant_is_explained_in_few_lines(upstream, variant):
    del upstream.files[variant.file]
    with pytest.raises(EdgeL3Error) as caught:
        weights.embedding_model_path(variant)
    lines = str(caught.value).splitlines()
    assert lines == [
        f"Cannot get the weights of sea-64 ({variant.file}). Tried:",
        f"  {weights.cache_dir() / GRAPH}: not there",
        f"  {upstream.url}/{variant.file}: HTTP 404 Not Found",
        f"  {PUBLISHED}/{variant.file}: not tried, because EDGEL3_ONNX_MIRROR is set",
        "Ways out:",
        "  take the model that comes with this package, which has embeddings of its own:",
        '    edgel3_onnx.load_embedding_model("micro")',
        "  give a weight file: --weights FILE, in Python weights=FILE",
        "  set EDGEL3_ONNX_MIRROR to a directory or an http(s) URL that has this file",
        f"  copy {weights.cache_dir()} from a machine that has this model (EDGEL3_ONNX_CACHE sets the place)",
    ]
    assert cached_names() == set()


def test_unavailable_variant_is_one_error_without_those_behind_it(upstream, variant):
    del upstream.files[variant.file]
    with pytest.raises(EdgeL3Error) as caught:
        weights.embedding_model_path(variant)
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Traceback") == 1 and "HTTP 404" in shown
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value) and str(again) == str(caught.value)


def test_offline_names_the_published_address(variant):
    with pytest.raises(EdgeL3Error) as caught:
        weights.embedding_model_path(variant)
    assert f"  {PUBLISHED}/{variant.file}: not tried, because EDGEL3_ONNX_OFFLINE is set" in str(caught.value)


def test_wrong_digest_is_refused_before_anything_reads_it(upstream, variant):
    upstream.faults.append("corrupt")
    with pytest.raises(EdgeL3Error, match="not the published file"):
        weights.embedding_model_path(variant)
    assert cached_names() == set()


def test_compression_bomb_is_refused(mirror, variant):
    bomb = gzip.compress(bytes(300 << 20), 1)
    (mirror / variant.file).write_bytes(bomb)
    with pytest.raises(EdgeL3Error, match=variant.file):
        weights.embedding_model_path(dataclasses.replace(variant, git_blob_id=download.git_blob_id(bomb)))
    assert cached_names() == set()


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_other_precisions_are_made_from_the_published_file_and_cached(mirror, variant, precision):
    assert weights.cached_path(variant, precision) is None
    path = weights.embedding_model_path(variant, precision=precision)
    assert path == weights.cache_dir() / f"sea-64.mel.{precision}.onnx"
    assert (metadata(path)["precision"], metadata(path)["kind"]) == (precision, "mel")
    (mirror / variant.file).unlink()
    assert weights.embedding_model_path(variant, precision=precision) == path
    assert weights.cached_path(variant, precision) == path
    assert weights.cached_path(variant) is not None


def test_packaged_variant_is_taken_from_the_package(mirror, variant, monkeypatch):
    graph = weights.embedding_model_path(variant).read_bytes()
    packaged = dataclasses.replace(variant, id="shipped", file="shipped.onnx", git_blob_id=None, network=None)
    monkeypatch.setattr(weights.resources, "files", lambda package: mirror)
    (mirror / "shipped.onnx").write_bytes(graph)
    assert weights.embedding_model_path(packaged) == weights.cached_path(packaged) == mirror / "shipped.onnx"
    assert weights.cached_path(packaged, "fp16") is None
    half = weights.embedding_model_path(packaged, precision="fp16")
    assert half == weights.cache_dir() / "shipped.mel.fp16.onnx" == weights.cached_path(packaged, "fp16")


def test_missing_converter_package_is_named(mirror, variant, monkeypatch, tmp_path):
    (tmp_path / "h5py.py").write_text("raise ModuleNotFoundError(name='h5py')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EdgeL3Error, match="Converting weights needs the Python package 'h5py': install it"):
        weights.embedding_model_path(variant)
    assert cached_names() == set()


def test_unknown_precision(variant):
    with pytest.raises(EdgeL3ArgumentError, match="precision must be one of fp32, int8, fp16, got 'int4'"):
        weights.embedding_model_path(variant, precision="int4")
