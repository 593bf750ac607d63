import numpy as np
from numpy.typing import NDArray

Convolution = tuple[
    int, NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]
]  # input channels, indptr, index, weight, bias

def levels() -> list[str]: ...

class Network:
    def __init__(self, convolutions: list[Convolution], scale: float, shift: float, level: str) -> None: ...
    @property
    def nbytes(self) -> int: ...

class Workspace:
    def __init__(self, network: Network, group: int, threads: int) -> None: ...
    @property
    def group(self) -> int: ...
    @property
    def threads(self) -> int: ...

class Job:
    def __init__(
        self,
        network: Network,
        images: NDArray[np.float32],
        out: NDArray[np.float32],
        workspace: Workspace,
    ) -> None: ...
    def work(self) -> None: ...
