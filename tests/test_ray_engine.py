"""The engine of a cluster with a stand-in for Ray, which calls the worker here: what it is asked for and answers."""

import sys
import types

import pytest
import soundfile

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, embed_corpus, load_embedding_model
from edgel3_onnx.corpora import ray_engine
from test_corpora import assert_same_rows, failures, rows

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(5):
        soundfile.write(tmp_path / "in" / f"{k}.wav", golden.audio(8000, 1.1 + 0.2 * k, k), 8000)
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    return tmp_path / "in"


class RayError(Exception):
    pass


class Ray:
    """What of Ray is used: one worker, in this process, in the order of the items."""

    def __init__(self, cpus=4.0):
        self.calls, self.cpus, self.is_up, self.refuses, self.breaks = [], cpus, False, None, None
        self.context = types.SimpleNamespace()
        self.exceptions = types.SimpleNamespace(RayError=RayError)
        self.data = types.ModuleType("ray.data")
        self.data.DataContext = types.SimpleNamespace(get_current=lambda: self.context)
        self.data.from_items = self.from_items
        self.data.ActorPoolStrategy = lambda **sizes: sizes

    def is_initialized(self):
        return self.is_up

    def init(self, address, log_to_driver):
        if self.refuses is not None:
            raise self.refuses
        self.calls.append(("init", address))
        self.is_up = True

    def shutdown(self):
        self.calls.append(("shutdown",))
        self.is_up = False

    def cluster_resources(self):
        return {"CPU": self.cpus} if self.cpus else {}

    def from_items(self, items, override_num_blocks):
        assert override_num_blocks == len(items)  # else several chunks would travel together
        self.items = items
        return self

    def map_batches(self, actor, fn_constructor_kwargs, **options):
        self.actor, self.given, self.options = actor, fn_constructor_kwargs, options
        return self

    def iter_rows(self):
        worker = self.actor(**self.given)
        for item in self.items:
            if self.breaks is not None:
                raise self.breaks
            answer = worker({name: [value] for name, value in item.items()})
            yield {"result": answer["result"][0]}


@pytest.fixture
def ray(monkeypatch):
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    return ray


def test_the_rows_are_those_of_this_machine(ray, folder, tmp_path, micro):
    records, whole = [], []
    summary = embed_corpus(
        folder, tmp_path / "set", model=micro, engine="ray", chunk_files=2, address="there", on_record=records.append
    )
    embed_corpus(folder, tmp_path / "whole", model=micro, chunk_files=2, on_record=whole.append)
    assert (summary.done, summary.failed) == (5, 1)
    assert_same_rows(rows(tmp_path / "set"), rows(tmp_path / "whole"))
    assert [(each.path, each.status, each.windows, each.reason) for each in records] == [
        (each.path, each.status, each.windows, each.reason) for each in whole
    ]
    assert failures(tmp_path / "set") == {"bad.wav": "is empty (0 bytes)"}
    assert ray.calls == [("init", "there"), ("shutdown",)]
    assert len({item["chunk"] for item in ray.items}) == 6  # spread over as many workers as there may be
    assert ray.options == {
        "compute": {"min_size": 1, "max_size": 4},
        "batch_size": 1,
        "num_cpus": 1,
        "num_gpus": None,
        "memory": None,
    }
    assert vars(ray.context) == {
        "enable_progress_bars": False,
        "execution_no_progress_timeout_s": -1,
        "max_errored_blocks": 0,
    }
    ray.calls.clear()
    assert embed_corpus(folder / "0.wav", tmp_path / "set", model=micro, engine="ray", existing="skip").skipped == 1
    assert ray.calls == []  # nothing to do


def test_a_cluster_that_is_connected_stays_so(ray, folder, tmp_path, micro):
    ray.is_up = True
    assert embed_corpus(folder, tmp_path / "set", model=micro, engine="ray").done == 5
    assert ray.calls == [] and ray.is_up


@pytest.mark.parametrize(
    ("workers", "cpus", "expected"),
    [
        (None, 4.0, {"min_size": 1, "max_size": 2}),
        (None, 40.0, {"min_size": 1, "max_size": 6}),
        (None, 1.0, {"min_size": 1, "max_size": 1}),
        (None, None, {"min_size": 1, "max_size": 1}),
        (2, 4.0, {"size": 2}),
        (9, 4.0, {"size": 6}),
        ((2, 4), 4.0, {"min_size": 2, "max_size": 4}),
        ((8, 9), 4.0, {"min_size": 6, "max_size": 6}),
    ],
)
def test_how_many_workers_are_asked_for(ray, folder, tmp_path, micro, workers, cpus, expected):
    ray.cpus = cpus
    ray.breaks = RayError("enough")
    options = {"workers": workers, "cpus_per_worker": 2, "gpus_per_worker": 0.5, "memory_per_worker": 1000}
    with pytest.raises(EdgeL3Error, match="enough"):
        embed_corpus(folder, tmp_path / "set", model=micro, engine="ray", chunk_files=1, **options)
    assert ray.options["compute"] == expected
    assert [ray.options[name] for name in ("num_cpus", "num_gpus", "memory")] == [2, 0.5, 1000]


@pytest.mark.parametrize(
    ("address", "error", "where"),
    [
        ("there:1", ConnectionError("nobody answers"), "there:1"),
        (None, RuntimeError("no room"), "this machine"),
        ("x", ValueError("no address"), "x"),
    ],
)
def test_a_cluster_that_cannot_be_used(ray, folder, tmp_path, micro, address, error, where):
    ray.refuses = error
    with pytest.raises(EdgeL3Error) as caught:
        embed_corpus(folder, tmp_path / "set", model=micro, engine="ray", address=address)
    assert str(caught.value) == f"Ray at {where}: cannot be used ({error})" and ray.calls == []


def test_a_cluster_that_gives_up_is_left(ray, folder, tmp_path, micro):
    ray.breaks = RayError("a long story\nof many lines\nthe worker died\n")
    with pytest.raises(EdgeL3Error, match=r"^Ray gave up: the worker died$"):
        embed_corpus(folder, tmp_path / "set", model=micro, engine="ray")
    assert ray.calls == [("init", None), ("shutdown",)]


def test_a_worker_that_cannot_work_says_why(ray, folder, tmp_path, micro, monkeypatch):
    def fails(work, model, **options):
        raise EdgeL3Error("the model cannot be loaded")

    with monkeypatch.context() as patch, pytest.raises(EdgeL3Error, match=r"^the model cannot be loaded$"):
        patch.setattr(ray_engine, "Worker", fails)
        embed_corpus(folder, tmp_path / "set", model=micro, engine="ray")
    assert ray.calls == [("init", None), ("shutdown",)]

    def remove_plan(record):
        for path in (tmp_path / "set" / "_plan").iterdir():
            path.unlink()

    with pytest.raises(EdgeL3Error, match=r"is gone, since another run replaces the dataset$"):
        embed_corpus(
            folder, tmp_path / "set", model=micro, engine="ray", chunk_files=1, existing="skip", on_record=remove_plan
        )


def test_what_workers_are_at_is_told(ray, folder, tmp_path, micro, monkeypatch):
    seen, iterate = [], ray_engine.on_ray

    def told(chunks, work, cluster, on_progress):
        return iterate(chunks, work, cluster, seen.append)

    monkeypatch.setattr("edgel3_onnx.corpora.running.on_ray", told)
    embed_corpus(folder, tmp_path / "set", model=micro, engine="ray")
    assert [(each.path.removeprefix(f"{folder}/"), round(each.seconds, 6)) for each in seen] == [
        *((f"{k}.wav", round(1.1 + 0.2 * k, 6)) for k in range(5)),
        ("bad.wav", 0.0),
    ]
    assert len({each.worker for each in seen}) == 1


def test_how_many_there_may_be_before_the_cluster_is_asked():
    assert [ray_engine.Cluster(workers=each).most_workers for each in (None, 3, (2, 5))] == [16, 3, 5]


def test_without_ray(folder, tmp_path, micro, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EdgeL3Error, match=r"^engine 'ray' needs Ray: pip install 'edgel3-onnx\[ray\]'$"):
        embed_corpus(folder, tmp_path / "set", model=micro, engine="ray")


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ((3, 2), r"^workers must be \(least, most\), got \(3, 2\)$"),
        ((0, 2), r"^workers must be "),
        (0, r"^workers must be "),
        ((1, 2, 3), r"^workers must be "),
    ],
)
def test_workers_that_are_not_allowed(folder, tmp_path, micro, workers, message):
    with pytest.raises(EdgeL3ArgumentError, match=message):
        embed_corpus(folder, tmp_path / "set", model=micro, engine="ray", workers=workers)
