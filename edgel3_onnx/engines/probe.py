"""Does a provider compute in fp32? A convolution whose numbers differ from 1 in a bit that shorter formats drop."""

import functools

import numpy as np
from numpy.typing import NDArray

# y = Conv(x, w) without padding, x float32 (N, 4, 8, 8), w float32 (4, 4, 3, 3), opset 17: kept as bytes so that onnx
# is not needed. N is free as in the networks. An addition would not do: providers shorten products alone.
_HEAD = bytes.fromhex(
    "08083abe050a260a01780a01771201792204436f6e762a150a0c6b65726e656c5f736861706540034003a00107120570726f62652ad00408"
    "0408040803080310014201774ac004"
)
_TAIL = bytes.fromhex(
    "5a1c0a017812170a15080112110a0312014e0a0208040a0208080a020808621c0a017912170a15080112110a0312014e0a0208040a020806"
    "0a02080642040a001011"
)
_NUMBER = 1 + 2**-13  # float32 keeps 23 bits of the fraction, TF32 and float16 10, bfloat16 7: there it is 1
_TERMS = 4 * 3 * 3
# fp32 in any order of summation stays below; 1 in place of _NUMBER gives 2.4e-4, in one factor alone 1.2e-4.
EXACT = 2e-6


@functools.cache
def graph() -> bytes:
    return _HEAD + np.float32(_NUMBER).tobytes() * (4 * _TERMS) + _TAIL


def images() -> NDArray[np.float32]:
    return np.full((1, 4, 8, 8), _NUMBER, np.float32)


def error(result: NDArray[np.float32]) -> float:
    """Largest relative error of what the graph made of ``images()``; at most EXACT in fp32."""
    return float(np.abs(np.asarray(result, np.float64) / (_TERMS * _NUMBER**2) - 1).max())
