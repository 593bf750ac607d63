"""The engine that was asked for, and no other; and what ``auto`` takes."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.cpu import has_int8_products
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines.native import NativeEngine, faster_than_onnxruntime
from edgel3_onnx.engines.plugins import device_type, devices, installed_plugin
from edgel3_onnx.engines.providers import ALIASES, NATIVE, PROVIDERS, Request, check_provider
from edgel3_onnx.engines.runtime import installed_providers, open_runtime
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

logger = logging.getLogger("edgel3_onnx")

# `auto` tries these GPUs before the CPU, as plugins where they list a GPU. TensorRT, XNNPACK and QNN need building or
# quantising first: by name only.
_GPUS = ("cuda", "migraphx", "directml", "coreml", "mlx", "openvino", "webgpu")


class Engine(Protocol):
    """Something that runs the network: ONNX Runtime, or the native engine."""

    providers: list[str]
    metadata: Mapping[str, str]  # of the graph
    kind: str  # "mel" or "waveform": what the graph takes

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings float32 (N, D) of a batch of N images or waveforms. May be called from any thread."""
        ...


def open_engine(
    path: Path,
    provider: str = "cpu",
    *,
    num_threads: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    precision: str = "fp32",
) -> Engine:
    """Something that runs the graph at ``path`` on exactly the provider that is named.

    Parameters
    ----------
    path : Path
        The ONNX graph.
    provider : str
        One of PROVIDER_NAMES, with a device if need be ("cuda:1", "openvino:gpu"). "auto" takes a GPU that runs every
        node in the precision asked for, else of the CPU's engines the one that is expected to be the fastest.
    num_threads : int or None
        Threads on the CPU; None: as many as this process may use CPUs.
    provider_options : mapping of str to str, or None
        Passed to the execution provider, such as ``{"gpu_mem_limit": "2147483648"}``; but for ``fallback="cpu"``,
        which lets the CPU run the nodes that the provider does not take.
    precision : {"fp32", "int8", "fp16", "bf16"}
        What the caller expects: in "fp32" the provider must compute in fp32; "bf16" computes an fp32 graph in bf16.

    Raises
    ------
    EdgeL3Error
        If the provider is absent, does not load, leaves nodes to the CPU, or cannot compute in that precision; the
        message says which are available and what brings the missing one. If the graph cannot be loaded, or is not
        one that the native engine runs.
    EdgeL3ArgumentError
        As of check_provider; if provider_options contradict the precision or the threads, or the native engine, which
        has none, is given some.
    """
    name, device = check_provider(provider)
    options = dict(provider_options or {})
    if provider.lower() in ALIASES:
        logger.info("provider %s is another name of %s", provider.lower(), name)
    if name == NATIVE:
        if options:
            raise EdgeL3ArgumentError(f"the native engine has no provider_options, got {options}")
        if precision == "bf16":
            raise EdgeL3Error("precision bf16: the native engine computes in fp32; take provider='openvino' or 'auto'")
        return NativeEngine(read_network(path), num_threads)
    fallback = options.pop("fallback", None)
    if fallback not in (None, "cpu"):
        raise EdgeL3ArgumentError(f"provider_options: fallback must be cpu, got {fallback!r}")
    request = Request(name, device, tuple(sorted(options.items())), precision, num_threads, fallback == "cpu")
    return _auto(path, request) if name == "auto" else open_runtime(path, request)


def _auto(path: Path, request: Request) -> Engine:
    """The first candidate that opens; the log says which, and why not the others."""
    problem: EdgeL3Error | None = None
    for candidate, why in _candidates(path, request):
        try:
            engine = candidate if not isinstance(candidate, Request) else open_runtime(path, candidate)
        except EdgeL3Error as error:
            logger.info("provider auto: %s", error)
            problem = error
        else:
            name = candidate.name if isinstance(candidate, Request) else NATIVE
            logger.info("provider auto: running on %s: %s", name, why)
            return engine
    raise EdgeL3Error(f"provider auto: nothing here runs {path}: {problem}") from problem


def _candidates(path: Path, request: Request) -> Iterator[tuple[Request | Engine, str]]:
    """What ``auto`` tries, one after another, with the reason."""
    available = installed_providers()
    for name in _GPUS:
        if name in available and _has_gpu(name):
            device = "gpu" if installed_plugin(PROVIDERS[name]) else ""
            yield replace(request, name=name, device=device, fallback=False), "a GPU that runs every node"
    on_cpu = replace(request, name="cpu", device="", options=(), fallback=False)
    # Source: benchmarks/providers.py, see docs/how-to/providers.md
    if "openvino" in available and (
        request.precision == "bf16" or (request.precision == "int8" and has_int8_products())
    ):
        yield replace(on_cpu, name="openvino"), f"the fastest in {request.precision} on this CPU"
    if request.precision == "fp32":
        try:
            network = read_network(path)
            if not available or faster_than_onnxruntime(network):
                why = "faster than ONNX Runtime on this CPU" if available else "ONNX Runtime is not installed"
                yield NativeEngine(network, request.num_threads), why
        except EdgeL3Error as error:
            logger.info("provider auto: %s", error)
    yield on_cpu, "the fastest here for this graph"


def _has_gpu(name: str) -> bool:
    plugin = installed_plugin(PROVIDERS[name])
    if plugin is None:  # one built in says when it is opened; OpenVINO is not asked, which would take the CPU
        return name != "openvino"
    try:
        return any(device_type(device) == "gpu" for device in devices(plugin))
    except EdgeL3Error as error:
        logger.info("provider auto: %s", error)
        return False
