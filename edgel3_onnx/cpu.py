"""The processor: how many CPUs this process may use, and which instruction set the C loops use."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from edgel3_onnx.exceptions import EdgeL3Error

SIMD_VARIABLE = "EDGEL3_ONNX_SIMD"

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_PROCESSORS = Path("/proc/cpuinfo")


def simd_level(levels: Sequence[str]) -> str:
    """The SIMD level to use of ``levels``, which this machine has, worst first: the last, or EDGEL3_ONNX_SIMD.

    Raises
    ------
    EdgeL3Error
        If EDGEL3_ONNX_SIMD names a level that is unknown or that this machine does not have.
    """
    level = os.environ.get(SIMD_VARIABLE) or levels[-1]
    if level not in levels:
        raise EdgeL3Error(f"{SIMD_VARIABLE}={level!r} is not available here; choose one of: {', '.join(levels)}")
    return level


def available_cpus() -> int:
    """How many CPUs this process may use: those of its affinity, fewer where a container has a quota of CPU time."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min([cpus, *(math.ceil(quota) for quota in _quotas())]), 1)


def _quotas() -> Iterator[float]:
    """CPUs' worth of time that each control group above this process allows. Source: cgroups(7), cgroup-v2 of Linux."""
    try:
        lines = _OWN_CGROUPS.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount = _CGROUPS
        elif "cpu" in controllers.split(","):
            mount = _CGROUPS / "cpu"
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for folder in [path, *path.parents]:
            quota = _quota(mount / folder)
            if quota is not None:
                yield quota


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():  # version 2
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text("ascii")
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # no such group or controller; "max"
        return None


def has_int8_products() -> bool:
    """Whether the processor says that it multiplies int8 fast: VNNI or AMX. False where it cannot be asked."""
    try:
        lines = _PROCESSORS.read_text("utf-8").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(flags)
