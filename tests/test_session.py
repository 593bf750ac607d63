"""Providers: the one asked for, or an error that says which there are; and graphs that do not fit."""

import json
import logging
import os

import numpy as np
import onnx
import pytest

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, _engine, get_embedding, load_embedding_model
from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.engines.providers import PROVIDERS, Request
from edgel3_onnx.engines.runtime import OnnxRuntimeEngine, installed_providers
from edgel3_onnx.engines.session import open_engine
from parity import relative_error

AUDIO = golden.audio(8000, 2.37, 11)


def test_the_model_says_what_it_is(sea64, seeded_graph):
    assert sea64.sample_rate == 8000
    assert sea64.embedding_dim == 64
    assert sea64.output_shape == (None, 64)
    assert sea64.providers == ["CPUExecutionProvider"]
    assert sea64.info.variant == "sea-64"
    assert (sea64.info.kind, sea64.info.precision, sea64.info.licence) == ("mel", "fp32", "MIT")


def test_a_loaded_model_is_reused_until_its_file_changes(seeded_graph, tmp_path):
    path = tmp_path / "own.onnx"
    path.write_bytes(seeded_graph("sea-64").read_bytes())
    first = load_embedding_model("sea", 64, weights=path)
    assert load_embedding_model("sea", 64, weights=path) is first
    os.utime(path, ns=(1, 1))
    assert load_embedding_model("sea", 64, weights=path) is not first


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name not in installed_providers()])
def test_an_absent_provider_is_an_error_that_says_what_there_is(name, seeded_graph):
    with pytest.raises(EdgeL3Error) as caught:
        load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), provider=name)
    message = str(caught.value)
    assert f"provider {name!r} is not part of the installed ONNX Runtime" in message
    assert "Available here: cpu" in message and PROVIDERS[name].package in message


def test_a_provider_that_onnxruntime_silently_replaces_by_the_cpu_is_an_error(seeded_graph, monkeypatch):
    import onnxruntime

    # ONNX Runtime lists CUDA wherever it was built with it, and then gives a CPU session if a library is missing.
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **_: real(path, providers=["CPUExecutionProvider"])
    )
    with pytest.raises(
        EdgeL3Error, match=r"'cuda' does not load on this machine \(the session got CPUExecutionProvider"
    ):
        open_engine(seeded_graph("sea-64"), "cuda")


@pytest.mark.parametrize(
    ("given", "rest"), [({}, []), ({"use_tf32": "0"}, []), ({"fallback": "cpu"}, ["CPUExecutionProvider"])]
)
def test_cuda_computes_every_node_in_full_precision(given, rest, seeded_graph, monkeypatch):
    import onnxruntime

    asked = []

    def fail(path, options, providers, **_):
        asked.extend(providers)
        raise RuntimeError("no such device")

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(EdgeL3Error, match="no such device"):
        open_engine(seeded_graph("sea-64"), "cuda:1", provider_options=given)
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0", "device_id": "1"}), *rest]


def test_a_provider_that_fails_to_load_is_an_error_with_its_reason(seeded_graph, monkeypatch):
    import onnxruntime

    def fail(*_, **__):
        raise RuntimeError("libcudnn.so.9: cannot open shared object file\nmore")

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(EdgeL3Error, match=r"does not load: libcudnn\.so\.9: cannot open .*file\. Available"):
        open_engine(seeded_graph("sea-64"), "cuda")


def test_auto_says_what_it_runs_on(seeded_graph, caplog):
    caplog.set_level(logging.INFO, "edgel3_onnx")
    model = load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), provider="auto")
    (says,) = [message for message in caplog.messages if message.startswith("provider auto: running on")]
    name = says.split()[4].removesuffix(":")
    assert model.providers[0] in (name, PROVIDERS.get(name, PROVIDERS["cpu"]).onnxruntime_name)


@pytest.mark.parametrize("provider", ["gpu", "ExecutionProvider", "", "cuda:x"])
def test_unknown_provider_names_are_argument_errors(provider, seeded_graph):
    with pytest.raises(EdgeL3ArgumentError, match="provider"):
        load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), provider=provider)


@pytest.mark.parametrize(("argument", "value"), [("num_threads", 0), ("num_threads", 1.5), ("precision", "fp8")])
def test_bad_loading_options_are_argument_errors(argument, value, seeded_graph):
    with pytest.raises(EdgeL3ArgumentError, match=argument):
        load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), **{argument: value})


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_getaffinity")
def test_threads_default_to_the_cpus_this_process_may_use():
    assert available_cpus() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("given", "expected"), [(3, 3), (None, available_cpus())])
def test_a_session_has_the_threads_that_were_asked_for_and_does_not_fall_back(
    seeded_graph, monkeypatch, given, expected
):
    import onnxruntime

    real, seen = onnxruntime.InferenceSession, []

    def record(path, options, **keywords):
        seen.append((options.intra_op_num_threads, options.inter_op_num_threads, keywords["enable_fallback"]))
        return real(path, options, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    open_engine(seeded_graph("sea-64"), num_threads=given)
    assert seen == [(expected, 1, 0)]


def test_any_number_of_threads_gives_the_same_embedding(seeded_graph):
    one, two = (load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), num_threads=n) for n in (1, 2))
    found, expected = (get_embedding(AUDIO, 8000, model, verbose=0)[0] for model in (two, one))
    assert relative_error(found, expected) <= 1e-5


def test_batches_are_padded_to_powers_of_two_where_shapes_cost(seeded_graph):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(seeded_graph("sea-64")), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).uniform(-80, 0, (5, 1, 64, 50)).astype(np.float32)
    padded = OnnxRuntimeEngine(session, Request("openvino")).run(images)
    assert relative_error(padded, OnnxRuntimeEngine(session, Request("cpu")).run(images)) <= 1e-5


def edited(path, change):
    """A copy of the graph at ``path`` whose metadata ``change`` has edited."""
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == "edgel3_onnx"]
    metadata = json.loads(entry.value)
    change(metadata)
    entry.value = json.dumps(metadata)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["frontend"].update(hop_length=242), "metadata, frontend.hop_length: expected 160, found 242"),
        (lambda m: m["frontend"].update(amin=1e-5), "metadata, frontend.amin: expected 1e-10, found 1e-05"),
        (
            lambda m: m["network"].update(batch_norm_epsilon=1e-5),
            "metadata, network.batch_norm_epsilon: expected 0.001, found 1e-05",
        ),
        (lambda m: m.update(format=99), "format 99"),
        (lambda m: m.pop("frontend"), "metadata is damaged"),
    ],
)
def test_a_graph_whose_metadata_disagrees_is_refused(change, message, seeded_graph, tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(edited(seeded_graph("sea-64"), change))
    with pytest.raises(EdgeL3Error) as caught:
        load_embedding_model("sea", 64, weights=path)
    assert message in str(caught.value) and "other.onnx" in str(caught.value)


@pytest.mark.parametrize("name", ["native", "sparse"])
def test_native_runs_the_dense_networks_too(name, sea64, seeded_graph, caplog):
    caplog.set_level(logging.INFO, "edgel3_onnx")
    model = load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), provider=name, num_threads=1)
    assert model.providers == ["native"]
    found, expected = (get_embedding(AUDIO, 8000, m, verbose=0)[0] for m in (model, sea64))
    assert relative_error(found, expected) <= 5e-6
    says = [record.getMessage() for record in caplog.records]
    assert ("provider sparse is another name of native" in says) == (name == "sparse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider": "native:1"}, "takes no device, got provider 'native:1'"),
        ({"provider": "native", "provider_options": {"a": "b"}}, "has no provider_options, got {'a': 'b'}"),
    ],
)
def test_what_native_would_ignore_is_an_argument_error(options, message, seeded_graph):
    with pytest.raises(EdgeL3ArgumentError, match=message):
        load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), **options)


@pytest.mark.parametrize("level", ["baseline", "best"])
@pytest.mark.parametrize("network", ["sea-64", "sparse"])
def test_auto_on_the_cpu_takes_the_engine_that_is_faster(network, level, seeded_graph, monkeypatch):
    monkeypatch.setattr("edgel3_onnx.engines.session.installed_providers", lambda: ["cpu"])
    if level == "baseline":
        monkeypatch.setenv("EDGEL3_ONNX_SIMD", "baseline")
    engine = open_engine(seeded_graph(network), "auto")
    slow = level == "baseline" and network == "sea-64" and len(_engine.levels()) > 1
    assert engine.providers == (["CPUExecutionProvider"] if slow else ["native"])


def test_auto_takes_the_engine_that_there_is_even_where_it_is_slow(seeded_graph, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "edgel3_onnx")
    monkeypatch.setattr("edgel3_onnx.engines.session.installed_providers", lambda: [])
    monkeypatch.setattr("edgel3_onnx.engines.session.faster_than_onnxruntime", lambda network: False)
    assert open_engine(seeded_graph("sea-64"), "auto").providers == ["native"]
    assert "provider auto: running on native: ONNX Runtime is not installed" in caplog.messages


def test_auto_runs_on_the_cpu_provider_what_native_cannot(tmp_path, seeded_graph):
    from edgel3_onnx.export.convert.waveform import add_front_end

    path = tmp_path / "g.onnx"
    path.write_bytes(add_front_end(seeded_graph("sea-64").read_bytes()))
    assert open_engine(path, "auto").providers[-1] == "CPUExecutionProvider"


def test_threads_and_no_fallback_are_what_onnxruntime_is_told(seeded_graph, monkeypatch):
    import onnxruntime

    asked = []
    real = onnxruntime.InferenceSession

    def note(path, options, **arguments):
        asked.append((options.intra_op_num_threads, options.inter_op_num_threads, arguments["enable_fallback"]))
        return real(path, options, **arguments)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    open_engine(seeded_graph("sea-64"), "cpu", num_threads=3)
    open_engine(seeded_graph("sea-64"), "cpu")
    assert asked == [(3, 1, 0), (available_cpus(), 1, 0)]


def test_threads_are_what_native_is_told(seeded_graph):
    assert open_engine(seeded_graph("sea-64"), "native", num_threads=3).num_threads == 3
    assert open_engine(seeded_graph("sea-64"), "native").num_threads == available_cpus()
