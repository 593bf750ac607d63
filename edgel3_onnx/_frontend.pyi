import numpy as np
from numpy.typing import NDArray

from .spec import FrontEndSpec

class MelPlan:
    def __init__(self, spec: FrontEndSpec) -> None: ...
    def run(
        self, audio: NDArray[np.float32], images: NDArray[np.float32], lead: int, hop_length: int, start: int
    ) -> None: ...

class KaiserResampler:
    def __init__(self, ratio: float) -> None: ...
    def process(self, block: NDArray[np.float32], last: bool, output: NDArray[np.float32]) -> int: ...
