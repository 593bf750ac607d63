"""Sessions of ONNX Runtime that run every node where they were asked to, in the precision that they were asked for.

ONNX Runtime falls back to the CPU without an error when a provider is absent, does not load or does not take a node,
and some providers shorten fp32 to bf16 or TF32. Here the nodes are counted and the numbers are measured.
"""

import contextlib
import functools
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.engines import openvino, probe
from edgel3_onnx.engines.plugins import device_type, devices, first_line, installed_plugin
from edgel3_onnx.engines.providers import NATIVE, PROVIDERS, Plugin, Provider, Request, check_options
from edgel3_onnx.engines.quiet import quiet, turn
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

# ONNX Runtime 1.32 and later reports its use to its makers and keeps an identifier of the machine in the user's cache,
# from its import on. What is recorded in the field is nobody else's business; ORT_DISABLE_TELEMETRY=0 overrules this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Providers that neither compile nor tune per input shape; for the others, batches are padded to powers of two so that
# few shapes occur.
_ANY_SHAPE = ("cpu", "xnnpack")
_REFUSES_CPU = "fallback to CPU EP has been explicitly disabled"


class OnnxRuntimeEngine:
    """An ONNX Runtime session."""

    def __init__(self, session: Any, request: Request) -> None:
        self._turn = _turn(request)
        self._session = session
        self.providers: list[str] = session.get_providers()
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        graph_input = session.get_inputs()[0]
        self.kind = "mel" if len(graph_input.shape) == 4 else "waveform"
        self._input = graph_input.name
        self._pad = request.name not in _ANY_SHAPE

    def __del__(self) -> None:
        with self._turn:  # freeing its session disturbs others as well
            self._session = None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        n = len(batch)
        if self._pad and n & (n - 1):
            padding = (1 << n.bit_length()) - n
            batch = np.concatenate([batch, np.zeros((padding, *batch.shape[1:]), np.float32)])
        try:
            with self._turn:
                (embedding,) = self._session.run(None, {self._input: batch})
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise EdgeL3Error(f"ONNX Runtime failed on a batch of {n} windows: {first_line(error)}") from error
        return np.asarray(embedding[:n], np.float32)


def installed_providers() -> list[str]:
    """Names (keys of PROVIDERS) that ONNX Runtime was built with or that plugins bring; they may still not load."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return []
    built = set(onnxruntime.get_available_providers())
    return [
        name
        for name, provider in PROVIDERS.items()
        if provider.onnxruntime_name in built or installed_plugin(provider) is not None
    ]


def open_runtime(path: Path, request: Request) -> OnnxRuntimeEngine:
    """A session of ONNX Runtime for the graph at ``path``, as ``request`` says.

    Raises
    ------
    EdgeL3Error
        If the provider is absent, does not load, does not take every node, or does not compute in the precision
        asked for. If the graph cannot be loaded.
    EdgeL3ArgumentError
        If an option contradicts the request.
    """
    check_options(request)
    engine = _open(path, request)
    if request.precision == "bf16" and engine.kind != "mel":
        raise EdgeL3Error(f"{path}: precision bf16 is for mel graphs: a waveform graph loses 2e-2 by it, and no time")
    if request.precision == "bf16" or (request.precision == "fp32" and request.name != "cpu"):
        error = measured_error(request)
        if request.precision == "fp32" and error > probe.EXACT:
            raise EdgeL3Error(
                f"provider {request.name!r} computes in reduced precision ({error:.1e}), and fp32 was asked for. "
                f"Ask for another precision, or take provider='cpu'."
            )
        if request.precision == "bf16" and error <= probe.EXACT:
            raise EdgeL3Error(
                f"precision bf16: provider {request.name!r} computes in fp32 all the same, so that nothing is gained"
            )
    return engine


@functools.lru_cache
def measured_error(request: Request) -> float:
    """Relative error of a convolution on the provider: at most probe.EXACT in fp32. EdgeL3Error if it does not load."""
    return probe.error(_open(probe.graph(), request).run(probe.images()))


def _open(graph: Path | bytes, request: Request) -> OnnxRuntimeEngine:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise EdgeL3Error(
            f"provider {request.name!r} needs ONNX Runtime, which is not installed: pip install onnxruntime. "
            f"Available here: {NATIVE}"
        ) from error
    wanted = PROVIDERS[request.name]
    plugin = installed_plugin(wanted)
    if plugin is None and wanted.onnxruntime_name not in onnxruntime.get_available_providers():
        raise EdgeL3Error(_cannot_use(wanted, "is not part of the installed ONNX Runtime"))
    make = functools.partial(_session, graph, request, plugin)
    refused = False
    try:
        try:
            session = make(strict=not request.fallback)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            if _REFUSES_CPU not in str(error):
                raise
            refused = True
            session = make(strict=False)  # which tells the nodes, or that the provider did not load at all
    except EdgeL3Error:
        raise
    except Exception as error:
        if request.name == "cpu":
            where = graph if isinstance(graph, Path) else "the probe"
            raise EdgeL3Error(f"{where}: ONNX Runtime cannot load this graph: {first_line(error)}") from error
        raise EdgeL3Error(_cannot_use(wanted, f"does not load: {first_line(error)}")) from error
    if wanted.onnxruntime_name not in session.get_providers():
        got = ", ".join(session.get_providers())
        raise EdgeL3Error(_cannot_use(wanted, f"does not load on this machine (the session got {got})"))
    if refused:
        raise EdgeL3Error(_left_to_the_cpu(wanted, session))
    if request.fallback and request.name != "cpu":
        places = _places(session)
        if places and all(place == "CPUExecutionProvider" for place, _ in places):
            raise EdgeL3Error(f"provider {wanted.name!r} takes no node of this graph: all run on the CPU")
    return OnnxRuntimeEngine(session, request)


def _session(graph: Path | bytes, request: Request, plugin: Plugin | None, *, strict: bool) -> Any:
    """The session; with ``strict``, ONNX Runtime refuses to run a node elsewhere."""
    import onnxruntime

    wanted = PROVIDERS[request.name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    providers: list[Any] | None = None  # with a plugin in the options, a list here would put it aside
    if request.name == "cpu":
        if request.precision == "bf16":
            _use_fast_math(options)
        providers = [(wanted.onnxruntime_name, dict(request.options))]
    else:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1" if strict else "0")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if plugin is None:
            providers = [(wanted.onnxruntime_name, _built_in_options(request))]
            providers += [] if strict else ["CPUExecutionProvider"]
        else:
            device = _device(wanted, request.device, plugin)
            given = openvino.plugin_options(request, device) if request.name == "openvino" else dict(request.options)
            options.add_provider_for_devices([device], given)
    with _turn(request), _libraries(request.name, plugin):
        source = graph if isinstance(graph, bytes) else os.fspath(graph)
        return onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)


def _turn(request: Request) -> contextlib.AbstractContextManager[Any]:
    """What a thread has to hold while it opens, runs or frees a session."""
    return turn if PROVIDERS[request.name].one_at_a_time else contextlib.nullcontext()


def _built_in_options(request: Request) -> dict[str, str]:
    wanted = PROVIDERS[request.name]
    device = {"device_id": request.device} if request.device else {}
    if request.device and not request.device.isdecimal():
        if "device_type" not in dict(wanted.options):
            raise EdgeL3ArgumentError(
                f"provider {wanted.name} is built in here and takes devices by number, got {request.device!r}"
            )
        device = {"device_type": request.device.upper()}
    threads = {wanted.threads: str(request.threads)} if wanted.threads else {}
    return {**dict(wanted.options), **threads, **device, **dict(request.options)}


def _use_fast_math(options: Any) -> None:
    if platform.machine().lower() not in ("aarch64", "arm64"):
        raise EdgeL3Error(
            "precision bf16: ONNX Runtime's own CPU provider has it on Arm alone; here it takes provider='openvino' "
            "and a CPU with AMX or AVX512-BF16"
        )
    options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1")


@contextlib.contextmanager
def _libraries(name: str, plugin: Plugin | None) -> Iterator[None]:
    """Around the opening of a session: silence for plugins; CUDA's libraries for the providers that need them."""
    import onnxruntime

    if plugin is not None:
        with quiet():
            yield
        return
    if name in ("cuda", "tensorrt") and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(None):  # CUDA from pip packages; says so when there are none
            onnxruntime.preload_dlls()
    yield


def _device(wanted: Provider, device: str, plugin: Plugin) -> Any:
    """The device of the plugin that ``device`` names, else the first of the type that the provider is for."""
    there = devices(plugin)
    if not there:
        raise EdgeL3Error(
            f"provider {wanted.name!r}: {plugin.distribution} is installed and finds no device on this machine"
        )
    named = ", ".join(f"{number} ({device_type(each)})" for number, each in enumerate(there))
    if device.isdecimal():
        if int(device) >= len(there):
            raise EdgeL3ArgumentError(f"provider {wanted.name} has no device {device}; there are {named}")
        return there[int(device)]
    for kind in [device] if device else wanted.device_types:
        for each in there:
            if device_type(each) == kind:
                return each
    raise EdgeL3Error(f"provider {wanted.name!r} has no {device} on this machine; there are {named}")


def _places(session: Any) -> list[tuple[str, str]]:
    """(provider, "operator 'name'") of every node; empty where ONNX Runtime, before 1.24, does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return []
    return [
        (part.ep_name, f"{node.op_type} {node.name!r}")
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def _left_to_the_cpu(wanted: Provider, session: Any) -> str:
    places = _places(session)
    left = [node for place, node in places if place != wanted.onnxruntime_name]
    which = f"{len(left)} of {len(places)} nodes" if places else "some nodes"
    names = f": {', '.join(left[:5])}{', ...' if len(left) > 5 else ''}" if left else ""
    return (
        f"provider {wanted.name!r} does not take {which} of this graph{names}. They would run on the CPU: ask for that "
        "with the provider option fallback=cpu, or take another provider"
    )


def _cannot_use(wanted: Provider, reason: str) -> str:
    return (
        f"provider {wanted.name!r} {reason}. Available here: {', '.join([*installed_providers(), NATIVE])}. "
        f"{wanted.name} comes with {wanted.package}."
    )
