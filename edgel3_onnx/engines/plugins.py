"""Providers that come as packages beside ONNX Runtime: which are installed, and the devices that each offers."""

import importlib
import importlib.util
import re
from typing import Any

from edgel3_onnx.engines.providers import Plugin, Provider
from edgel3_onnx.engines.quiet import quiet
from edgel3_onnx.exceptions import EdgeL3Error

_registered: dict[str, str] = {}  # the name of the provider, by the plugin's module


def installed_plugin(provider: Provider) -> Plugin | None:
    """The plugin that brings ``provider``, if one is installed. Imports nothing: that has effects on the process."""
    for plugin in provider.plugins:
        if importlib.util.find_spec(plugin.module) is not None and version(plugin.distribution) is not None:
            return plugin
    return None


def version(distribution: str) -> str | None:
    """The version that is installed of a distribution."""
    from importlib import metadata  # which takes longer to import than this package's own modules

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def devices(plugin: Plugin) -> list[Any]:
    """ONNX Runtime's OrtEpDevice objects of ``plugin``, which is registered for that: once in a process, and for good.

    Raises
    ------
    EdgeL3Error
        If it cannot be registered; the message gives the reason.
    """
    import onnxruntime

    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise EdgeL3Error(f"{plugin.distribution} needs ONNX Runtime 1.23 or later, found {onnxruntime.__version__}")
    with quiet():
        try:
            if plugin.module not in _registered:
                _registered[plugin.module] = _register(plugin)
            name = _registered[plugin.module]
            return [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
        except (
            Exception
        ) as error:  # of the plugin's own module, or of ONNX Runtime, which has no base class for its own
            raise EdgeL3Error(f"{plugin.distribution} cannot be registered: {first_line(error)}") from error


def _register(plugin: Plugin) -> str:
    import onnxruntime

    module = importlib.import_module(plugin.module)
    name = str(module.get_ep_name())
    try:
        onnxruntime.register_execution_provider_library(name, module.get_library_path())
    except Exception as error:  # see above
        if "already registered" not in str(error):  # by the program that uses this package
            raise
    return name


def device_type(device: Any) -> str:
    """``"cpu"``, ``"gpu"`` or ``"npu"``."""
    return str(device.device.type.name).lower()


def device_name(device: Any) -> str:
    """What the device calls itself."""
    of_plugin, of_system = dict(device.ep_metadata), dict(device.device.metadata)
    name = of_plugin.get("FULL_DEVICE_NAME") or of_system.get("Description") or device.device.vendor
    return f"{device_type(device)}: {name}"


def first_line(error: Exception) -> str:
    """What an exception says, without the marks of ONNX Runtime's layers."""
    said = re.split(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", str(error).strip())[-1]
    return (said.strip() or type(error).__name__).splitlines()[0].rstrip(".")
