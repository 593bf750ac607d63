"""Export a variant in every kind and precision, and hold each graph to its limits before it is written."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgel3_onnx.atomic import write_bytes
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.export.card import manifest_entry, model_card
from edgel3_onnx.export.convert import h5_to_onnx
from edgel3_onnx.export.convert.calibration import Calibration
from edgel3_onnx.export.convert.compact import compact
from edgel3_onnx.export.convert.quantize import quantize
from edgel3_onnx.export.convert.waveform import add_front_end
from edgel3_onnx.export.verify import Deviation, Graph, compare
from edgel3_onnx.store.registry import Variant

ROUTES = ("h5", "tf")

# Of an fp32 graph, relative to the largest value, by front end.
_LARGEST_ERROR = {"sea": 1e-4, "sparse": 1e-3}
_LEAST_COSINE = {"fp32": 0.9999, "int8": 0.98, "fp16": 0.9999}


@dataclass(frozen=True)
class ExportOptions:
    """What to make of every variant."""

    kinds: tuple[str, ...]
    precisions: tuple[str, ...]
    route: str  # one of ROUTES
    out: Path
    dense: bool = False  # no weights in sparse form, which not every runtime reads


@dataclass(frozen=True)
class Sounds:
    """What one front end's graphs are calibrated and measured with."""

    calibration: Calibration
    recordings: str  # what the windows are, in words
    windows: npt.NDArray[np.float32]  # (n, sample_rate)


def export(variant: Variant, weights: bytes | None, options: ExportOptions, sounds: Sounds) -> Iterator[dict[str, Any]]:
    """Write ``<id>.<kind>.<precision>.onnx`` and its model card for every kind and precision.

    ``weights`` is the variant's weight file, None for a variant that comes as a graph. Yields the manifest's
    entry of each graph written. The mel graph of route A in fp32 is what all others are measured against; it
    itself is measured against the waveform graph, whose front end is other code.

    Raises EdgeL3Error if a graph cannot be made, or is further off than its precision allows: it is not
    written then.
    """
    if variant.network_spec is None:
        if options.route == "tf" or weights is not None:
            raise EdgeL3Error(f"{variant.id} comes with this package as a graph: no weights, and route h5 only")
        origin = mel = resources.files("edgel3_onnx.onnx_models").joinpath(variant.file).read_bytes()
    elif weights is None:
        raise EdgeL3Error(f"{variant.id}: no weights")
    else:
        origin, mel = weights, _convert(variant, weights, "h5", "mel")
    source = {"file": variant.file, "sha256": hashlib.sha256(origin).hexdigest()}
    reference = Graph(mel, f"{variant.id}.mel.fp32")

    @cache
    def network(precision: str) -> bytes:
        if precision != "fp32":
            return quantize(network("fp32"), precision, sounds.calibration)
        if options.route == "tf":
            assert weights is not None
            return _convert(variant, weights, "tf", "mel")
        return mel

    def own(kind: str, precision: str) -> bytes:
        if kind == "waveform" and precision == "fp32" and options.route == "tf":
            assert weights is not None
            return _convert(variant, weights, "tf", kind)
        stored = network(precision) if options.dense else compact(network(precision))
        return stored if kind == "mel" else add_front_end(stored)

    for kind in options.kinds:
        for precision in options.precisions:
            graph = own(kind, precision)
            file = f"{variant.id}.{kind}.{precision}.onnx"
            base, base_name = reference, "the mel graph in fp32 that route h5 makes"
            if kind == "mel" and network(precision) == mel:
                base, base_name = Graph(add_front_end(mel), file), "the waveform graph in fp32"
            deviation = compare(Graph(graph, file), base, [sounds.windows])
            _hold_to_limits(deviation, variant, precision, file)
            entry = manifest_entry(
                graph,
                file,
                variant,
                source=source,
                deviation=deviation,
                reference=base_name,
                recordings=sounds.recordings,
            )
            write_bytes(options.out / file, graph)
            write_bytes(options.out / f"{file.removesuffix('.onnx')}.md", model_card(entry, variant).encode())
            yield entry


def _convert(variant: Variant, weights: bytes, route: str, kind: str) -> bytes:
    assert variant.network_spec is not None
    data = h5_to_onnx.decompress(weights, variant.file)
    source = {"source_file": variant.file, "source_sha256": hashlib.sha256(weights).hexdigest()}
    if route == "h5":
        return h5_to_onnx.convert(data, variant.network_spec, variant=variant.id, **source)
    from edgel3_onnx.export import keras_to_onnx

    return keras_to_onnx.convert(data, variant.network_spec, kind=kind, variant=variant.id, **source)


def _hold_to_limits(deviation: Deviation, variant: Variant, precision: str, file: str) -> None:
    least_cosine = _LEAST_COSINE[precision]
    largest_error = _LARGEST_ERROR[variant.frontend] if precision == "fp32" else float("inf")
    if not (deviation.least_cosine >= least_cosine and deviation.largest_error <= largest_error):
        limits = f"largest error {largest_error:g}, least cosine {least_cosine:g}"
        raise EdgeL3Error(f"{file}: too far from its reference (limits: {limits}): {deviation}")
