"""Classes from the paths of files, and the accuracy of a logistic regression on them."""

from collections import Counter
from pathlib import PurePath

import numpy as np
from scipy.optimize import minimize

SMALLEST_CLASS = 4
FOLDS, REPEATS = 4, 10
PENALTY = 1.0  # weight of half the squared norm of the coefficients, against the sum of the log losses


def name_prefix(path: str) -> str:
    """What stands before the first underscore of the file's name."""
    return PurePath(path).name.split("_")[0]


def folder(path: str) -> str:
    """The folder that the file lies in."""
    return str(PurePath(path).parent)


def file_classes(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the files that belong to a class, int64 (n,), and the class of each, int64 (n,).

    `names` has a class name for each file; one that fewer than SMALLEST_CLASS files share makes no class.
    """
    counts = Counter(names)
    classes = sorted(name for name, n in counts.items() if n >= SMALLEST_CLASS)
    chosen = [k for k, name in enumerate(names) if name in classes]
    return np.array(chosen), np.array([classes.index(names[k]) for k in chosen])


def repeated_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean accuracy over REPEATS stratified FOLDS-fold cross-validations, features float (n, d) standardised."""
    scores = []
    for seed in range(REPEATS):
        fold = _stratified_folds(labels, np.random.default_rng(seed))
        for k in range(FOLDS):
            train, test = fold != k, fold == k
            mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
            scaled = (features - mean) / np.where(deviation > 0, deviation, 1)
            coefficients = fit(scaled[train], labels[train], int(labels.max()) + 1)
            scores.append((_scores(scaled[test], coefficients).argmax(axis=1) == labels[test]).mean())
    return float(np.mean(scores))


def fit(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Coefficients (d + 1, classes) of multinomial logistic regression with an L2 penalty; the last row is the bias."""
    width = features.shape[1]
    wanted = np.eye(classes)[labels]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = flat.reshape(width + 1, classes)
        scores = _scores(features, coefficients)
        scores -= scores.max(axis=1, keepdims=True)
        log_probability = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        error = np.exp(log_probability) - wanted
        gradient = np.vstack([features.T @ error + PENALTY * coefficients[:-1], error.sum(axis=0)])
        loss = -(log_probability * wanted).sum() + 0.5 * PENALTY * (coefficients[:-1] ** 2).sum()
        return float(loss), gradient.ravel()

    found = minimize(objective, np.zeros((width + 1) * classes), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return found.x.reshape(width + 1, classes)


def _scores(features: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    return features @ coefficients[:-1] + coefficients[-1]


def _stratified_folds(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fold of each sample, int64 (n,); each class is spread evenly."""
    fold = np.empty(len(labels), np.int64)
    for value in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == value))
        fold[members] = (np.arange(len(members)) + rng.integers(FOLDS)) % FOLDS
    return fold
