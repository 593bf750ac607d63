from typing import Self

import numpy as np
from numpy.typing import NDArray

from .spec import FrontEndSpec

def simd_levels() -> list[str]: ...

class MelPlan:
    def __new__(cls, spec: FrontEndSpec, level: int) -> Self: ...
    def run(
        self, audio: NDArray[np.float32], images: NDArray[np.float32], lead: int, hop_length: int, start: int
    ) -> None: ...

class KaiserFilter:
    def __new__(cls, ratio: float, level: int) -> Self: ...

class KaiserResampler:
    def __new__(cls, filter: KaiserFilter) -> Self: ...
    def process(self, block: NDArray[np.float32], last: bool, output: NDArray[np.float32]) -> int: ...
