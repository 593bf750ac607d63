"""Recordings and datasets that are not files of this machine: an S3 server on loopback with faults, tar archives."""

import http.client
import io
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, cli, embed_corpus, load_embedding_model
from edgel3_onnx.outputs.inspect import read_metadata
from edgel3_onnx.recordings import location
from test_corpora import assert_same_rows

pytest.importorskip("pyarrow.fs")


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


_OF_HOPS = ("expect", "transfer-encoding")  # headers that are not passed on


class Faulty(BaseHTTPRequestHandler):
    """Passes requests on to the real server; some it refuses, delays or breaks off."""

    protocol_version = "HTTP/1.1"
    target = ""
    dice = random.Random(5)
    faults = 0.0
    counts: ClassVar[dict[str, int]] = {}

    def log_message(self, *args):
        pass

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while length := int(self.rfile.readline(), 16):
                body += self.rfile.read(length + 2)[:length]
            self.rfile.readline()
        fate = self.dice.choice(["refuse", "cut", "slow"]) if self.dice.random() < self.faults else "good"
        self.counts[fate] = self.counts.get(fate, 0) + 1
        if fate == "refuse":
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fate == "slow":
            time.sleep(0.2)
        there = http.client.HTTPConnection(self.target.removeprefix("http://"))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_HOPS}
        there.request(self.command, self.path, body, {"Content-Type": "application/octet-stream", **headers})
        answer = there.getresponse()
        status, headers, data = answer.status, answer.headers, answer.read()
        there.close()
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length") or str(len(data)))
        self.end_headers()
        if fate == "cut" and len(data) > 1:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on


@pytest.fixture(scope="module")
def s3():
    """The server behind Faulty, as URIs without more reach it; a function from a share of faults to their counts."""
    pytest.importorskip("moto.server")
    code = (
        "from moto.server import ThreadedMotoServer; import time;"
        "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False); server.start();"
        "print(server.get_host_and_port()[1], flush=True); time.sleep(3600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    Faulty.target = f"http://127.0.0.1:{int(process.stdout.readline())}"
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()

    def faults(share):
        Faulty.faults, Faulty.counts = share, {}
        return Faulty.counts

    with pytest.MonkeyPatch.context() as environment:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ):
            environment.setenv(name, value)
        location._store.cache_clear()
        urllib.request.urlopen(urllib.request.Request(f"{Faulty.target}/corpus", method="PUT"))
        yield faults
    location._store.cache_clear()
    proxy.shutdown()
    process.kill()
    process.wait()


def put(key, data):
    binary = {"Content-Type": "application/octet-stream"}  # else moto takes it for a form, and waits
    urllib.request.urlopen(urllib.request.Request(f"{Faulty.target}/corpus/{key}", data, binary, method="PUT"))


def table(files):
    """The rows of a dataset's parts, sorted by the names of the recordings."""
    import pyarrow
    from pyarrow import parquet

    whole = pyarrow.concat_tables(parquet.read_table(file) for file in files)
    names = [os.path.basename(path) for path in whole["path"].to_pylist()]
    whole = whole.set_column(0, "path", pyarrow.array(names))
    return whole.sort_by([("path", "ascending"), ("timestamp", "ascending")])


def parts_in_store(uri):
    from pyarrow import fs

    store, path = location.resolve(uri)
    listing = store.get_file_info(fs.FileSelector(path))
    return [store.open_input_file(info.path) for info in listing if info.base_name.startswith("part-")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, micro):
    """A folder of recordings, one of them bad, and the rows of the dataset made of it."""
    folder = tmp_path_factory.mktemp("corpus")
    for k in range(200):
        path = folder / "in" / f"{k % 3}" / f"{k:03} ä.{'wav' if k % 2 else 'flac'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, golden.audio(8000, 0.5 + 0.1 * (k % 9), k), 8000)
    (folder / "in" / "0" / "bad.wav").write_bytes(b"RIFF")
    embed_corpus(folder / "in", folder / "whole", model=micro)
    return folder


@pytest.mark.parametrize("share", [0.0, 0.04])
def test_a_corpus_in_a_store_is_the_same_as_on_disk(s3, corpus, micro, share):
    s3(0)
    if share == 0:
        for path in sorted((corpus / "in").rglob("*.*")):
            put(urllib.request.quote(f"in/{path.relative_to(corpus / 'in')}"), path.read_bytes())
    counts = s3(share)
    out = f"s3://corpus/out{share}"
    summary = embed_corpus("s3://corpus/in", out, model=micro, existing="skip", chunk_files=20)
    while summary.done + summary.skipped < 200:  # a part that could not be sent after all
        summary = embed_corpus("s3://corpus/in", out, model=micro, existing="skip", chunk_files=20)
    assert summary.failed == 1
    if share:
        assert min(counts[fate] for fate in ("refuse", "cut", "slow")) >= 3, counts
    s3(0)
    again = embed_corpus("s3://corpus/in", out, model=micro, existing="skip")
    assert (again.done, again.skipped, again.failed) == (0, 200, 1)
    assert_same_rows(table(parts_in_store(out)), table((corpus / "whole").glob("part-*")))


def test_a_file_of_a_store_on_the_command_line(s3, corpus, tmp_path, capsys):
    s3(0)
    path = next((corpus / "in" / "1").glob("*.wav"))
    put("one.wav", path.read_bytes())
    missing = "s3://corpus/nothing.wav"
    options = {"model_type": "micro", "format": "parquet"}
    summary = cli.run(["s3://corpus/one.wav", missing], "s3://corpus/set", **options)
    assert (summary.done, summary.failed) == (1, 1)
    assert f"{missing}: cannot be read" in capsys.readouterr().err
    (name,) = [file for file in location.resolve("s3://corpus/set")[0].get_file_info(_selector("corpus/set"))
               if file.base_name.startswith("part-")]  # fmt: skip
    (source,) = read_metadata(f"s3://{name.path}")["sources"]
    assert source["path"] == source["absolute_path"] == "s3://corpus/one.wav"


def _selector(path):
    from pyarrow import fs

    return fs.FileSelector(path)


def test_a_store_that_is_not_there_is_one_line(s3, corpus, tmp_path, micro):
    with pytest.raises(EdgeL3Error, match="known to neither pyarrow nor fsspec"):
        embed_corpus(corpus / "in", "nowhere://bucket/set", model=micro)


def test_a_large_object_is_read_in_blocks(s3, tmp_path, monkeypatch):
    data = random.Random(3).randbytes(5_000_000)
    put("large", data)
    with location.open_binary("s3://corpus/large") as file:
        raw = file.raw
        assert file.read(10) == data[:10] and len(raw._object._blocks) == 1
        file.seek(4_999_990)
        assert file.read() == data[-10:] and file.read() == b""
        file.seek(0)
        assert file.read() == data and len(raw._object._blocks) <= 4
        with pytest.raises(OSError, match="Invalid argument"):
            raw.seek(-1)


def test_members_of_archives_are_recordings(corpus, tmp_path, micro):
    """Shards of WebDataset; names may be long, and other members lie between."""
    paths = [corpus / "in" / "0" / "bad.wav", *sorted((corpus / "in" / "1").iterdir())[:39]]
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for k, path in enumerate(paths[shard::2]):
                tar.add(path, ("long" * 40 + "/" if k % 5 == 0 else "") + path.name)
                tar.addfile(tarfile.TarInfo(f"{k}.json"), io.BytesIO())
    shards = [str(tmp_path / f"{shard}.tar") for shard in range(2)]
    summary = embed_corpus(shards, tmp_path / "set", model=micro)
    assert (summary.done, summary.failed) == (39, 1)
    embed_corpus(paths, tmp_path / "whole", model=micro)
    assert_same_rows(table((tmp_path / "set").glob("part-*")), table((tmp_path / "whole").glob("part-*")))
    assert embed_corpus(shards, tmp_path / "set", model=micro, existing="skip").skipped == 39
    part = next(part for part in (tmp_path / "set").glob("part-*") if read_metadata(part)["sources"])
    assert read_metadata(part)["sources"][0]["path"].startswith(f"{tmp_path}/0.tar/")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:300])
    assert embed_corpus(tmp_path / "cut.tar", tmp_path / "other", model=micro).failed == 1


def test_archives_in_a_store(s3, corpus, tmp_path, micro):
    s3(0)
    paths = sorted((corpus / "in" / "2").glob("*.wav"))[:5]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    put("a.tar", (tmp_path / "a.tar").read_bytes())
    assert embed_corpus("s3://corpus/a.tar", tmp_path / "set", model=micro).done == 5
    embed_corpus(paths, tmp_path / "whole", model=micro)
    assert_same_rows(table((tmp_path / "set").glob("part-*")), table((tmp_path / "whole").glob("part-*")))


def test_what_fsspec_knows(corpus, micro, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    path = next((corpus / "in" / "1").glob("*.flac"))
    memory.pipe("/bucket/a.flac", path.read_bytes())
    assert embed_corpus("memory://bucket/a.flac", tmp_path / "set", model=micro).done == 1
    assert embed_corpus("memory://bucket", "memory://set", model=micro).done == 1
    assert [name for name in memory.ls("/set", detail=False) if "part-" in name]


def test_a_filesystem_of_ones_own(s3, corpus, tmp_path, micro, monkeypatch):
    """Where the environment does not say how to reach a store: pyarrow's object, and fsspec's, in several processes."""
    from pyarrow import fs

    s3(0)
    paths = sorted((corpus / "in" / "1").glob("*.wav"))[:6]
    for path in paths:
        put(urllib.request.quote(f"own/{path.name}"), path.read_bytes())
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    location._store.cache_clear()
    try:
        own = fs.S3FileSystem(access_key="test", secret_key="test", region="us-east-1", endpoint_override=endpoint)
        embed_corpus(paths, tmp_path / "whole", model=micro)
        for number, options in enumerate([{}, {"workers": 2, "chunk_files": 1}]):
            out = f"s3://corpus/own-set{number}"
            assert embed_corpus("s3://corpus/own", out, model=micro, filesystem=own, **options).done == 6
            with location.reached_by(own):
                assert_same_rows(table(parts_in_store(out)), table((tmp_path / "whole").glob("part-*")))
                with pytest.raises(EdgeL3ArgumentError, match="other runs of this process"):
                    embed_corpus("s3://corpus/own", out, model=micro, filesystem=fs.LocalFileSystem())
    finally:
        location._store.cache_clear()
    with pytest.raises(EdgeL3ArgumentError, match="filesystem must be one of pyarrow's or fsspec's, got 3"):
        embed_corpus(paths, tmp_path / "other", model=micro, filesystem=3)


def test_a_filesystem_of_fsspec(corpus, micro, tmp_path):
    directory = pytest.importorskip("fsspec").filesystem("dir", path=str(corpus / "in"), target_protocol="file")
    summary = embed_corpus("dir://1", tmp_path / "set", model=micro, filesystem=directory)
    embed_corpus(corpus / "in" / "1", tmp_path / "whole", model=micro)
    assert summary.done == 67
    assert_same_rows(table((tmp_path / "set").glob("part-*")), table((tmp_path / "whole").glob("part-*")))
