from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Convolution: TypeAlias = tuple[
    int, NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]
]  # input channels, indptr, index, weight, bias

def levels() -> list[str]: ...

class Network:
    def __new__(cls, convolutions: list[_Convolution], scale: float, shift: float, level: str) -> Self: ...
    @property
    def nbytes(self) -> int: ...

class Workspace:
    def __new__(cls, network: Network, group: int, threads: int) -> Self: ...
    @property
    def group(self) -> int: ...
    @property
    def threads(self) -> int: ...

class Job:
    def __new__(
        cls,
        network: Network,
        images: NDArray[np.float32],
        out: NDArray[np.float32],
        workspace: Workspace,
    ) -> Self: ...
    def work(self) -> None: ...
