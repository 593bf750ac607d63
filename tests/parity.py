"""How embeddings are compared: relative to the largest value of the expected ones, and by direction."""

import numpy as np


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference divided by the largest expected value."""
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max())


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Length of the difference divided by the length of the expected values."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected.astype(np.float64)))


def least_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Least cosine between rows; two rows of zeros count as equal."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    return float(np.where(both_zero, 1, (a * b).sum(axis=1) / np.where(norms == 0, 1, norms)).min())
