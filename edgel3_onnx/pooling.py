"""One embedding for many windows, added up window by window; and embeddings of length 1."""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

POOLS = ("none", "mean", "max", "mean+std")
NORMALIZATIONS = ("l2",)


class Pool:
    """The mean, the largest value, or mean and standard deviation of rows, in bounded memory.

    Rows are added one after another in double precision, so that it does not matter in which portions they come. The
    standard deviation is that of the population (divided by the number of rows), by Welford's method: B. P. Welford,
    Note on a method for calculating corrected sums of squares and products, Technometrics 4 (1962).

    Parameters
    ----------
    kind : {"mean", "max", "mean+std"}
    dim : int
        Values of a row.
    """

    def __init__(self, kind: str, dim: int) -> None:
        self.count = 0
        self._kind = kind
        self._sum: Float64 = np.zeros(dim)
        self._squares: Float64 = np.zeros(dim)  # of the differences from the mean
        self._largest: Float32 = np.full(dim, -np.inf, np.float32)

    def add(self, rows: Float32) -> None:
        """Take rows (N, D)."""
        if self._kind == "max":
            self.count += len(rows)
            np.maximum(self._largest, rows.max(axis=0, initial=-np.inf), out=self._largest)
            return
        for row in rows.astype(np.float64):
            before = row - self._sum / max(self.count, 1)
            self._sum += row
            self.count += 1
            if self._kind == "mean+std":
                self._squares += before * (row - self._sum / self.count) if self.count > 1 else 0.0

    def result(self) -> Float32:
        """Of at least one row: (D,), or for "mean+std" (2 * D,), the means first."""
        if self._kind == "max":
            return self._largest
        pooled = self._sum / self.count
        if self._kind == "mean+std":
            pooled = np.concatenate([pooled, np.sqrt(self._squares / self.count)])
        return pooled.astype(np.float32)


def pooled_dim(kind: str, dim: int) -> int:
    """Values of an embedding after pooling."""
    return 2 * dim if kind == "mean+std" else dim


def normalized(rows: Float32, how: str | None) -> Float32:
    """Rows (N, D) divided by their Euclidean length where ``how`` is "l2"; rows of zeros stay zeros."""
    if how is None:
        return rows
    wide = rows.astype(np.float64)
    length = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return (wide / np.where(length > 0, length, 1.0)).astype(np.float32)
