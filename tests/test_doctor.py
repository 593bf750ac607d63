"""--doctor, --list-models and --fetch say what is there."""

import sys
from types import SimpleNamespace

import pytest

import golden
from edgel3_onnx import EdgeL3ArgumentError
from edgel3_onnx.command import doctor
from edgel3_onnx.engines.providers import PROVIDERS
from edgel3_onnx.engines.runtime import installed_providers, measured_error
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store import weights
from edgel3_onnx.store.registry import variants
from upstream import Terminal, Upstream


def test_the_report_names_versions_providers_and_cache(monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", "/somewhere")
    report = doctor.report()
    assert "ONNX Runtime: onnxruntime" in report
    assert "provider cpu (CPUExecutionProvider): fp32 exact" in report
    assert "provider native (this package's own engine): loads, SIMD level" in report
    missing = [name for name in PROVIDERS if name not in installed_providers()]
    assert f"providers not installed: {', '.join(missing)}" in report
    assert f"cache: {weights.cache_dir()}" in report
    assert "EDGEL3_ONNX_MIRROR=/somewhere" in report


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime's, before it falls back
def test_a_provider_that_does_not_load_is_reported_as_such(monkeypatch):
    import onnxruntime

    measured_error.cache_clear()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CoreMLExecutionProvider"])
    assert "provider coreml (CoreMLExecutionProvider): does not load" in doctor.report()


def test_two_onnxruntimes_are_a_problem(monkeypatch, tmp_path):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.99.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.99.0\n")
        (folder / "RECORD").write_text("onnxruntime/__init__.py,,\n")
    doctor.report()  # imports what it needs
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    report = doctor.report()
    assert "PROBLEM: onnxruntime and onnxruntime-gpu overwrite each other's files" in report
    assert "pip install onnxruntime-gpu" in report


def test_a_plugin_beside_onnxruntime_is_no_problem(monkeypatch, tmp_path):
    for name, file in (("onnxruntime", "onnxruntime/__init__.py"), ("onnxruntime_qnn", "onnxruntime_qnn/__init__.py")):
        folder = tmp_path / f"{name}-1.99.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.99.0\n")
        (folder / "RECORD").write_text(f"{file},,\n")
    doctor.report()  # imports what it needs
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    report = doctor.report()
    assert "ONNX Runtime: onnxruntime 1.99.0\n" in report and "PROBLEM" not in report


@pytest.mark.parametrize(("error", "says"), [(1e-7, "fp32 exact"), (2.44e-4, "reduced precision (2.4e-04)")])
def test_a_provider_is_measured(error, says, monkeypatch):
    monkeypatch.setattr(doctor, "measured_error", lambda request: error)
    assert any(line.startswith("provider cpu") and line.endswith(says) for line in doctor.report().splitlines())


def test_a_plugin_is_reported_with_its_version_and_its_devices(monkeypatch):
    system = SimpleNamespace(type=SimpleNamespace(name="NPU"), metadata={})
    device = SimpleNamespace(ep_metadata={"FULL_DEVICE_NAME": "Abacus 9"}, device=system)
    there = []
    monkeypatch.setattr(doctor, "installed_providers", lambda: ["mlx"])
    monkeypatch.setattr(doctor, "installed_plugin", lambda provider: provider.plugins[0])
    monkeypatch.setattr(doctor, "version", lambda distribution: "1.2")
    monkeypatch.setattr(doctor, "devices", lambda plugin: there)
    monkeypatch.setattr(doctor, "measured_error", lambda request: 0)
    line = "provider mlx (onnxruntime-ep-mlx 1.2): installed, no device (it lists none on this machine)"
    assert line in doctor.report().splitlines()
    there.append(device)
    assert "provider mlx:0 (onnxruntime-ep-mlx 1.2, npu: Abacus 9): fp32 exact" in doctor.report().splitlines()


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
