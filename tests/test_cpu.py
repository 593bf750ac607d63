"""How many CPUs may be used: affinity, and the quotas of containers."""

import os

import pytest

from edgel3_onnx import EdgeL3Error, cpu


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Makes the control groups of a machine with 8 CPUs; returns the folder that they lie in."""
    monkeypatch.setattr(os, "sched_getaffinity", {0: set(range(8))}.__getitem__, raising=False)  # 0: this process
    monkeypatch.setattr(cpu, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cpu, "_OWN_CGROUPS", tmp_path / "own")

    def make(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return make


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a\n", {"a/cpu.max": "max 100000\n"}, 8),
        ("0::/a\n", {"a/cpu.max": "1600000 100000\n"}, 8),
        ("0::/../x\n", {}, 8),
        (
            "4:cpu,cpuacct:/docker/1\n2:memory:/x\n0::/\n",
            {"cpu/docker/1/cpu.cfs_quota_us": "300000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("0::/a\n", {"a/cpu.max": "nonsense\n"}, 8),
        ("0::/a\n", {"a/cpu.max": "0 100000\n"}, 8),
        ("0::/a\n", {"a/cpu.max": "1 100000\n"}, 1),
        ("0::/a\n", {"a/cpu.max": "100001 100000\n"}, 2),
        ("0::/a:b\n", {"a:b/cpu.max": "200000 100000\n"}, 2),
        ("5:memory:/a\n4:cpuset:/a\n0::/a\n", {"a/cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_a_quota_of_cpu_time_counts_as_so_many_cpus(groups, own, files, expected):
    groups(own, files)
    assert cpu.available_cpus() == expected


def test_the_best_level_else_the_one_that_is_named(monkeypatch):
    monkeypatch.delenv("EDGEL3_ONNX_SIMD", raising=False)
    assert cpu.simd_level(["baseline", "avx2", "avx512"]) == "avx512"
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", "")
    assert cpu.simd_level(["baseline"]) == "baseline"
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", "baseline")
    assert cpu.simd_level(["baseline", "avx2"]) == "baseline"
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", "neon")
    message = r"^EDGEL3_ONNX_SIMD='neon' is not available here; choose one of: baseline, avx2$"
    with pytest.raises(EdgeL3Error, match=message):
        cpu.simd_level(["baseline", "avx2"])


def test_without_control_groups_the_affinity_counts(groups):
    assert cpu.available_cpus() == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags : fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu amx_int8\n", True),
        ("flags : avx2\n", False),
        ("", False),
        (None, False),
    ],
)
def test_whether_int8_is_fast(text, expected, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu, "_PROCESSORS", tmp_path / "cpuinfo")
    assert cpu.has_int8_products() is expected
