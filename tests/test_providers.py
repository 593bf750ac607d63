"""Providers: what they are called, that fp32 is fp32 on those installed, that no node runs elsewhere, what auto takes.

Tests of a real plugin need it installed: the step ``providers`` of .ci/run has an environment for them, and names in
EDGEL3_ONNX_PLUGINS those that must be there. A plugin that finds no device must say so.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import golden
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, get_embedding, load_embedding_model
from edgel3_onnx.engines import probe, runtime
from edgel3_onnx.engines.plugins import devices, installed_plugin
from edgel3_onnx.engines.providers import PROVIDERS, Request, check_options, check_provider
from edgel3_onnx.engines.quiet import quiet
from edgel3_onnx.engines.session import open_engine
from edgel3_onnx.export.convert.waveform import add_front_end
from parity import least_cosine, relative_error

AUDIO = golden.audio(8000, 2.37, 11)
FEW = 1.0  # hop size in seconds, for a processor in place of a GPU
EXACT = 2e-6  # what rounding in another order makes of an embedding


# Names and options.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cuda:1", ("cuda", "1")),
        ("openvino:gpu", ("openvino", "gpu")),
        ("OpenVINOExecutionProvider", ("openvino", "")),
        ("webgpu:0", ("webgpu", "0")),
        ("sparse", ("native", "")),
    ],
)
def test_a_device_may_follow_the_name(given, expected):
    assert check_provider(given) == expected


@pytest.mark.parametrize("given", ["cpu:gpu", "openvino:tpu", "webgpu:1", "auto:0", "native:0", "cuda:"])
def test_a_device_that_there_cannot_be_is_an_argument_error(given):
    with pytest.raises(EdgeL3ArgumentError, match=f"got provider '{given}'"):
        check_provider(given)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cuda", {"use_tf32": "1"}),
        ("tensorrt", {"trt_fp16_enable": "True"}),
        ("tensorrt", {"trt_bf16_enable": "1"}),
        ("tensorrt", {"trt_int8_enable": "1"}),
        ("openvino", {"precision": "FP16"}),
        ("coreml", {"AllowLowPrecisionAccumulationOnGPU": "1"}),
        ("qnn", {"enable_htp_fp16_precision": "1"}),
        ("migraphx", {"migraphx_fp16_enable": "1"}),
        ("migraphx", {"migraphx_bf16_enable": "1"}),
        ("migraphx", {"migraphx_fp8_enable": "1"}),
        ("migraphx", {"migraphx_int8_enable": "1"}),
    ],
)
def test_an_option_that_contradicts_fp32_is_an_argument_error(name, options):
    ((option, value),) = options.items()
    with pytest.raises(EdgeL3ArgumentError, match=f"{option}={value} contradicts precision fp32"):
        check_options(Request(name, options=tuple(options.items())))
    check_options(Request(name, options=tuple(options.items()), precision="fp16"))
    check_options(Request(name, options=((option, dict(PROVIDERS[name].exact)[option]),)))


@pytest.mark.parametrize(("provider", "reason"), [("native", "engine computes in fp32"), ("cpu", "on Arm alone")])
def test_bf16_is_refused_with_the_reason(provider, reason, seeded_graph, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(EdgeL3Error, match=f"precision bf16: .*{reason}"):
        load_embedding_model("sea", 64, weights=seeded_graph("sea-64"), provider=provider, precision="bf16")


def test_bf16_that_changes_nothing_is_refused(seeded_graph, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")  # which may have it; here it is not had
    with pytest.raises(EdgeL3Error, match="computes in fp32 all the same"):
        open_engine(seeded_graph("sea-64"), "cpu", precision="bf16")


def test_fallback_takes_one_value(seeded_graph):
    with pytest.raises(EdgeL3ArgumentError, match="fallback must be cpu, got 'gpu'"):
        open_engine(seeded_graph("sea-64"), "cuda", provider_options={"fallback": "gpu"})


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("openvino", {"device_type": "CPU", "num_of_threads": "3"}),
        ("openvino:gpu", {"device_type": "GPU", "num_of_threads": "3"}),
    ],
)
def test_openvino_in_place_of_onnxruntime_is_told_device_and_threads(provider, expected, seeded_graph, monkeypatch):
    import onnxruntime

    asked = []

    def fail(path, options, providers, **_):
        asked.extend(providers)
        raise RuntimeError("no such device")

    monkeypatch.setattr(runtime, "installed_plugin", lambda provider: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["OpenVINOExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(EdgeL3Error, match="no such device"):
        open_engine(seeded_graph("sea-64"), provider, num_threads=3)
    assert asked == [("OpenVINOExecutionProvider", expected)]


def test_cuda_that_is_built_in_takes_numbers(seeded_graph, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(runtime, "installed_plugin", lambda provider: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(EdgeL3ArgumentError, match="takes devices by number, got 'gpu'"):
        open_engine(seeded_graph("sea-64"), "cuda:gpu")


# The probe.


def test_the_probe_is_exact_in_fp32_and_sees_shorter_factors():
    engine = runtime._open(probe.graph(), Request("cpu"))
    assert probe.error(engine.run(probe.images())) <= probe.EXACT / 10
    shorter = probe.images().astype(np.float16).astype(np.float32)  # one factor of the two
    assert probe.error(engine.run(shorter)) == pytest.approx(2**-13, rel=1e-3)


def test_a_provider_that_shortens_products_is_refused_in_fp32(seeded_graph, monkeypatch):
    cpu = runtime._open
    monkeypatch.setattr(runtime, "_open", lambda graph, request: cpu(graph, Request("cpu")))
    monkeypatch.setattr(probe, "images", lambda: np.ones((1, 4, 8, 8), np.float32))  # as a shortened factor would be
    runtime.measured_error.cache_clear()
    with pytest.raises(EdgeL3Error, match=r"'cuda' computes in reduced precision \(1\.2e-04\)"):
        open_engine(seeded_graph("sea-64"), "cuda")
    assert open_engine(seeded_graph("sea-64"), "cuda", precision="fp16").kind == "mel"
    runtime.measured_error.cache_clear()


# Plugins that are not what they should be.


@pytest.fixture
def broken_plugin(tmp_path, monkeypatch):
    """An installed plugin whose module says, on import, that it was imported."""
    module = tmp_path / "onnxruntime_ep_mlx.py"
    module.write_text("raise OSError('imported')")
    folder = tmp_path / "onnxruntime_ep_mlx-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-mlx\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_plugin_is_found_without_importing_it(broken_plugin):
    assert "mlx" in runtime.installed_providers()
    assert installed_plugin(PROVIDERS["mlx"]).distribution == "onnxruntime-ep-mlx"


def test_a_plugin_that_cannot_be_registered_is_an_error_with_its_reason(broken_plugin, seeded_graph):
    with pytest.raises(EdgeL3Error, match="onnxruntime-ep-mlx cannot be registered: imported"):
        open_engine(seeded_graph("sea-64"), "mlx")


def test_a_plugin_needs_a_newer_onnxruntime(broken_plugin, seeded_graph, monkeypatch):
    import onnxruntime

    monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
    with pytest.raises(EdgeL3Error, match=r"onnxruntime-ep-mlx needs ONNX Runtime 1\.23 or later, found"):
        open_engine(seeded_graph("sea-64"), "mlx")


# Standard error.


def test_what_plugins_say_is_held_back_and_what_others_say_is_not(capfd, caplog):
    caplog.set_level(logging.DEBUG, "edgel3_onnx")
    with quiet(), quiet():
        os.write(2, b"\x1b[0;93m2026-01-01 00:00:00.5 [W:onnxruntime:Default, api.cc:1 f] chatter\x1b[m\n")
        os.write(2, b"error: XDG_RUNTIME_DIR is invalid or not set in the environment.\n")
        os.write(2, b"a line of another thread\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "a line of another thread\nafter\n"
    assert [("chatter" in text, "XDG" in text) for text in caplog.messages] == [(True, False), (False, True)]


def test_standard_error_comes_back_after_an_error(capfd):
    with pytest.raises(ValueError), quiet():
        raise ValueError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


@pytest.mark.parametrize("what", ["TemporaryFile", "dup"])
def test_where_nothing_can_be_held_back_nothing_is(capfd, monkeypatch, what):
    def fail(*arguments):
        raise OSError("none left")

    monkeypatch.setattr("tempfile.TemporaryFile" if what == "TemporaryFile" else "os.dup", fail)
    chatter = b"2026-01-01 00:00:00.5 [W:onnxruntime:Default, api.cc:1 f] chatter\n"
    for _ in range(2):
        with quiet():
            os.write(2, chatter)
    monkeypatch.undo()
    assert capfd.readouterr().err == 2 * chatter.decode()


# auto.


@pytest.fixture
def opened(monkeypatch):
    """Lets no provider open, but for those put into ``works``; lists those that were tried."""

    class Opened(list):
        works: tuple[str, ...] = ()

    tried = Opened()

    def fake(path, request):
        tried.append((request.name, request.device, request.precision))
        if request.name not in tried.works:
            raise EdgeL3Error(f"{request.name} does not open")
        return request.name

    monkeypatch.setattr("edgel3_onnx.engines.session.open_runtime", fake)
    return tried


@pytest.mark.parametrize(
    ("installed", "network", "precision", "vnni", "expected"),
    [
        (["cpu"], "sea-64", "fp32", True, "native"),
        (["cpu"], "sparse", "fp32", True, "native"),
        (["cpu"], "sea-64", "int8", True, "cpu"),
        (["cpu", "openvino"], "sparse", "fp32", True, "native"),  # not the dense OpenVINO
        (["cpu", "openvino"], "sea-64", "fp32", True, "native"),
        (["cpu", "openvino"], "sea-64", "int8", True, "openvino"),
        (["cpu", "openvino"], "sea-64", "int8", False, "cpu"),
        (["cpu", "openvino"], "sea-64", "bf16", True, "openvino"),
        (["cpu", "cuda"], "sparse", "fp32", True, "cuda"),
        ([], "sea-64", "fp32", True, "native"),
    ],
)
def test_auto_takes_a_gpu_else_what_is_fastest(
    installed, network, precision, vnni, expected, opened, seeded_graph, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "edgel3_onnx")
    opened.works = tuple(installed)
    monkeypatch.setattr("edgel3_onnx.engines.session.installed_providers", lambda: installed)
    monkeypatch.setattr("edgel3_onnx.engines.session.has_int8_products", lambda: vnni)
    monkeypatch.setattr("edgel3_onnx.engines.session.installed_plugin", lambda provider: None)
    monkeypatch.setattr("edgel3_onnx.engines.session.faster_than_onnxruntime", lambda network: True)
    engine = open_engine(seeded_graph(network), "auto", precision=precision)
    assert (engine if isinstance(engine, str) else engine.providers[0]) == expected
    assert f"provider auto: running on {expected}: " in caplog.text


def test_auto_goes_on_from_a_gpu_that_does_not_open_and_says_why(opened, seeded_graph, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "edgel3_onnx")
    opened.works = ("cpu",)
    monkeypatch.setattr("edgel3_onnx.engines.session.installed_providers", lambda: ["cpu", "cuda"])
    monkeypatch.setattr("edgel3_onnx.engines.session.faster_than_onnxruntime", lambda network: False)
    assert open_engine(seeded_graph("sea-64"), "auto") == "cpu"
    assert opened == [("cuda", "", "fp32"), ("cpu", "", "fp32")]
    assert "provider auto: cuda does not open" in caplog.messages


def test_auto_without_anything_that_works_is_an_error(opened, seeded_graph, monkeypatch):
    monkeypatch.setattr("edgel3_onnx.engines.session.installed_providers", lambda: [])
    with pytest.raises(EdgeL3Error, match=r"provider auto: nothing here runs .*cpu does not open"):
        open_engine(seeded_graph("sea-64"), "auto", precision="int8")


def test_without_onnxruntime_the_cpu_provider_says_what_to_install(seeded_graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert runtime.installed_providers() == []
    assert open_engine(seeded_graph("sea-64"), "auto").providers == ["native"]
    with pytest.raises(EdgeL3Error, match="'cpu' needs ONNX Runtime, which is not installed: pip install onnxruntime"):
        open_engine(seeded_graph("sea-64"), "cpu")


# Plugins that are installed.


def device_of(name: str, graph: Path):
    """The provider's device; or a skip that says why there is none, after the provider has said so too."""
    plugin = installed_plugin(PROVIDERS[name])
    if plugin is None:
        assert name not in os.environ.get("EDGEL3_ONNX_PLUGINS", "").split(), f"the plugin of {name} is not installed"
        pytest.skip(f"needs {PROVIDERS[name].plugins[0].distribution}")
    there = devices(plugin)
    if not there:
        with pytest.raises(EdgeL3Error, match=f"{plugin.distribution} is installed and finds no device"):
            open_engine(graph, name)
        pytest.skip(f"{plugin.distribution} finds no device here: it was refused, and could not be measured")
    return there[0]


@pytest.fixture
def graph(seeded_graph):
    return seeded_graph("sea-64")


@pytest.fixture
def openvino(graph):
    return device_of("openvino", graph)


def embedding(graph, provider, hop_size=0.1, **options):
    model = load_embedding_model("sea", 64, weights=graph, provider=provider, **options)
    return get_embedding(AUDIO, 8000, model, hop_size=hop_size, verbose=0)[0]


@pytest.mark.parametrize("kind", ["mel", "waveform"])
@pytest.mark.parametrize("name", ["openvino", "webgpu"])
def test_fp32_is_fp32_and_every_node_runs_there(name, kind, graph, tmp_path):
    device_of(name, graph)
    path = graph
    if kind == "waveform":
        path = tmp_path / "waveform.onnx"
        path.write_bytes(add_front_end(graph.read_bytes()))
    hop_size = FEW if name == "webgpu" else 0.1
    assert relative_error(embedding(path, name, hop_size), embedding(path, "cpu", hop_size)) <= EXACT
    places = runtime._places(open_engine(path, name)._session)
    assert len(places) > 20 and {place for place, _ in places} == {PROVIDERS[name].onnxruntime_name}
    assert runtime.measured_error(Request(name)) <= probe.EXACT


def test_bf16_is_near_and_recorded_or_refused(openvino, graph, tmp_path):
    if "BF16" not in dict(openvino.ep_metadata)["OPTIMIZATION_CAPABILITIES"].split():
        with pytest.raises(EdgeL3Error, match="precision bf16: OpenVINO's device CPU has no fast bf16"):
            embedding(graph, "openvino", precision="bf16")
        return
    found, expected = embedding(graph, "openvino", precision="bf16"), embedding(graph, "cpu")
    assert 1e-4 < relative_error(found, expected) <= 1e-2
    assert least_cosine(found, expected) >= 0.9999
    model = load_embedding_model("sea", 64, weights=graph, provider="openvino", precision="bf16")
    assert model.info.precision == "bf16" and model.info.path == graph
    waveform = tmp_path / "waveform.onnx"
    waveform.write_bytes(add_front_end(graph.read_bytes()))
    with pytest.raises(EdgeL3Error, match="bf16 is for mel graphs"):
        embedding(waveform, "openvino", precision="bf16")


def test_int8_is_that_of_onnxruntime(openvino, graph):
    found, expected = (embedding(graph, name, precision="int8") for name in ("openvino", "cpu"))
    assert relative_error(found, expected) <= 1e-2


@pytest.mark.parametrize(
    "config",
    [{"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}}, {"CPU": {"INFERENCE_NUM_THREADS": 3}}, {"cpu": {}}, [], "x"],
)
def test_openvino_options_that_contradict_or_would_be_ignored_are_argument_errors(config, openvino, graph):
    text = config if isinstance(config, str) else json.dumps(config)
    with pytest.raises(EdgeL3ArgumentError, match="provider_options: load_config"):
        open_engine(graph, "openvino", num_threads=2, provider_options={"load_config": text})
    with pytest.raises(EdgeL3ArgumentError, match="ignores num_of_threads=1"):
        open_engine(graph, "openvino", provider_options={"num_of_threads": "1"})


@pytest.mark.parametrize(("device", "error"), [("7", EdgeL3ArgumentError), ("npu", EdgeL3Error)])
def test_a_device_that_is_not_there_is_an_error_that_lists_those_that_are(device, error, openvino, graph):
    with pytest.raises(error, match=r"has no (device )?(7|npu).*; there are 0 \(cpu\)"):
        open_engine(graph, f"openvino:{device}")


BUSY = """
import sys, threading
from pathlib import Path
import numpy as np
from edgel3_onnx.engines.session import open_engine
engine = open_engine(Path(sys.argv[1]), "openvino", num_threads=int(sys.argv[2]))
images = np.zeros((32, 1, 64, 50), np.float32)
def ticks():
    tasks = {task.name: (task / "stat").read_text() for task in Path("/proc/self/task").iterdir()}
    return {name: sum(map(int, stat.rpartition(")")[2].split()[11:13])) for name, stat in tasks.items()}
before = ticks()
for _ in range(60):
    engine.run(images)
used = [after - before.get(name, 0) for name, after in ticks().items()]
print(sum(each > 0.1 * sum(used) for each in used))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_that_were_asked_for_do_the_work(threads, openvino, graph):
    if threads > len(os.sched_getaffinity(0)):
        pytest.skip("needs two CPUs")
    run = subprocess.run(
        [sys.executable, "-P", "-c", BUSY, graph, str(threads)], capture_output=True, text=True, timeout=100
    )
    assert (run.stdout, run.stderr) == (f"{threads}\n", "")


RACE = """
import sys, threading
from pathlib import Path
import numpy as np
from edgel3_onnx import load_embedding_model
ready, found = threading.Barrier(8), []
def load(number):
    ready.wait()
    model = load_embedding_model("sea", 64, weights=sys.argv[1], provider=sys.argv[2], num_threads=1 + number % 2)
    found.append(model.predict(np.full((1, 8000), 0.1)))
threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found), max(float(np.abs(each - found[0]).max() / np.abs(found[0]).max()) for each in found) <= 2e-6)
"""


@pytest.mark.parametrize("name", ["openvino", "webgpu"])
def test_eight_threads_open_models_at_once_and_nothing_is_on_standard_error(name, graph):
    device_of(name, graph)
    run = subprocess.run([sys.executable, "-P", "-c", RACE, graph, name], capture_output=True, text=True, timeout=100)
    assert (run.stdout, run.stderr) == ("8 True\n", "")


def test_jobs_run_in_processes_of_their_own(openvino, graph, tmp_path):
    import soundfile

    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", AUDIO, 8000)
    options = ["--provider", "openvino", "--jobs", "2", "--model-type", "sea", "--emb-dim", "64", "--weights", graph]
    command = [sys.executable, "-P", "-m", "edgel3_onnx", tmp_path, *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    expected = embedding(graph, "cpu")
    for name in "abcd":
        with np.load(tmp_path / f"{name}.npz") as found:
            assert relative_error(found["embedding"], expected) <= 1e-4  # of 16 bits, as it was written


def test_webgpu_leaves_nodes_of_int8_to_the_cpu_only_when_asked(graph):
    device_of("webgpu", graph)
    with pytest.raises(EdgeL3Error, match=r"not take \d+ of \d+ nodes of this graph: QuantizeLinear .*fallback=cpu"):
        embedding(graph, "webgpu", FEW, precision="int8")
    found = embedding(graph, "webgpu", FEW, precision="int8", provider_options={"fallback": "cpu"})
    assert relative_error(found, embedding(graph, "cpu", FEW, precision="int8")) <= 1e-2


@pytest.mark.parametrize("fallback", [{}, {"fallback": "cpu"}])
def test_qnn_refuses_a_free_batch_dimension(fallback, graph):
    device_of("qnn", graph)
    expected = (
        "takes no node of this graph"
        if fallback
        else r"does not take (\d+) of \1 nodes of this graph: Mul 'input_scale'"
    )
    with pytest.raises(EdgeL3Error, match=expected):
        open_engine(graph, "qnn", provider_options={"backend_type": "htp", **fallback})


def test_the_registration_happens_once_and_threads_agree(openvino, graph):
    plugin, counts = installed_plugin(PROVIDERS["openvino"]), []
    threads = [threading.Thread(target=lambda: counts.append(len(devices(plugin)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [len(devices(plugin))] * 8
