"""The variants that can be asked for by name, read from onnx_models/manifest.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.spec import FRONTENDS, NETWORKS, FrontEndSpec, NetworkSpec

MODEL_TYPES = ("sparse", "sea", "micro")


@dataclass(frozen=True)
class Variant:
    """One embedding model: what it is called, where it comes from, and under which terms."""

    id: str  # such as "sea-64" or "sparse-ft-95.45"
    model_type: str  # one of MODEL_TYPES
    network: str | None  # key of spec.NETWORKS; None for a network that exists only as a shipped graph
    frontend: str  # key of spec.FRONTENDS
    embedding_dim: int
    retrain_type: str | None  # "ft" (fine-tuned) or "kd" (knowledge-distilled) after pruning; None for sea
    sparsity: float | None  # percentage of weights that are zero; None for sea
    file: str  # published HDF5 file, or the graph shipped in onnx_models
    git_blob_id: str | None  # of the published file; None for a shipped graph
    licence: str  # SPDX identifier of the weights' licence
    citation: str

    @property
    def spec(self) -> FrontEndSpec:
        return FRONTENDS[self.frontend]

    @property
    def network_spec(self) -> NetworkSpec | None:
        return None if self.network is None else NETWORKS[self.network]

    @property
    def packaged(self) -> bool:
        """Whether the graph is part of this package, so that no weights are downloaded."""
        return self.git_blob_id is None


@cache
def _manifest() -> dict[str, object]:
    text = resources.files("edgel3_onnx.onnx_models").joinpath("manifest.json").read_text("utf-8")
    manifest: dict[str, object] = json.loads(text)
    return manifest


@cache
def variants() -> dict[str, Variant]:
    """All variants by id, in the order of the manifest."""
    manifest = _manifest()
    citations, rows = manifest["citations"], manifest["variants"]
    assert isinstance(citations, dict) and isinstance(rows, list)
    return {row["id"]: Variant(**{**row, "citation": citations[row["citation"]]}) for row in rows}


def upstream_url() -> str:
    """Where the published weight files are, ending in a slash."""
    return str(_manifest()["upstream"])


def find_variant(
    model_type: str = "sparse", emb_dim: int = 128, retrain_type: str = "ft", sparsity: float = 95.45
) -> Variant:
    """The variant that edgel3's arguments name.

    Parameters
    ----------
    model_type : {"sparse", "sea", "micro"}
    emb_dim : {512, 256, 128, 64}
        Size of the embedding; only ``sea`` looks at it.
    retrain_type : {"ft", "kd"}
        How the network was trained after pruning; only ``sparse`` looks at it.
    sparsity : float
        Percentage of zero weights; only ``sparse`` looks at it.

    Raises
    ------
    EdgeL3ArgumentError
        If no such variant exists; the message lists those that do.
    """
    if model_type not in MODEL_TYPES:
        raise EdgeL3ArgumentError(f"model_type must be one of {', '.join(MODEL_TYPES)}, got {model_type!r}")
    candidates = [v for v in variants().values() if v.model_type == model_type]
    if model_type == "sea":
        dims = [v.embedding_dim for v in candidates]
        return _pick(candidates, dims, "emb_dim of a sea model", emb_dim)
    if model_type == "sparse":
        kinds = sorted({v.retrain_type for v in candidates if v.retrain_type})
        if retrain_type not in kinds:
            raise EdgeL3ArgumentError(f"retrain_type must be one of {', '.join(kinds)}, got {retrain_type!r}")
        candidates = [v for v in candidates if v.retrain_type == retrain_type]
        return _pick(candidates, [v.sparsity for v in candidates], "sparsity of a sparse model", sparsity)
    return candidates[0]


def _pick(candidates: list[Variant], keys: Sequence[object], what: str, wanted: object) -> Variant:
    if wanted not in keys:
        allowed = ", ".join(str(key) for key in keys)
        raise EdgeL3ArgumentError(f"{what} must be one of {allowed}, got {wanted!r}")
    return candidates[keys.index(wanted)]
