"""The native engine's scheduler: same bits for any number of threads and batch, whoever comes when."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import engine_oracle as oracle
from edgel3_onnx.engines import native
from edgel3_onnx.engines.native import NativeEngine

# Threads meet at every step, and one that is too early finds what another has not done yet: the last step, which makes
# the embedding of the maxima, is made long by many channels, and with an even number of stages the maxima lie where the
# image of the next window goes first. Taps share every window; of the other network's, each thread takes whole ones as
# long as there are enough, and they share the rest.
NETWORKS = {
    "taps": oracle.network(64, 96, (2, 3, 400), density=0.1),
    "winograd": oracle.network(20, 18, (8, 12, 30), activations=["relu", "silu", "linear"], pools=(1,)),
}


@pytest.mark.parametrize("method", NETWORKS)
def test_any_number_of_threads_and_windows_gives_the_same_bits(method):
    """Some 1600 runs: finds the scheduler without any one of its waits (each was taken out once)."""
    network = NETWORKS[method]
    images = oracle.images(network, 6)
    alone = NativeEngine(network, 1, method)
    expected = alone.run(images)
    assert all(np.array_equal(alone.run(images[i : i + 1])[0], expected[i]) for i in range(6))
    for threads in (2, 3, 4, 8):
        engine = NativeEngine(network, threads, method)
        for _ in range(67):
            for n in range(1, 7):
                # The memory of the result before may be handed out again: what was not computed must not look so.
                found = engine.run(images[:n])
                assert np.array_equal(found, expected[:n])
                found.fill(np.nan)


@pytest.mark.parametrize("method", NETWORKS)
def test_concurrent_calls(method):
    network = NETWORKS[method]
    engine, batch = NativeEngine(network, 2, method), oracle.images(network, 4)
    alone = [engine.run(batch[i : i + 1]) for i in range(4)]
    wrong = []

    def call(i):
        for _ in range(50):
            if not np.array_equal(engine.run(batch[i : i + 1]), alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_helpers_come_with_the_engine_and_end_with_it():
    before = set(threading.enumerate())
    engine = NativeEngine(NETWORKS["taps"], 4)
    engine.run(oracle.images(NETWORKS["taps"], 1))
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 3
    del engine
    for helper in helpers:
        helper.join(10)
        assert not helper.is_alive()


@pytest.mark.parametrize("threads", [2, 3])
def test_every_helper_is_given_each_batch(threads, monkeypatch):
    everyone, workers = threading.Barrier(threads), []

    class Job:
        """A job that waits until all have come."""

        def __init__(self, *arguments):
            self.job = RealJob(*arguments)

        def work(self):
            workers.append(threading.get_ident())
            everyone.wait(10)
            self.job.work()

    RealJob = native._engine.Job
    monkeypatch.setattr(native._engine, "Job", Job)
    network = NETWORKS["taps"]
    images = oracle.images(network, 1)
    engine = NativeEngine(network, threads)
    for batches in (1, 2):
        engine.run(images)
        assert len(workers) == threads * batches
    assert len(set(workers)) == threads


def test_one_thread_has_no_helpers():
    before = threading.active_count()
    engine = NativeEngine(NETWORKS["taps"], 1)
    assert threading.active_count() == before and engine.num_threads == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_works_on_with_helpers_after_fork(tmp_path):
    path = oracle.write_graph(tmp_path / "g.onnx", NETWORKS["winograd"])
    code = """
import os, sys, threading, numpy as np
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines import native
from edgel3_onnx.engines.native import NativeEngine
engine, images = NativeEngine(read_network(sys.argv[1]), 3), np.full((2, 1, 20, 18), -40, np.float32)
expected = engine.run(images)
child = os.fork()
if not child:
    for _ in range(2):
        assert np.array_equal(engine.run(images), expected)
    assert sum(t.name == "edgel3-native" and t.is_alive() for t in threading.enumerate()) == 2
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(engine.run(images), expected)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-P", "-c", code, path], check=True, timeout=60)
