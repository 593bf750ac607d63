from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Layer: TypeAlias = tuple[
    NDArray[np.float32], NDArray[np.float32], str, int, bool
]  # weight, bias, activation, skip, pool

ACTIVATIONS: dict[str, int]
METHODS: dict[str, int]

def levels() -> list[str]: ...

class Network:
    def __new__(
        cls, layers: list[_Layer], rows: int, cols: int, scale: float, shift: float, method: str, level: str
    ) -> Self: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
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
