"""The names of execution providers, what brings each of them, and what makes each compute in fp32."""

from dataclasses import dataclass

from edgel3_onnx.cpu import available_cpus
from edgel3_onnx.exceptions import EdgeL3ArgumentError


@dataclass(frozen=True)
class Plugin:
    """A package that brings a provider to the ONNX Runtime which is installed."""

    module: str  # has get_ep_name() and get_library_path()
    distribution: str


@dataclass(frozen=True)
class Provider:
    """An execution provider under the name that people type."""

    name: str
    onnxruntime_name: str
    package: str  # what brings it
    plugins: tuple[Plugin, ...] = ()  # are taken before a provider that is built in
    options: tuple[tuple[str, str], ...] = ()  # of the one built in, unless the caller says otherwise
    exact: tuple[tuple[str, str], ...] = ()  # values that fp32 needs, where the option is given
    device_types: tuple[str, ...] = ("npu", "gpu", "cpu")  # the plugin's, the one to take first
    device_ids: bool = True  # whether a device can be picked by its number
    one_at_a_time: bool = False  # whether its sessions crash when two threads open or run them
    threads: str = ""  # the option of the built-in provider that limits its threads


def _fixed(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(values.items())


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "onnxruntime"),
        Provider(
            "cuda",
            "CUDAExecutionProvider",
            "onnxruntime-gpu (in place of onnxruntime), or a plugin onnxruntime-ep-cuda12 or -cuda13",
            plugins=(
                Plugin("onnxruntime_ep_cuda13", "onnxruntime-ep-cuda13"),
                Plugin("onnxruntime_ep_cuda12", "onnxruntime-ep-cuda12"),
            ),
            options=_fixed(use_tf32="0"),  # products of 10 bits are not the numbers of edgel3
            exact=_fixed(use_tf32="0"),
        ),
        Provider(
            "tensorrt",
            "TensorrtExecutionProvider",
            "onnxruntime-gpu and tensorrt",
            exact=_fixed(trt_fp16_enable="0", trt_bf16_enable="0", trt_int8_enable="0"),
        ),
        Provider(
            "tensorrt-rtx",
            "NvTensorRTRTXExecutionProvider",
            "pip install 'edgel3-onnx[tensorrt-rtx]'",
            plugins=(
                Plugin("onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime-ep-nv-tensorrt-rtx-cu13"),
                Plugin("onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime-ep-nv-tensorrt-rtx-cu12"),
            ),
        ),
        Provider(
            "openvino",
            "OpenVINOExecutionProvider",
            "pip install 'edgel3-onnx[openvino]', or with onnxruntime-openvino (in place of onnxruntime)",
            plugins=(Plugin("onnxruntime_ep_openvino", "onnxruntime-ep-openvino"),),
            options=_fixed(device_type="CPU"),
            exact=_fixed(precision="FP32"),
            device_types=("cpu", "gpu", "npu"),
            threads="num_of_threads",
        ),
        Provider(
            "coreml",
            "CoreMLExecutionProvider",
            "onnxruntime on macOS",
            exact=_fixed(AllowLowPrecisionAccumulationOnGPU="0"),
        ),
        Provider("directml", "DmlExecutionProvider", "onnxruntime-directml on Windows (in place of onnxruntime)"),
        Provider("xnnpack", "XnnpackExecutionProvider", "an ONNX Runtime built with XNNPACK"),
        Provider(
            "qnn",
            "QNNExecutionProvider",
            "pip install 'edgel3-onnx[qnn]'",
            plugins=(Plugin("onnxruntime_qnn", "onnxruntime-qnn"),),
            exact=_fixed(enable_htp_fp16_precision="0"),
        ),
        Provider(
            "migraphx",
            "MIGraphXExecutionProvider",
            "onnxruntime-migraphx (in place of onnxruntime)",
            exact=_fixed(
                migraphx_fp16_enable="0", migraphx_bf16_enable="0", migraphx_fp8_enable="0", migraphx_int8_enable="0"
            ),
        ),
        Provider(
            "mlx",
            "MLXExecutionProvider",
            "pip install onnxruntime-ep-mlx on macOS",
            plugins=(Plugin("onnxruntime_ep_mlx", "onnxruntime-ep-mlx"),),
        ),
        Provider(
            "webgpu",
            "WebGpuExecutionProvider",
            "pip install 'edgel3-onnx[webgpu]'",
            plugins=(Plugin("onnxruntime_ep_webgpu", "onnxruntime-ep-webgpu"),),
            one_at_a_time=True,  # seen with onnxruntime-ep-webgpu 0.4
            device_ids=False,  # the plugin takes the adapter that the system prefers, whichever was listed
        ),
    )
}
_ONNXRUNTIME_NAMES = {provider.onnxruntime_name.lower(): name for name, provider in PROVIDERS.items()}
NATIVE = "native"  # this package's own engine
ALIASES = {"sparse": NATIVE}  # the name of when it ran the pruned networks alone
PROVIDER_NAMES = (*PROVIDERS, NATIVE, *ALIASES, "auto")
_DEVICE_TYPES = ("cpu", "gpu", "npu")


@dataclass(frozen=True)
class Request:
    """What a caller asked of a provider, checked."""

    name: str  # of PROVIDER_NAMES, without aliases
    device: str = ""  # a number, or one of "cpu", "gpu", "npu"; "": the provider's choice
    options: tuple[tuple[str, str], ...] = ()  # the provider's own
    precision: str = "fp32"  # "fp32", "int8", "fp16" or "bf16"
    num_threads: int | None = None
    fallback: bool = False  # whether the CPU may run the nodes that the provider does not take

    @property
    def threads(self) -> int:
        return self.num_threads or available_cpus()


def check_provider(provider: str) -> tuple[str, str]:
    """Split ``"cuda:1"`` into the provider's name, aliases replaced, and the device: a number, cpu, gpu, npu or "".

    Raises
    ------
    EdgeL3ArgumentError
        If the name is not one of PROVIDER_NAMES, or there can be no such device.
    """
    name, colon, device = str(provider).lower().partition(":")
    name = _ONNXRUNTIME_NAMES.get(name, name)
    if name not in PROVIDER_NAMES:
        raise EdgeL3ArgumentError(f"provider must be one of {', '.join(PROVIDER_NAMES)}, got {provider!r}")
    name = ALIASES.get(name, name)
    if not colon:
        return name, ""
    if name == NATIVE:
        raise EdgeL3ArgumentError(f"the native engine runs on the CPU and takes no device, got provider {provider!r}")
    if name == "auto":
        raise EdgeL3ArgumentError(f"auto picks the device itself, got provider {provider!r}")
    named = PROVIDERS[name].plugins and device in _DEVICE_TYPES
    if not (named or device.isdecimal()):
        raise EdgeL3ArgumentError(
            "the device after the colon must be a number, or cpu, gpu or npu for a provider that comes as a plugin, "
            f"got provider {provider!r}"
        )
    if device.isdecimal() and int(device) and not PROVIDERS[name].device_ids:
        raise EdgeL3ArgumentError(f"{name} takes the device that the system prefers, got provider {provider!r}")
    return name, device


def check_options(request: Request) -> None:
    """Refuse an option that would compute in less than the precision that was asked for.

    Raises
    ------
    EdgeL3ArgumentError
        Names the option and the values allowed.
    """
    if request.precision != "fp32":
        return
    for option, value in PROVIDERS[request.name].exact:
        given = dict(request.options).get(option, value)
        if _normal(given) != _normal(value):
            raise EdgeL3ArgumentError(
                f"provider_options: {option}={given} contradicts precision fp32, which needs {option}={value}; "
                "leave it out, or ask for another precision"
            )


def _normal(value: str) -> str:
    return {"false": "0", "true": "1"}.get(value.lower(), value.lower())
