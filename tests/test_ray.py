"""The engine on Ray: a cluster of two nodes on this machine, and whatever dies on it."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import golden

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else nodes register under another address of this machine
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")
from ray.cluster_utils import Cluster  # noqa: E402

import edgel3_onnx.ray  # noqa: E402
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, embed_corpus, get_embedding, load_embedding_model  # noqa: E402
from test_corpora import Histories, Server, assert_same_rows, failures, rows, tell_histories  # noqa: E402

STORE = 100_000_000  # bytes of each node's object store

# What each process of the cluster does first. The name of a dataset says what happens to who writes it.
SITE = """
import builtins, os, signal, time
flags = os.environ.get("EDGEL3_TEST_FLAGS")
if flags:
    def once(name):
        try:
            os.close(os.open(os.path.join(flags, name), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    open_file, replace = builtins.open, os.replace
    def opened(file, *args, **kwargs):
        if "poison" in os.path.basename(str(file)):
            die()
        return open_file(file, *args, **kwargs)
    def replaced(source, target, **kwargs):
        replace(source, target, **kwargs)
        folder, name = os.path.split(str(target))
        if name.startswith("part-"):
            if "slow" in folder:
                time.sleep(0.4)
            if "after-errors" in folder and folder.endswith("_errors") and once("errors"):
                die()
            if "after-part" in folder and not folder.endswith("_errors") and once("part"):
                die()
            try:
                deaths = os.path.join(flags, "deaths")
                os.unlink(os.path.join(deaths, os.listdir(deaths)[0]))
            except (FileNotFoundError, IndexError):
                return
            die()
    builtins.open, os.replace = opened, replaced
"""
DRIVER = """
import sys
import ray
from edgel3_onnx import embed_corpus, load_embedding_model
ray.init(address=sys.argv[3], log_to_driver=False)
embed_corpus(sys.argv[1], sys.argv[2], model=load_embedding_model("micro"), engine="ray", workers=2, chunk_files=2)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "flags").mkdir()
    (folder / "sitecustomize.py").write_text(SITE)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        environment.setenv("EDGEL3_TEST_FLAGS", str(folder / "flags"))
        environment.setenv("EDGEL3_ONNX_CACHE", str(folder / "cache"))
        health = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "_system_config": health}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.flags = folder / "flags"
        try:
            cluster.nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, micro):
    """A folder of 33 files, one of them bad, and the dataset that one process makes of it."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "in").mkdir()
    for k in range(32):
        soundfile.write(folder / "in" / f"{k:02}.wav", golden.audio(8000, 1 + 0.1 * (k % 7), k), 8000)
    (folder / "in" / "bad.wav").write_bytes(b"RIFF")
    embed_corpus(folder / "in", folder / "whole", model=micro)
    return folder


def embed(corpus, out, micro, **options):
    options = {"inputs": corpus / "in", "output": out, "model": micro, "engine": "ray", "workers": 2, **options}
    return embed_corpus(**{"chunk_files": 2, **options})


def assert_whole(out, corpus):
    assert_same_rows(rows(out), rows(corpus / "whole"))
    assert failures(out).keys() == {"bad.wav"}


@pytest.mark.parametrize("death", ["none", "after-part", "after-errors"])
def test_workers_that_die_are_replaced(cluster, corpus, tmp_path, micro, death):
    out = tmp_path / death
    summary = embed(corpus, out, micro)
    assert (summary.done, summary.skipped, summary.failed) == (32, 0, 1)
    assert_whole(out, corpus)
    again = embed(corpus, out, micro, existing="skip")
    assert (again.done, again.skipped, again.failed) == (0, 32, 1)


def test_a_file_that_always_kills_its_process_is_named(cluster, corpus, tmp_path, micro):
    poison = tmp_path / "in" / "poison.wav"
    poison.parent.mkdir()
    soundfile.write(poison, golden.audio(8000, 1, 0), 8000)
    files = [*sorted((corpus / "in").iterdir()), poison]
    summary = embed(corpus, tmp_path / "set", micro, inputs=files)
    assert (summary.done, summary.failed) == (32, 2)
    assert failures(tmp_path / "set")["poison.wav"] == "the process that worked on it was killed by signal 9, twice"
    assert_same_rows(rows(tmp_path / "set"), rows(corpus / "whole"))
    again = embed(corpus, tmp_path / "set", micro, inputs=files, existing="skip")  # it is not tried again
    assert (again.done, again.skipped, again.failed) == (0, 32, 2)


def wait_for_parts(out, count, patience=60):
    deadline = time.monotonic() + patience
    while len(list(out.glob("part-*"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_driver_that_is_killed(cluster, corpus, tmp_path, micro):
    out = tmp_path / "slow"
    command = [sys.executable, "-P", "-c", DRIVER, corpus / "in", out, cluster.address]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_parts(out, 2)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    before = {path: path.stat().st_ino for path in out.glob("part-*")}
    summary = embed(corpus, out, micro, existing="skip")  # while the workers of the dead one may still be writing
    assert 2 * len(before) - 1 <= summary.skipped < 32 and summary.done + summary.skipped == 32
    assert_whole(out, corpus)


def test_a_node_that_is_killed(cluster, corpus, tmp_path, micro):
    out = tmp_path / "slow"
    found = []
    run = threading.Thread(target=lambda: found.append(embed(corpus, out, micro)))
    run.start()
    wait_for_parts(out, 2)
    cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)
    run.join(90)
    assert not run.is_alive()
    cluster.nodes.append(cluster.add_node(num_cpus=1, object_store_memory=STORE))
    assert (found[0].done, found[0].failed) == (32, 1)
    assert_whole(out, corpus)


class HistoriesOnRay(Histories):
    """A run of them is on Ray, over whose parts processes may die."""

    on_ray = False

    @precondition(lambda self: not self.on_ray)
    @rule(deaths=st.integers(0, 2))
    def once_on_ray(self, deaths):
        self.run_on_ray(deaths)

    def run_on_ray(self, deaths):
        self.on_ray = True
        for number in range(deaths):
            (HistoriesOnRay.deaths / f"{self.number}-{number}").touch()
        model = load_embedding_model("micro", num_threads=1)
        options = {"engine": "ray", "workers": 2, "existing": "skip", "chunk_files": 2}
        embed_corpus(self.inputs, self.out, model=model, **options)
        HistoriesOnRay.runs += 1
        for left in HistoriesOnRay.deaths.iterdir():
            left.unlink()
        rows(self.out)

    def teardown(self):
        if hasattr(self, "inputs") and not self.on_ray:  # it was not drawn
            self.run_on_ray(self.number % 3)
        super().teardown()


def test_twenty_histories_over_all_engines(cluster, tmp_path):
    HistoriesOnRay.deaths, HistoriesOnRay.runs = cluster.flags / "deaths", 0
    HistoriesOnRay.deaths.mkdir()
    server = Server()
    try:
        tell_histories(tmp_path, server, 20, HistoriesOnRay)
    finally:
        server.stop()
        HistoriesOnRay.deaths.rmdir()
    assert HistoriesOnRay.runs >= 20


def test_what_the_workers_cannot_do_is_an_error_of_the_run(cluster, corpus, tmp_path, micro):
    cuda = load_embedding_model("micro", num_threads=1)
    cuda.options = type(cuda.options)(model_type="micro", provider="cuda")
    with pytest.raises(EdgeL3Error, match="provider 'cuda'"):
        embed(corpus, tmp_path / "set", cuda)


def test_an_embedder_for_pipelines(cluster, corpus, micro):
    paths = [str(corpus / "in" / name) for name in ("00.wav", "01.wav", "bad.wav")]
    strategy = ray.data.ActorPoolStrategy(size=1)
    options = {"compute": strategy, "batch_size": 2, "num_cpus": 1}
    rows = ray.data.from_items([{"path": path} for path in paths]).map_batches(
        edgel3_onnx.ray.Embedder, fn_constructor_kwargs={"model_type": "micro", "num_threads": 1}, **options
    )
    by_path = {row["path"]: row for row in rows.iter_rows()}
    arrays = [{"audio": soundfile.read(path)[0], "sr": 8000} for path in paths[:2]]
    given = {"column": "audio", "rate": "sr", "model_type": "micro", "num_threads": 1, "hop_size": 0.5}
    of_arrays = ray.data.from_items(arrays).map_batches(
        edgel3_onnx.ray.Embedder, fn_constructor_kwargs=given, **options
    )
    found = sorted(of_arrays.iter_rows(), key=lambda row: len(row["audio"]))
    for k, path in enumerate(paths[:2]):
        audio, sr = soundfile.read(path)
        for row, hop_size in ((by_path[path], 0.1), (found[k], 0.5)):
            embedding, timestamps = get_embedding(audio, sr, micro, hop_size=hop_size, verbose=0)
            np.testing.assert_allclose(row["embedding"], embedding, rtol=0, atol=1e-5 * np.abs(embedding).max())
            np.testing.assert_array_equal(row["timestamps"], timestamps)
            assert row["error"] is None
    assert by_path[paths[2]]["error"] and len(by_path[paths[2]]["embedding"]) == 0
    with pytest.raises(EdgeL3ArgumentError, match="got hop"):
        edgel3_onnx.ray.Embedder(hop=0.5)
