"""How well one set of embeddings agrees with the teacher's."""

import numpy as np

ROUNDING = 1e-6  # of a cosine of float32 embeddings


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of corresponding rows, (n,); 0 where a row is zero."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-12)


def agreement(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Cosine to the teacher: median and 1st percentile, plain and after subtracting the teacher's mean embedding."""
    mean = wanted.mean(axis=0)
    plain, centred = cosine(found, wanted), cosine(found - mean, wanted - mean)
    return {
        "cosine_median": float(np.median(plain)),
        "cosine_p1": float(np.percentile(plain, 1)),
        "centred_median": float(np.median(centred)),
        "centred_p10": float(np.percentile(centred, 10)),
    }


def neighbour_agreement(found: np.ndarray, wanted: np.ndarray, files: np.ndarray, top: int = 5) -> float:
    """Part of the windows whose nearest neighbour in another file is among the teacher's `top` nearest there.

    Nearest by cosine; `files`, (n,), tells which file a window comes from. Windows that are as near for the teacher as
    its `top`-th, such as other silent ones, are among them too.
    """
    other = files[:, None] != files[None, :]
    similar = []
    for vectors in (found, wanted):
        unit = vectors.astype(np.float64) / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        similar.append(np.where(other, unit @ unit.T, -np.inf))
    nearest = similar[0].argmax(axis=1)
    least = np.partition(similar[1], -top, axis=1)[:, -top]
    return float((similar[1][np.arange(len(files)), nearest] >= least - ROUNDING).mean())
