"""Providers that come as plugins, on a machine made up: devices, sessions, nodes left to the CPU.

Real ones are tested where they are installed, in test_providers.py. Here ONNX Runtime's own part is played by
``Machine``, which writes down what it was asked for.
"""

import json
import re
import sys
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.engines import plugins, probe, quiet, runtime
from edgel3_onnx.engines.openvino import plugin_options
from edgel3_onnx.engines.plugins import device_name, device_type, devices, first_line, installed_plugin
from edgel3_onnx.engines.providers import PROVIDERS, Request
from edgel3_onnx.engines.session import open_engine

REFUSAL = "[ONNXRuntimeError] : 1 : FAIL : fallback to CPU EP has been explicitly disabled by the user"


def device(kind, *, of="MLXExecutionProvider", **metadata):
    hardware = SimpleNamespace(type=SimpleNamespace(name=kind.upper()), metadata={}, vendor="Makers")
    return SimpleNamespace(ep_name=of, ep_metadata=metadata, device=hardware)


class Options:
    """What a session is asked for."""

    def __init__(self):
        self.entries, self.devices, self.given = {}, [], {}

    def add_session_config_entry(self, name, value):
        self.entries[name] = value

    def add_provider_for_devices(self, chosen, given):
        self.devices, self.given = list(chosen), given


class Session:
    """A session whose nodes run where ``machine.places`` says."""

    def __init__(self, machine, options, places):
        self.providers = [device.ep_name for device in options.devices if not machine.is_ignored]
        self.machine, self.places = machine, places

    def get_providers(self):
        return [*self.providers, "CPUExecutionProvider"]

    def get_modelmeta(self):
        return SimpleNamespace(custom_metadata_map={})

    def get_inputs(self):
        return [SimpleNamespace(name="mel", shape=["N", 1, 2, 3])]

    def get_provider_graph_assignment_info(self):
        node = SimpleNamespace
        return [
            SimpleNamespace(ep_name=place, get_nodes=lambda kind=kind, name=name: [node(op_type=kind, name=name)])
            for place, kind, name in self.places
        ]

    def run(self, outputs, inputs):
        (batch,) = inputs.values()
        self.machine.batches.append((len(batch), self.machine.is_locked()))
        if self.machine.fails:
            raise RuntimeError(self.machine.fails)
        return [batch.sum(axis=(1, 2, 3))[:, None]]


class Machine:
    """ONNX Runtime with the plugins and devices of a test."""

    def __init__(self):
        self.devices = []
        self.registered, self.sessions, self.batches = [], [], []
        self.places = [("MLXExecutionProvider", "Conv", "conv1")]
        self.is_ignored, self.fails, self.lock_depth = False, "", 0

    def register(self, name, path):
        self.registered.append((name, path))

    def open(self, source, options, providers=None, **more):
        self.sessions.append(options)
        on_cpu = [place for place in self.places if place[0] == "CPUExecutionProvider"]
        if on_cpu and options.entries["session.disable_cpu_ep_fallback"] == "1":
            raise RuntimeError(REFUSAL)
        assert providers is None  # it would put the plugin aside
        return Session(self, options, self.places)

    def is_locked(self):
        return self.lock_depth > 0

    def __enter__(self):
        self.lock_depth += 1

    def __exit__(self, *error):
        self.lock_depth -= 1


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs the plugin of a provider."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_registered", {})

    def install(name, number=0, *, distribution=True):
        plugin = PROVIDERS[name].plugins[number]
        monkeypatch.setitem(sys.modules, plugin.module, None)
        del sys.modules[plugin.module]  # and again after the test
        ep_name = PROVIDERS[name].onnxruntime_name
        (tmp_path / f"{plugin.module}.py").write_text(
            f"def get_ep_name(): return {ep_name!r}\ndef get_library_path(): return '/{name}.so'\n"
        )
        if distribution:
            folder = tmp_path / f"{plugin.distribution.replace('-', '_')}-1.2.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin.distribution}\nVersion: 1.2\n")
        return plugin

    return install


@pytest.fixture
def machine(install, monkeypatch):
    """A machine with the plugin mlx, whose provider computes as it should."""
    machine = Machine()
    install("mlx")
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", machine.register)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: machine.devices)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr(onnxruntime, "InferenceSession", machine.open)
    monkeypatch.setattr(runtime, "measured_error", lambda request: 0.0)
    monkeypatch.setattr(runtime, "turn", machine)
    return machine


@pytest.mark.parametrize(
    ("provider", "there", "expected"),
    [
        ("mlx", ["cpu", "gpu", "npu"], 2),  # the fastest kind first
        ("mlx", ["cpu", "gpu", "gpu"], 1),
        ("mlx:gpu", ["cpu", "gpu", "npu"], 1),
        ("mlx:cpu", ["gpu", "cpu"], 1),
        ("mlx:0", ["cpu", "gpu"], 0),
        ("mlx:1", ["cpu", "gpu"], 1),
    ],
)
def test_the_device_asked_for_else_the_best(machine, tmp_path, provider, there, expected):
    machine.devices = [device("gpu", of="another"), *map(device, there)]
    engine = open_engine(tmp_path / "g.onnx", provider)
    assert engine.providers == ["MLXExecutionProvider", "CPUExecutionProvider"]
    (options,) = machine.sessions
    assert options.devices == [machine.devices[1 + expected]]


@pytest.mark.parametrize(
    ("provider", "there", "error", "message"),
    [
        ("mlx:2", ["cpu", "gpu"], EdgeL3ArgumentError, "provider mlx has no device 2; there are 0 (cpu), 1 (gpu)"),
        ("mlx:npu", ["cpu", "gpu"], EdgeL3Error, "'mlx' has no npu on this machine; there are 0 (cpu), 1 (gpu)"),
        ("mlx", [], EdgeL3Error, "'mlx': onnxruntime-ep-mlx is installed and finds no device on this machine"),
    ],
)
def test_a_device_that_is_not_there(machine, tmp_path, provider, there, error, message):
    machine.devices = [*map(device, there)]
    with pytest.raises(error, match=re.escape(message)):
        open_engine(tmp_path / "g.onnx", provider)
    assert not machine.sessions


def test_what_the_session_is_asked_for(machine, tmp_path):
    machine.devices = [device("gpu")]
    for options, strict in (({"a": "1"}, "1"), ({"a": "1", "fallback": "cpu"}, "0")):
        open_engine(tmp_path / "g.onnx", "mlx", num_threads=3, provider_options=options)
        asked = machine.sessions[-1]
        assert asked.given == {"a": "1"}
        assert (asked.intra_op_num_threads, asked.inter_op_num_threads, asked.log_severity_level) == (3, 1, 4)
        assert asked.entries == {
            "session.disable_cpu_ep_fallback": strict,
            "session.record_ep_graph_assignment_info": "1",
        }
    assert machine.registered == [("MLXExecutionProvider", "/mlx.so")]  # once


def test_a_plugin_that_the_program_registered_itself(machine, tmp_path, monkeypatch):
    def refuse(name, path):
        raise RuntimeError(f"{name} is already registered")

    machine.devices = [device("gpu")]
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", refuse)
    assert open_engine(tmp_path / "g.onnx", "mlx").providers[0] == "MLXExecutionProvider"


def test_a_plugin_whose_library_does_not_load(machine, tmp_path, monkeypatch):
    def refuse(name, path):
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no libmlx.so.\nmore")

    machine.devices = [device("gpu")]
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", refuse)
    with pytest.raises(EdgeL3Error, match=r"^onnxruntime-ep-mlx cannot be registered: no libmlx\.so$"):
        open_engine(tmp_path / "g.onnx", "mlx")


ON_CPU = [("CPUExecutionProvider", "Relu", f"r{k}") for k in range(6)]


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (1, "does not take 1 of 2 nodes of this graph: Relu 'r0'. They would run on the CPU: ask for that with the "),
        (5, "5 of 6 nodes of this graph: Relu 'r0', Relu 'r1', Relu 'r2', Relu 'r3', Relu 'r4'. They"),
        (6, "6 of 7 nodes of this graph: Relu 'r0', Relu 'r1', Relu 'r2', Relu 'r3', Relu 'r4', .... They"),
    ],
)
def test_nodes_left_to_the_cpu_are_refused_and_named(machine, tmp_path, left, message):
    machine.devices = [device("gpu")]
    machine.places += ON_CPU[:left]
    with pytest.raises(EdgeL3Error, match=re.escape(message)):
        open_engine(tmp_path / "g.onnx", "mlx")
    strict, lenient = (options.entries["session.disable_cpu_ep_fallback"] for options in machine.sessions)
    assert (strict, lenient) == ("1", "0")
    engine = open_engine(tmp_path / "g.onnx", "mlx", provider_options={"fallback": "cpu"})
    assert engine.providers[0] == "MLXExecutionProvider"


def test_nodes_that_an_older_onnxruntime_does_not_tell(machine, tmp_path, monkeypatch):
    machine.devices = [device("gpu")]
    machine.places += ON_CPU[:1]
    monkeypatch.delattr(Session, "get_provider_graph_assignment_info")
    with pytest.raises(EdgeL3Error, match=r"'mlx' does not take some nodes of this graph\. They would"):
        open_engine(tmp_path / "g.onnx", "mlx")
    assert open_engine(tmp_path / "g.onnx", "mlx", provider_options={"fallback": "cpu"}).kind == "mel"


def test_a_provider_that_takes_no_node_is_refused_even_with_fallback(machine, tmp_path):
    machine.devices = [device("gpu")]
    machine.places = ON_CPU
    with pytest.raises(EdgeL3Error, match="provider 'mlx' takes no node of this graph: all run on the CPU"):
        open_engine(tmp_path / "g.onnx", "mlx", provider_options={"fallback": "cpu"})


def test_a_provider_that_the_session_does_not_have(machine, tmp_path):
    machine.devices, machine.is_ignored = [device("gpu")], True
    message = (
        "provider 'mlx' does not load on this machine (the session got CPUExecutionProvider). "
        "Available here: cpu, mlx, native. mlx comes with pip install onnxruntime-ep-mlx on macOS."
    )
    with pytest.raises(EdgeL3Error, match=re.escape(message)):
        open_engine(tmp_path / "g.onnx", "mlx")


@pytest.mark.parametrize("error", [0.0, probe.EXACT, 1.1 * probe.EXACT])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_precision_is_measured(machine, tmp_path, monkeypatch, error, precision):
    machine.devices = [device("gpu")]
    monkeypatch.setattr(runtime, "measured_error", lambda request: error)
    is_short = error > probe.EXACT
    message = {
        ("fp32", True): "provider 'mlx' computes in reduced precision (2.2e-05), and fp32 was asked for",
        ("bf16", False): "precision bf16: provider 'mlx' computes in fp32 all the same, so that nothing is gained",
    }.get((precision, is_short))
    message = message and re.sub(r"\(.*\)", f"({error:.1e})", message)
    if message is None:
        assert open_engine(tmp_path / "g.onnx", "mlx", precision=precision).kind == "mel"
        return
    with pytest.raises(EdgeL3Error, match=re.escape(message)):
        open_engine(tmp_path / "g.onnx", "mlx", precision=precision)


def test_few_shapes_reach_a_provider_that_compiles_for_each(machine, tmp_path):
    machine.devices = [device("gpu")]
    engine = open_engine(tmp_path / "g.onnx", "mlx")
    images = np.arange(9 * 6, dtype=np.float32).reshape(9, 1, 2, 3)
    for n in range(1, 10):
        np.testing.assert_array_equal(engine.run(images[:n])[:, 0], images[:n].sum(axis=(1, 2, 3)))
    assert [count for count, _ in machine.batches] == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    machine.fails = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : out of memory\nat 0x1"
    with pytest.raises(EdgeL3Error, match=r"^ONNX Runtime failed on a batch of 3 windows: out of memory$"):
        engine.run(images[:3])


@pytest.mark.parametrize(("name", "locked"), [("mlx", False), ("webgpu", True)])
def test_sessions_that_disturb_each_other_take_turns(machine, install, tmp_path, name, locked):
    if name != "mlx":
        install(name)
    machine.devices = [device("gpu", of=PROVIDERS[name].onnxruntime_name)]
    engine = open_engine(tmp_path / "g.onnx", name)
    engine.run(np.zeros((1, 1, 2, 3), np.float32))
    assert machine.batches == [(1, locked)] and not machine.is_locked()


@pytest.mark.parametrize(
    ("there", "expected"), [(["gpu"], ("mlx", "gpu")), (["cpu", "gpu"], ("mlx", "gpu")), (["cpu"], None), ([], None)]
)
def test_auto_takes_a_plugin_that_lists_a_gpu(machine, tmp_path, there, expected, monkeypatch):
    machine.devices = [*map(device, there)]
    tried = []

    def open_runtime(path, request):
        tried.append((request.name, request.device, request.fallback))
        raise EdgeL3Error("no")

    monkeypatch.setattr("edgel3_onnx.engines.session.open_runtime", open_runtime)
    with pytest.raises(EdgeL3Error, match=r"provider auto: nothing here runs .*: no$"):
        open_engine(tmp_path / "g.onnx", "auto", precision="fp16", provider_options={"fallback": "cpu"})
    assert tried == [*([(*expected, False)] if expected else []), ("cpu", "", False)]


def test_a_plugin_is_a_module_with_its_distribution(install):
    """Of two that bring a provider the first that is installed is taken."""
    assert installed_plugin(PROVIDERS["cuda"]) is None
    older = install("cuda", 1)
    assert installed_plugin(PROVIDERS["cuda"]) == older
    newer = install("cuda", 0)
    assert installed_plugin(PROVIDERS["cuda"]) == newer
    install("qnn", distribution=False)
    assert installed_plugin(PROVIDERS["qnn"]) is None


@pytest.mark.parametrize("name", ["tensorrt-rtx", "openvino", "qnn", "webgpu"])
def test_the_extra_that_is_named_brings_the_plugin(name):
    (extra,) = re.findall(r"edgel3-onnx\[(.+?)\]", PROVIDERS[name].package)
    wanted = [text for text in metadata.requires("edgel3-onnx") if f'extra == "{extra}"' in text]
    brought = {re.match(r"[\w-]+", text)[0] for text in wanted}
    assert brought & {plugin.distribution for plugin in PROVIDERS[name].plugins}


def test_devices_have_a_type_and_a_name():
    one = device("npu")
    assert (device_type(one), device_name(one)) == ("npu", "npu: Makers")
    one.device.metadata["Description"] = "Chip"
    assert device_name(one) == "npu: Chip"
    one.ep_metadata["FULL_DEVICE_NAME"] = "Chip 9"
    assert device_name(one) == "npu: Chip 9"


def test_the_first_line_of_what_a_library_says():
    assert first_line(RuntimeError(" [ONNXRuntimeError] : 1 : FAIL : this.\nthat")) == "this"
    assert first_line(RuntimeError("this")) == "this"
    assert first_line(KeyError()) == "KeyError"


def test_devices_are_listed_quietly(machine, monkeypatch):
    depths = []
    machine.devices = [device("gpu")]
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: depths.append(quiet._depth) or machine.devices)
    assert devices(PROVIDERS["mlx"].plugins[0]) == machine.devices
    assert depths == [1] and quiet._depth == 0


# What OpenVINO's plugin is told.

CPU = device("cpu", ov_device="CPU", OPTIMIZATION_CAPABILITIES="FP32 BF16")
OLD_CPU = device("cpu", ov_device="CPU", OPTIMIZATION_CAPABILITIES="FP32")
GPU = device("gpu", ov_device="GPU.0", OPTIMIZATION_CAPABILITIES="FP32 FP16 BF16")


@pytest.mark.parametrize(
    ("on", "request_", "expected"),
    [
        (CPU, Request("openvino", num_threads=3), {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 3}),
        (CPU, Request("openvino", precision="int8", num_threads=1), {"INFERENCE_PRECISION_HINT": "f32"}),
        (CPU, Request("openvino", precision="bf16", num_threads=1), {"INFERENCE_PRECISION_HINT": "bf16"}),
        (CPU, Request("openvino", precision="fp16", num_threads=1), {"INFERENCE_PRECISION_HINT": "f32"}),
        (GPU, Request("openvino", precision="fp16"), {"INFERENCE_PRECISION_HINT": "f16"}),
        (GPU, Request("openvino"), {"INFERENCE_PRECISION_HINT": "f32"}),
        (device("cpu"), Request("openvino", num_threads=1), {"INFERENCE_PRECISION_HINT": "f32"}),
    ],
)
def test_openvino_is_told_precision_and_threads(on, request_, expected):
    key = on.ep_metadata.get("ov_device", "CPU")
    (options,) = [json.loads(value) for value in plugin_options(request_, on).values()]
    found = options.pop(key)
    if key == "CPU":
        expected = {"INFERENCE_NUM_THREADS": request_.num_threads, **expected}
    assert found == expected and not options


def test_openvino_takes_a_configuration_of_ones_own():
    given = (("load_config", '{"CPU": {"X": 1, "INFERENCE_NUM_THREADS": 2}}'), ("other", "y"))
    options = plugin_options(Request("openvino", options=given), CPU)
    assert options.pop("other") == "y"
    expected = {"X": 1, "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}
    assert json.loads(options["load_config"]) == {"CPU": expected}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load_config": '{"CPU": {"INFERENCE_NUM_THREADS": 2}}'}, "INFERENCE_NUM_THREADS 2, which contradicts"),
        ({"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}}'}, "HINT bf16, which contradicts precision"),
        ({"load_config": "{"}, "load_config must be JSON, got '{' ("),
        ({"load_config": "[]"}, 'load_config must be {"CPU": {...}} for this device, got []'),
        ({"load_config": '{"GPU": {}}'}, 'load_config must be {"CPU": {...}} for this device, got {"GPU": {}}'),
        ({"load_config": '{"CPU": 3}'}, 'load_config must be {"CPU": {...}} for this device, got {"CPU": 3}'),
        ({"device_type": "GPU"}, "the plugin of OpenVINO ignores device_type=GPU; say"),
        ({"device_id": "0"}, "the plugin of OpenVINO ignores device_id=0; say"),
        ({"precision": "FP32"}, "the plugin of OpenVINO ignores precision=FP32; say"),
        ({"num_of_threads": "2"}, "the plugin of OpenVINO ignores num_of_threads=2; say"),
    ],
)
def test_what_openvino_would_ignore_or_do_otherwise_is_refused(options, message):
    with pytest.raises(EdgeL3ArgumentError, match=re.escape(message)):
        plugin_options(Request("openvino", options=tuple(options.items()), num_threads=3), CPU)


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (OLD_CPU, "device CPU has no fast bf16; it can FP32"),
        (GPU, "device GPU.0 has no fast bf16; it can FP32, FP16, BF16"),
        (device("cpu"), "device CPU has no fast bf16; it can nothing"),
    ],
)
def test_openvino_without_bf16(on, message):
    with pytest.raises(EdgeL3Error, match=re.escape(f"precision bf16: OpenVINO's {message}")):
        plugin_options(Request("openvino", precision="bf16"), on)
