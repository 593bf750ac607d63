"""What is installed, what really works, and which weights are at hand: --doctor, --list-models and --fetch."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from edgel3_onnx import frontend
from edgel3_onnx.command.arguments import PROGRAM
from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.engines.graph import Layer, Network
from edgel3_onnx.engines.native import NativeEngine
from edgel3_onnx.engines.plugins import device_name, devices, installed_plugin, version
from edgel3_onnx.engines.probe import EXACT
from edgel3_onnx.engines.providers import NATIVE, PROVIDERS, Provider, Request
from edgel3_onnx.engines.runtime import installed_providers, measured_error
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, WeightsUnavailableError
from edgel3_onnx.metadata import graph_precision
from edgel3_onnx.store import weights as store
from edgel3_onnx.store.registry import Variant, variants
from edgel3_onnx.version import __version__

_PACKAGES = ("numpy", "soundfile", "soxr", "onnx", "h5py", "platformdirs", "tqdm", "pyarrow", "av", "tensorflow")
_ENVIRONMENT = ("EDGEL3_ONNX_CACHE", "EDGEL3_ONNX_MIRROR", "EDGEL3_ONNX_OFFLINE", "EDGEL3_ONNX_SIMD")


def report() -> str:
    """Versions, providers that are available and those that really load, SIMD level, cache, weights at hand."""
    lines = [
        f"edgel3-onnx {__version__}",
        f"Python {platform.python_version()} ({sys.executable})",
        f"{platform.platform()}, {available_cpus()} of {os.cpu_count()} CPUs may be used",
        f"front end: SIMD level {_simd_level()}",
        "packages: " + ", ".join(f"{name} {version(name) or 'not installed'}" for name in _PACKAGES),
        *_onnxruntime(),
        *_providers(),
        *_cache(),
    ]
    lines += [f"{name}={os.environ[name]}" for name in _ENVIRONMENT if name in os.environ]
    return "\n".join(lines)


def list_models() -> str:
    """A table of all variants: id, size of the embedding, rate, and whether the graph is at hand."""
    rows = [("variant", "embedding", "rate", "graph"), *(_row(variant) for variant in variants().values())]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def fetch(variant_ids: list[str], precision: str = "fp32", verbose: bool = True) -> int:
    """Download and convert variants ahead of their use; ``["all"]`` stands for all of them.

    Returns
    -------
    int
        Exit status: 0, or 1 if a variant could not be had. One line per variant goes to standard output, or to
        standard error if it failed.

    Raises
    ------
    EdgeL3ArgumentError
        If an id is not in the registry; nothing is fetched then.
    """
    known = variants()
    wanted = list(known) if variant_ids == ["all"] else variant_ids
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise EdgeL3ArgumentError(f"unknown variant {unknown[0]!r}; there are all, {', '.join(known)}")
    failed = 0
    for name in wanted:
        try:
            path = store.embedding_model_path(known[name], precision=graph_precision(precision), verbose=verbose)
        except EdgeL3Error as error:
            failed = 1
            message = str(error)
            if isinstance(error, WeightsUnavailableError):
                message = error.explain(f"{PROGRAM} FILE --model-type micro")
            print(f"{PROGRAM}: error: {message}", file=sys.stderr)
        else:
            if verbose:
                print(f"{name}: {path}")
    return failed


def _row(variant: Variant) -> tuple[str, str, str, str]:
    path = _at_hand(variant)
    state = "not cached" if path is None else f"{path.stat().st_size / 1e6:.1f} MB at {path}"
    return variant.id, str(variant.embedding_dim), f"{variant.spec.sample_rate} Hz", state


def _simd_level() -> str:
    try:
        return frontend.simd_level()
    except EdgeL3Error as error:
        return f"unusable: {error}"


def _onnxruntime() -> list[str]:
    """The distributions that install into the folder onnxruntime/, where two of them break each other."""
    owners = sorted(
        f"{dist.metadata['Name']} {dist.version}"
        for dist in metadata.distributions()
        if any(file.as_posix() == "onnxruntime/__init__.py" for file in dist.files or ())
    )
    owners = list(dict.fromkeys(owners))  # a folder may be on the path twice
    lines = [f"ONNX Runtime: {', '.join(owners) or 'not installed'}"]
    if len(owners) > 1:
        names = [owner.split()[0] for owner in owners]
        lines.append(
            f"  PROBLEM: {' and '.join(names)} overwrite each other's files. Uninstall all of them, then install one: "
            f"pip uninstall -y {' '.join(names)} && pip install {names[-1]}"
        )
    return lines


def _providers() -> list[str]:
    """One line per device of each provider that is installed: does it run a convolution, and in which precision?"""
    installed = installed_providers()
    lines = [line for name in installed for line in _provider(PROVIDERS[name])]
    missing = [name for name in PROVIDERS if name not in installed]
    return [*lines, _native(), f"providers not installed: {', '.join(missing)}"]


def _provider(provider: Provider) -> list[str]:
    plugin = installed_plugin(provider)
    if plugin is None:
        return [f"provider {provider.name} ({provider.onnxruntime_name}): {_state(Request(provider.name))}"]
    package = f"{plugin.distribution} {version(plugin.distribution)}"
    try:
        found = devices(plugin)
    except EdgeL3Error as error:
        return [f"provider {provider.name} ({package}): does not load: {error}"]
    if not found:
        return [f"provider {provider.name} ({package}): installed, no device ({_why_no_device(provider)})"]
    return [
        f"provider {provider.name}:{number} ({package}, {device_name(device)}): "
        f"{_state(Request(provider.name, str(number)))}"
        for number, device in enumerate(found)
        if number == 0 or provider.device_ids
    ]


def _state(request: Request) -> str:
    try:
        error = measured_error(request)
    except EdgeL3Error as problem:
        return str(problem).removeprefix(f"provider {request.name!r} ")
    return "fp32 exact" if error <= EXACT else f"loads, but computes in reduced precision ({error:.1e})"


def _why_no_device(provider: Provider) -> str:
    return {
        "openvino": "it wants a processor or GPU of Intel's",
        "webgpu": "it wants a GPU with a driver for Vulkan, Direct3D 12 or Metal",
    }.get(provider.name, "it lists none on this machine")


def _native() -> str:
    """Does a network of two convolutions, which add up each pixel's neighbours, really run on the native engine?"""
    layer = Layer(np.ones((1, 1, 3, 3), np.float32), np.zeros(1, np.float32))
    try:
        engine = NativeEngine(Network(3, 3, 1.0, 0.0, (layer, layer), {}), 1)
        result = engine.run(np.ones((1, 1, 3, 3), np.float32)).item()
    except EdgeL3Error as error:
        return f"provider {NATIVE}: does not load: {error}"
    works = f"loads, SIMD level {engine.level}" if abs(result - 49) < 1e-3 else f"gives wrong numbers: {result}, not 49"
    return f"provider {NATIVE} (this package's own engine): {works}"


def _cache() -> list[str]:
    at_hand = [variant.id for variant in variants().values() if _at_hand(variant) is not None]
    try:
        place = str(store.cache_dir())
    except EdgeL3Error as error:
        place = f"none: {error}"
    return [f"cache: {place}", f"graphs at hand: {', '.join(at_hand) or 'none'}"]


def _at_hand(variant: Variant) -> Path | None:
    try:
        return store.cached_path(variant)
    except EdgeL3Error:  # there is no place for a cache
        return None
