"""The registry: 20 published variants, found by the arguments that edgel3 takes."""

import json
from importlib import resources

import pytest

from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.store.registry import find_variant, variants

SPARSITIES = (53.5, 63.5, 72.3, 73.5, 81.0, 87.0, 90.5, 95.45)


def test_all_twenty_published_variants_are_listed():
    published = [v for v in variants().values() if not v.packaged]
    assert len(published) == 20
    assert len({v.file for v in published}) == len({v.git_blob_id for v in published}) == 20
    assert all(len(v.git_blob_id) == 40 and v.licence == "MIT" and v.citation for v in published)
    assert all(v.spec.name == v.frontend and v.network_spec.embedding_dim == v.embedding_dim for v in published)


@pytest.mark.parametrize("emb_dim", [64, 128, 256, 512])
def test_sea_is_found_by_its_size(emb_dim):
    variant = find_variant("sea", emb_dim)
    assert (variant.id, variant.embedding_dim) == (f"sea-{emb_dim}", emb_dim)
    assert variant.file == f"edgel3_sea_ust_audio_emb_{emb_dim}.h5.gz"


@pytest.mark.parametrize("retrain_type", ["ft", "kd"])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_sparse_is_found_by_training_and_sparsity(retrain_type, sparsity):
    variant = find_variant("sparse", retrain_type=retrain_type, sparsity=sparsity)
    assert variant.id == f"sparse-{retrain_type}-{sparsity}"
    assert variant.file == f"edgel3_{retrain_type}_audio_sparsity_{sparsity}.h5.gz"


def test_the_default_is_edgel3s():
    assert find_variant().id == "sparse-ft-95.45"
    assert find_variant("sea").id == "sea-128"
    assert find_variant("sparse", retrain_type="kd").id == "sparse-kd-95.45"
    assert find_variant("sparse", sparsity=53.5).id == "sparse-ft-53.5"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model_type": "l3"}, "model_type must be one of sparse, sea, micro, got 'l3'"),
        ({"model_type": "sea", "emb_dim": 100}, "emb_dim of a sea model must be one of 64, 128, 256, 512, got 100"),
        ({"retrain_type": "xx"}, "retrain_type must be one of ft, kd, got 'xx'"),
        ({"sparsity": 50}, "sparsity of a sparse model must be one of 53.5, 63.5"),
    ],
)
def test_unknown_variants_are_argument_errors_that_name_what_is_allowed(arguments, named):
    with pytest.raises(EdgeL3ArgumentError) as caught:
        find_variant(**arguments)
    assert named in str(caught.value)
    assert isinstance(caught.value, EdgeL3Error) and isinstance(caught.value, ValueError)


def test_the_manifest_is_installed():
    manifest = json.loads(resources.files("edgel3_onnx.onnx_models").joinpath("manifest.json").read_text("utf-8"))
    assert manifest["upstream"].startswith("https://") and manifest["upstream"].endswith("/")
