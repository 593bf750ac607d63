"""--doctor, --list-models and --fetch say what is there."""

import sys

import pytest

import golden
from edgel3_onnx import EdgeL3ArgumentError
from edgel3_onnx.command import doctor
from edgel3_onnx.engines.session import PROVIDERS, installed_providers
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store import weights
from edgel3_onnx.store.registry import variants
from upstream import Terminal, Upstream


def test_the_report_names_versions_providers_and_cache(monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", "/somewhere")
    report = doctor.report()
    assert "ONNX Runtime: onnxruntime" in report
    assert "provider cpu (CPUExecutionProvider): loads" in report
    assert "provider native (this package's own engine): loads, SIMD level" in report
    missing = [name for name in PROVIDERS if name not in installed_providers()]
    assert f"providers not installed: {', '.join(missing)}" in report
    assert f"cache: {weights.cache_dir()}" in report
    assert "EDGEL3_ONNX_MIRROR=/somewhere" in report


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime's, before it falls back
def test_a_provider_that_does_not_load_is_reported_as_such(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CoreMLExecutionProvider"])
    assert "provider coreml (CoreMLExecutionProvider): does not load" in doctor.report()


def test_two_onnxruntimes_are_a_problem(monkeypatch, tmp_path):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.99.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.99.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    report = doctor.report()
    assert "PROBLEM: onnxruntime and onnxruntime-gpu overwrite each other's files" in report
    assert "pip install onnxruntime-gpu" in report


def test_a_broken_simd_setting_does_not_end_the_report(monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", "mmx")
    assert "SIMD level unusable: EDGEL3_ONNX_SIMD='mmx'" in doctor.report()


def test_models_are_listed_with_their_graphs(tmp_path, monkeypatch):
    table = doctor.list_models().splitlines()
    assert len(table) == 1 + len(variants())
    (row,) = [row for row in table if row.startswith("sea-128 ")]
    assert row.split() == ["sea-128", "128", "8000", "Hz", "not", "cached"]


def test_fetching_reports_each_variant_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", str(tmp_path))  # has the file, but not the published weights
    golden.write_h5(tmp_path / variants()["sea-64"].file, golden.weights(640, NETWORKS["sea-64"]), "sea-64")
    assert doctor.fetch(["sea-64", "sea-128"]) == 1
    errors = capsys.readouterr().err
    assert "sea-64" in errors and "sea-128" in errors and "EDGEL3_ONNX_MIRROR" in errors


def test_quiet_fetching_prints_nothing(published, variant, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "variants", lambda: {variant.id: variant})
    monkeypatch.delenv("EDGEL3_ONNX_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Upstream() as upstream:
        upstream.files[variant.file] = published
        monkeypatch.setenv("EDGEL3_ONNX_MIRROR", upstream.url)
        assert doctor.fetch([variant.id], verbose=False) == 0
        assert (capsys.readouterr().out, terminal.getvalue()) == ("", "")
        path = weights.cached_path(variant)
        path.unlink()
        assert doctor.fetch([variant.id], verbose=True) == 0
    assert capsys.readouterr().out == f"{variant.id}: {path}\n" and variant.file in terminal.getvalue()


def test_fetching_something_unknown_is_refused_before_anything_is_fetched():
    with pytest.raises(EdgeL3ArgumentError, match="unknown variant 'sea-65'; there are all, sea-64"):
        doctor.fetch(["sea-128", "sea-65"])
