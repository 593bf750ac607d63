"""The student's architecture, as a table that the PyTorch module and the ONNX graph are both made from."""

from dataclasses import dataclass
from typing import Literal

EMBEDDING_DIM = 64
INPUT_SCALE, INPUT_SHIFT = 1 / 40, 1.0  # -80..0 dB becomes -1..1
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Conv:
    """A 3x3 'same' convolution, BatchNorm and an activation."""

    filters: int
    skip: int = 0  # add the output of the convolution this many places back before the activation; 0: nothing
    pool: bool = False  # 2x2 max-pooling after the activation
    activation: Literal["relu", "silu"] = "silu"  # "relu": cheaper on the largest map, and values from 0 up at the end


ARCHITECTURE = (
    Conv(16, pool=True, activation="relu"),
    Conv(32),
    Conv(32),
    Conv(32, skip=2, pool=True),
    Conv(64),
    Conv(80, pool=True),
    Conv(64),
    Conv(EMBEDDING_DIM, activation="relu"),
)


def describe(architecture: tuple[Conv, ...] = ARCHITECTURE) -> str:
    """One line, such as `16 relu pool 32 silu 32 silu 32+2 silu pool`: filters, `+n` a skip over n convolutions."""
    words = []
    for layer in architecture:
        words.append(f"{layer.filters}+{layer.skip}" if layer.skip else str(layer.filters))
        words.append(layer.activation)
        if layer.pool:
            words.append("pool")
    return " ".join(words)
