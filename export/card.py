"""What is said about an exported graph: its entry in the manifest and its model card."""

import hashlib
from typing import Any

from edgel3_onnx.export.convert.graph import parse, read_metadata
from edgel3_onnx.export.verify import Deviation
from edgel3_onnx.spec import FrontEndSpec
from edgel3_onnx.store.registry import Variant


def manifest_entry(
    graph: bytes,
    file: str,
    variant: Variant,
    *,
    source: dict[str, str],
    deviation: Deviation,
    reference: str,
    recordings: str,
) -> dict[str, Any]:
    """The facts about a serialised graph written to ``file``.

    ``source`` is what it was made from: ``file`` and ``sha256``. ``deviation`` is from the graph ``reference`` on
    ``recordings``, both in words.
    """
    from onnx import TensorProto

    model = parse(graph, file)
    metadata = read_metadata(model, file)
    assert metadata is not None  # this package made the graph
    # What a packaged graph names as its source is the network that it was trained to imitate.
    teacher = {"file": metadata.source_file, "sha256": metadata.source_sha256} if variant.packaged else None
    ends = {}
    for end, value in (("input", model.graph.input[0]), ("output", model.graph.output[0])):
        tensor = value.type.tensor_type
        ends[end] = {
            "name": value.name,
            "dtype": TensorProto.DataType.Name(tensor.elem_type).lower().replace("float", "float32"),
            "shape": [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
        }
    return {
        "file": file,
        "variant": variant.id,
        "kind": metadata.kind,
        "precision": metadata.precision,
        "size": len(graph),
        "sha256": hashlib.sha256(graph).hexdigest(),
        "opset": model.opset_import[0].version,
        "ir_version": model.ir_version,
        **ends,
        "source": source,
        "teacher": teacher,
        "calibration": metadata.calibration,
        "licence": variant.licence,
        "deviation": {
            "from": reference,
            "recordings": recordings,
            "windows": deviation.windows,
            "largest_error": deviation.largest_error,
            "least_cosine": deviation.least_cosine,
            "median_cosine": deviation.median_cosine,
        },
    }


def model_card(entry: dict[str, Any], variant: Variant) -> str:
    """The model card, Markdown, of the graph with this manifest entry."""
    spec, deviation = variant.spec, entry["deviation"]
    shown = {end: ", ".join(map(str, entry[end]["shape"])) for end in ("input", "output")}
    calibrated = f", calibrated on: {entry['calibration']}" if entry["calibration"] else ""
    return f"""# {entry["file"]}

{_what(variant)}
Embedding of {variant.embedding_dim} values per second of audio. Made from {_origin(entry)}

| | |
|---|---|
| input | `{entry["input"]["name"]}` {entry["input"]["dtype"]} [{shown["input"]}] |
| output | `{entry["output"]["name"]}` {entry["output"]["dtype"]} [{shown["output"]}] |
| precision | {entry["precision"]}{calibrated} |
| ONNX | opset {entry["opset"]}, IR version {entry["ir_version"]} |
| size | {entry["size"]} bytes, sha256 `{entry["sha256"]}` |

## Input

{_MEL_INPUT.format(**_numbers(spec)) if entry["kind"] == "mel" else _WAVEFORM_INPUT.format(**_numbers(spec))}

## Front end

| | |
|---|---|
| sample rate | {spec.sample_rate} Hz |
| FFT and periodic Hann window | {spec.n_fft} samples |
| hop between frames | {spec.hop_length} samples |
| frames | {spec.n_frames}, with {spec.pad_left} zeros in front of the window |
| mel bands | {spec.n_mels}, HTK scale, 0 to {spec.sample_rate // 2} Hz, Slaney area normalisation, on power |
| level | 10 log10(max(sqrt(mel power), {spec.amin:g})), minus its maximum, at least -{spec.top_db:g} dB |

## Measured deviation

From {deviation["from"]}, over {deviation["windows"]} windows ({deviation["recordings"]}): largest error
{deviation["largest_error"]:.1e} of the largest value, least cosine {deviation["least_cosine"]:.7f}, median
cosine {deviation["median_cosine"]:.7f}.

## Licence and citation

{variant.licence}. {variant.citation}
"""


_MEL_INPUT = (
    "N log-mel images, each of one second of mono audio at {rate} Hz: band is the row ({n_mels}, lowest first), frame "
    "the column\n({n_frames}), values in dB relative to the image's largest, which is 0; the least is -{top_db:g}."
)
_WAVEFORM_INPUT = (
    "N windows of one second of mono audio at {rate} Hz, {rate} samples each. The embedding does not depend on the "
    "gain.\nThe front end is part of the graph and computes in float32; on a GPU that would use TF32, switch that off."
)


def _numbers(spec: FrontEndSpec) -> dict[str, Any]:
    return {"rate": spec.sample_rate, "n_mels": spec.n_mels, "n_frames": spec.n_frames, "top_db": spec.top_db}


def _origin(entry: dict[str, Any]) -> str:
    def show(source: dict[str, str]) -> str:
        return f"`{source['file']}`\n(sha256 `{source['sha256']}`)"

    if entry["teacher"] is None:
        return f"{show(entry['source'])}."
    return (
        f"{show(entry['source'])}, which\ncomes with edgel3-onnx and was trained from random weights to imitate "
        f"{show(entry['teacher'])}; none of\nits teacher's weights are in it."
    )


def _what(variant: Variant) -> str:
    if variant.sparsity is not None:
        trained = "fine-tuned" if variant.retrain_type == "ft" else "knowledge-distilled"
        pruned = f"L3-Net's audio network, {variant.sparsity:g} % of its weights pruned"
        return f"EdgeL3 audio embedding: {pruned}, then {trained}."
    if variant.model_type == "sea":
        return "SEA audio embedding: a network specialised in urban sound that approximates L3-Net's embedding."
    return f"Audio embedding `{variant.id}` of edgel3-onnx."
