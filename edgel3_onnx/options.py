"""How a signal is cut into windows, and what becomes of their embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgel3_onnx.audio import check_hop_size, to_hop_length
from edgel3_onnx.channels import check_channels
from edgel3_onnx.checks import check_choice, check_flag, check_optional_count
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.pooling import NORMALIZATIONS, POOLS
from edgel3_onnx.spec import RESAMPLERS


@dataclass(frozen=True)
class EmbeddingOptions:
    """How a signal is cut into windows, as of :func:`edgel3_onnx.get_embedding`, checked."""

    center: bool = True
    hop_size: float = 0.1  # seconds
    resampler: str = "kaiser_best"
    batch_size: int | None = None  # windows per run; None: the model's own choice
    channels: str = "mix"  # or "each", or numbers from 1 between commas
    pool: str = "none"
    normalize: str | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "EmbeddingOptions":
        """Those of ``arguments`` that are such options. EdgeL3ArgumentError if one is not allowed."""
        given = {each.name: arguments[each.name] for each in fields(cls) if each.name in arguments}
        options = cls(**given)
        normalize = options.normalize
        return cls(
            check_flag("center", options.center),
            check_hop_size(options.hop_size),
            check_choice("resampler", options.resampler, RESAMPLERS),
            check_optional_count("batch_size", options.batch_size),
            check_channels(options.channels),
            check_choice("pool", options.pool, POOLS),
            None if normalize is None else check_choice("normalize", normalize, NORMALIZATIONS),
        )

    def hop_length(self, model: EmbeddingModel) -> int:
        """Samples between windows, at the model's rate. EdgeL3ArgumentError if that is less than one."""
        return to_hop_length(self.hop_size, model.sample_rate)

    def lead(self, model: EmbeddingModel) -> int:
        """Zeros in front of a recording, in samples at the model's rate."""
        return model.spec.window_length // 2 if self.center else 0
