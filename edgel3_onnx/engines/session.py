"""The engine that was asked for, and no other: an ONNX Runtime session on an execution provider, or the native engine.

ONNX Runtime falls back to the CPU without an error when a provider is absent or does not load. Here the
provider that a session really got is compared with the one asked for.
"""

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines.native import NativeEngine, faster_than_onnxruntime
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

logger = logging.getLogger("edgel3_onnx")

# ONNX Runtime 1.32 and later reports its use to its makers and keeps an identifier of the machine in the user's cache,
# from its import on. What is recorded in the field is nobody else's business; ORT_DISABLE_TELEMETRY=0 overrules this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True)
class Provider:
    """An execution provider under the name that people type."""

    name: str
    onnxruntime_name: str
    package: str  # what brings it
    options: tuple[tuple[str, str], ...] = ()  # passed to it unless the caller says otherwise


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "onnxruntime"),
        Provider(
            "cuda",
            "CUDAExecutionProvider",
            "onnxruntime-gpu (in place of onnxruntime)",
            options=(("use_tf32", "0"),),  # products of 10 bits are not the numbers of edgel3
        ),
        Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu and tensorrt"),
        Provider("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino (in place of onnxruntime)"),
        Provider("coreml", "CoreMLExecutionProvider", "onnxruntime on macOS"),
        Provider("directml", "DmlExecutionProvider", "onnxruntime-directml on Windows"),
        Provider("xnnpack", "XnnpackExecutionProvider", "an ONNX Runtime built with XNNPACK"),
        Provider("qnn", "QNNExecutionProvider", "onnxruntime-qnn (in place of onnxruntime)"),
        Provider("migraphx", "MIGraphXExecutionProvider", "onnxruntime-migraphx (in place of onnxruntime)"),
        Provider("webgpu", "WebGpuExecutionProvider", "onnxruntime-webgpu (in place of onnxruntime)"),
    )
}
_ONNXRUNTIME_NAMES = {provider.onnxruntime_name.lower(): name for name, provider in PROVIDERS.items()}
NATIVE = "native"  # this package's own engine
ALIASES = {"sparse": NATIVE}  # the name of when it ran the pruned networks alone
PROVIDER_NAMES = (*PROVIDERS, NATIVE, *ALIASES, "auto")
# `auto` tries these before the CPU. TensorRT, XNNPACK and QNN need building or quantising first: by name only.
AUTO_ORDER = ("cuda", "migraphx", "directml", "coreml", "openvino", "webgpu")
# Providers that compile or tune per input shape: batches are padded to powers of two so that few shapes occur.
SHAPE_TUNED = {"cuda", "tensorrt", "migraphx", "directml", "coreml", "openvino", "qnn", "webgpu"}


class Engine(Protocol):
    """Something that runs the network: ONNX Runtime, or the native engine."""

    providers: list[str]
    metadata: Mapping[str, str]  # of the graph
    kind: str  # "mel" or "waveform": what the graph takes

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings float32 (N, D) of a batch of N images or waveforms. May be called from any thread."""
        ...


class OnnxRuntimeEngine:
    """An ONNX Runtime session."""

    def __init__(self, session: Any, pad_to_power_of_two: bool) -> None:
        self.providers: list[str] = session.get_providers()
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        graph_input = session.get_inputs()[0]
        self.kind = "mel" if len(graph_input.shape) == 4 else "waveform"
        self._session = session
        self._input = graph_input.name
        self._pad = pad_to_power_of_two

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        n = len(batch)
        if self._pad and n & (n - 1):
            padding = (1 << n.bit_length()) - n
            batch = np.concatenate([batch, np.zeros((padding, *batch.shape[1:]), np.float32)])
        try:
            (embedding,) = self._session.run(None, {self._input: batch})
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise EdgeL3Error(f"ONNX Runtime failed on a batch of {n} windows: {_first_line(error)}") from error
        return np.asarray(embedding[:n], np.float32)


def check_provider(provider: str) -> tuple[str, dict[str, str]]:
    """Split ``"cuda:1"`` into the provider's name, aliases replaced, and its device option.

    Raises
    ------
    EdgeL3ArgumentError
        If the name is not one of PROVIDER_NAMES, or the device is no number, or the native engine, which runs on the
        CPU, is given one.
    """
    name, colon, device = str(provider).lower().partition(":")
    name = _ONNXRUNTIME_NAMES.get(name, name)
    if name not in PROVIDER_NAMES:
        raise EdgeL3ArgumentError(f"provider must be one of {', '.join(PROVIDER_NAMES)}, got {provider!r}")
    if colon and not device.isdecimal():
        raise EdgeL3ArgumentError(f"the device after the colon must be a number, got provider {provider!r}")
    name = ALIASES.get(name, name)
    if colon and name == NATIVE:
        raise EdgeL3ArgumentError(f"the native engine runs on the CPU and takes no device, got provider {provider!r}")
    return name, {"device_id": device} if colon else {}


def installed_providers() -> list[str]:
    """Names (keys of PROVIDERS) that the installed ONNX Runtime was built with; they may still not load."""
    import onnxruntime

    built = set(onnxruntime.get_available_providers())
    return [name for name, provider in PROVIDERS.items() if provider.onnxruntime_name in built]


def open_engine(
    path: Path,
    provider: str = "cpu",
    *,
    num_threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
) -> Engine:
    """Something that runs the graph at ``path`` on exactly the provider that is named.

    Parameters
    ----------
    path : Path
        The ONNX graph.
    provider : str
        One of PROVIDER_NAMES, with a device number if need be ("cuda:1"). "auto" takes the first of AUTO_ORDER that
        works, else of the CPU's engines the one that is expected to be faster.
    num_threads : int or None
        Threads on the CPU; None: as many as this process may use CPUs.
    provider_options : mapping of str to str, or None
        Passed to the execution provider, such as ``{"gpu_mem_limit": "2147483648"}``.

    Raises
    ------
    EdgeL3Error
        If the provider is absent or does not load: the message names those that are available and what brings
        the missing one. If the graph cannot be loaded, or is not one that the native engine runs.
    EdgeL3ArgumentError
        As of check_provider; if the native engine is given provider_options, of which it has none.
    """
    name, device = check_provider(provider)
    options = {**device, **(provider_options or {})}
    if provider.lower() in ALIASES:
        logger.info("provider %s is another name of %s", provider.lower(), name)
    if name == NATIVE:
        if options:
            raise EdgeL3ArgumentError(f"the native engine has no provider_options, got {options}")
        return NativeEngine(read_network(path), num_threads)
    if name != "auto":
        return _open(path, name, num_threads, options)
    available = installed_providers()
    for candidate in AUTO_ORDER:
        if candidate not in available:
            continue
        try:
            engine = _open(path, candidate, num_threads, options)
        except EdgeL3Error as error:
            logger.info("provider auto: %s", error)
        else:
            logger.info("provider auto: running on %s", candidate)
            return engine
    try:
        network = read_network(path)
    except EdgeL3Error as error:
        logger.info("provider auto: %s", error)
    else:
        if faster_than_onnxruntime(network):
            logger.info("provider auto: running on %s", NATIVE)
            return NativeEngine(network, num_threads)
    logger.info("provider auto: running on cpu")
    return _open(path, "cpu", num_threads, {})


def _open(path: Path, name: str, num_threads: int | None, provider_options: Mapping[str, str]) -> OnnxRuntimeEngine:
    import onnxruntime

    wanted = PROVIDERS[name]
    if wanted.onnxruntime_name not in onnxruntime.get_available_providers():
        raise EdgeL3Error(_cannot_use(wanted, "is not part of the installed ONNX Runtime"))
    if name in ("cuda", "tensorrt") and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(None):  # CUDA from pip packages; says so when there are none
            onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4 if name == "cpu" else 3
    providers: list[Any] = [(wanted.onnxruntime_name, {**dict(wanted.options), **provider_options})]
    if name != "cpu":
        providers.append("CPUExecutionProvider")  # for the operators that the provider does not have
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        if name == "cpu":
            raise EdgeL3Error(f"{path}: ONNX Runtime cannot load this graph: {_first_line(error)}") from error
        raise EdgeL3Error(_cannot_use(wanted, f"does not load: {_first_line(error)}")) from error
    if wanted.onnxruntime_name not in session.get_providers():
        got = ", ".join(session.get_providers())
        raise EdgeL3Error(_cannot_use(wanted, f"does not load on this machine (the session got {got})"))
    return OnnxRuntimeEngine(session, pad_to_power_of_two=name in SHAPE_TUNED)


def _cannot_use(wanted: Provider, reason: str) -> str:
    return (
        f"provider {wanted.name!r} {reason}. Available here: {', '.join([*installed_providers(), NATIVE])}. "
        f"{wanted.name} comes with {wanted.package}."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
