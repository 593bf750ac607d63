"""What the plugin of OpenVINO has to be told: left alone it computes in bf16, and it ignores options unknown to it."""

import json
from collections.abc import Mapping
from typing import Any

from edgel3_onnx.engines.providers import Request
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}


def plugin_options(request: Request, device: Any) -> dict[str, str]:
    """The options of a session on ``device`` for what ``request`` asks.

    Raises
    ------
    EdgeL3ArgumentError
        If an option of the request contradicts its precision or its threads, or would be ignored.
    EdgeL3Error
        If the device cannot compute in bf16, which was asked for.
    """
    metadata: Mapping[str, str] = dict(device.ep_metadata)
    key = metadata.get("ov_device", "CPU")
    capabilities = metadata.get("OPTIMIZATION_CAPABILITIES", "").split()
    if request.precision == "bf16" and not (key.startswith("CPU") and "BF16" in capabilities):
        raise EdgeL3Error(
            f"precision bf16: OpenVINO's device {key} has no fast bf16; it can {', '.join(capabilities) or 'nothing'}"
        )
    hint = "f32" if request.precision == "fp16" and key.startswith("CPU") else _HINTS[request.precision]
    wanted: dict[str, object] = {"INFERENCE_PRECISION_HINT": hint}
    defaults: dict[str, object] = {}
    if key.startswith("CPU"):
        (defaults if request.num_threads is None else wanted)["INFERENCE_NUM_THREADS"] = request.threads
    options = dict(request.options)
    for option in ("device_type", "device_id", "precision", "num_of_threads"):
        if option in options:
            raise EdgeL3ArgumentError(
                f"provider_options: the plugin of OpenVINO ignores {option}={options[option]}; say "
                "provider='openvino:gpu', precision= or num_threads= instead, or put it into load_config"
            )
    config = _config(options.get("load_config"), key)
    for name, value in wanted.items():
        given = config.setdefault(name, value)
        if str(given).lower() != str(value).lower():
            raise EdgeL3ArgumentError(
                f"provider_options: load_config has {name} {given}, which contradicts precision {request.precision} "
                f"and num_threads {request.num_threads}: they need {value}; leave it out"
            )
    options["load_config"] = json.dumps({key: {**defaults, **config}})
    return options


def _config(text: str | None, key: str) -> dict[str, Any]:
    """The device's part of what the caller gave as load_config."""
    if text is None:
        return {}
    try:
        config = json.loads(text)
    except ValueError as error:
        raise EdgeL3ArgumentError(f"provider_options: load_config must be JSON, got {text!r} ({error})") from error
    if not isinstance(config, dict) or set(config) - {key} or not isinstance(config.get(key, {}), dict):
        raise EdgeL3ArgumentError(
            f"provider_options: load_config must be {{{json.dumps(key)}: {{...}}}} for this device, got {text}"
        )
    return dict(config.get(key, {}))
