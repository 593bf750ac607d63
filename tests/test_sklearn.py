"""EdgeL3Transformer with the real scikit-learn."""

import pickle

import numpy as np
import pytest
import soundfile

import edgel3_onnx
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning, get_embedding, load_embedding_model

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from edgel3_onnx.sklearn import EdgeL3Transformer

SR = 8000


def signal(kind: int, seed: int, seconds: float = 1.5) -> np.ndarray:
    """Noise (0) or a tone (1)."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * SR)) / SR
    noise = 0.1 * rng.standard_normal(t.size)
    return (noise if kind == 0 else 0.5 * np.sin(2 * np.pi * rng.uniform(300, 900) * t) + 0.01 * noise).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def micro():
    return load_embedding_model("micro", num_threads=1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for k in range(12):
        soundfile.write(folder / f"{k:02}.wav", signal(k % 2, k, 1.0 + 0.1 * k), SR, subtype="FLOAT")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.filterwarnings("ignore::edgel3_onnx.EdgeL3Warning")  # its arrays are a few samples long
def test_scikit_learns_own_checks():
    integers = {"check_estimators_dtypes": "integers of 64 bits have no full scale, and are refused"}
    results = check_estimator(EdgeL3Transformer(sample_rate=SR), expected_failed_checks=integers, on_fail=None)
    status = {result["check_name"]: result["status"] for result in results}
    assert {name for name, what in status.items() if what not in ("passed", "skipped")} == {*integers}
    assert status["check_estimators_dtypes"] == "xfail"
    assert sum(what == "passed" for what in status.values()) >= 40


@pytest.mark.parametrize("pool", ["mean", "max", "mean+std"])
def test_rows_are_pooled_embeddings(micro, paths, pool):
    arrays = [soundfile.read(path, dtype="float32")[0] for path in paths]
    expected = []
    for array in arrays:
        windows = get_embedding(array, SR, micro, hop_size=0.2, center=False)[0].astype(np.float64)
        parts = {"mean": [windows.mean(0)], "max": [windows.max(0)], "mean+std": [windows.mean(0), windows.std(0)]}
        expected.append(np.concatenate(parts[pool]))
    transformer = EdgeL3Transformer(micro, sample_rate=SR, pool=pool, hop_size=0.2, center=False)
    for X in (paths, arrays, np.array(paths), np.array(paths, object)[:, np.newaxis]):
        rows = transformer.transform(X)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)
        assert rows.shape == (12, len(transformer.get_feature_names_out()))


def test_columns_have_names(micro, paths):
    pandas = pytest.importorskip("pandas")
    transformer = EdgeL3Transformer(micro, pool="mean+std").set_output(transform="pandas")
    frame = transformer.fit_transform(pandas.DataFrame({"path": paths[:2]}))
    assert list(frame.columns) == [f"{name}_{k}" for name in ("mean", "std") for k in range(64)]
    assert transformer.fit_transform(pandas.Series(paths[:2])).equals(frame)


def test_clones_and_pickles_agree(micro, paths):
    transformer = EdgeL3Transformer(micro, pool="max")
    expected = transformer.transform(paths[:2])
    for other in (clone(transformer), pickle.loads(pickle.dumps(transformer))):
        assert other.get_params() | {"model": None} == transformer.get_params() | {"model": None}
        np.testing.assert_array_equal(other.transform(paths[:2]), expected)


def test_without_a_model_micro_is_taken(micro, paths):
    rows = EdgeL3Transformer().transform(paths[:2])
    np.testing.assert_array_equal(rows, EdgeL3Transformer(micro).transform(paths[:2]))


def test_a_grid_of_models_and_pools(micro, sea64, paths):
    labels = [k % 2 for k in range(12)]
    pipeline = make_pipeline(EdgeL3Transformer(micro), LogisticRegression(max_iter=1000))
    grid = {"edgel3transformer__model": [micro, sea64], "edgel3transformer__pool": ["mean", "max"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(paths, labels)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ == 1.0  # tones and noise
    assert list(search.predict(paths)) == labels


def test_files_that_cannot_be_embedded_are_named(micro, paths, tmp_path):
    (tmp_path / "no.wav").write_bytes(b"no audio")
    bad = [str(tmp_path / "no.wav"), str(tmp_path / "absent.wav")]
    with pytest.raises(EdgeL3Error, match="2 of 3 files failed") as error:
        EdgeL3Transformer(micro).transform([*bad, paths[0]])
    assert all(path in str(error.value) for path in bad)


def test_warnings_name_the_file(micro, tmp_path):
    soundfile.write(tmp_path / "short.wav", signal(0, 0, 0.5), SR)
    with pytest.warns(EdgeL3Warning, match=r"short\.wav: shorter than the window"):
        EdgeL3Transformer(micro).transform([tmp_path / "short.wav"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pool": "median"}, "pool must be one of mean, max, mean\\+std, got 'median'"),
        ({"hop_size": 0}, "hop_size must be a positive number of seconds, got 0"),
        ({"model": "sea"}, "model must come from load_embedding_model"),
        ({"sample_rate": None}, "sr must be a positive number of Hz, got None"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(EdgeL3ArgumentError, match=message):
        EdgeL3Transformer(**{"sample_rate": SR, **parameters}).fit_transform([signal(0, 0)])


def test_the_package_itself_needs_no_scikit_learn():
    assert not hasattr(edgel3_onnx, "EdgeL3Transformer")
