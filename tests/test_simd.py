"""Which vector instructions are used: ext_common/cpu.h, compiled with a processor and an operating system made up."""

import ctypes
import itertools
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Stands for cpu_registers.h, whose guard it sets.
MOCK = """
#define EDGEL3_CPU_REGISTERS_H
static unsigned leaves[8][4], xcr0;
static int faults; /* reads of XCR0 that a processor without OSXSAVE would not survive */
static void cpu_leaf(unsigned leaf, unsigned registers[4])
{
    for (int i = 0; i < 4; i++)
        registers[i] = leaves[leaf][i];
}
static unsigned cpu_xcr0(void)
{
    faults += !(leaves[1][2] >> 27 & 1);
    return xcr0;
}
#include "cpu.h"
int levels(unsigned one_ecx, unsigned seven_ebx, unsigned saved)
{
    leaves[1][2] = one_ecx;
    leaves[7][1] = seven_ebx;
    xcr0 = saved;
    faults = 0;
    int found = cpu_has_avx2() + 2 * cpu_has_avx512();
    return faults ? -1 : found;
}
"""
FMA, OSXSAVE = 1 << 12, 1 << 27  # of leaf 1, ECX
AVX2, AVX512F, AVX512DQ, AVX512VL = 1 << 5, 1 << 16, 1 << 17, 1 << 31  # of leaf 7, EBX
SSE, AVX, OPMASK, ZMM_LOW, ZMM_HIGH = 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7  # of XCR0


@pytest.fixture(scope="module")
def levels(tmp_path_factory):
    compiler = shutil.which("cc")
    if os.name == "nt" or platform.machine() not in ("x86_64", "AMD64") or compiler is None:
        pytest.skip("needs a C compiler for x86-64")
    folder = tmp_path_factory.mktemp("cpu")
    (folder / "mock.c").write_text(MOCK)
    command = [compiler, "-shared", "-fPIC", "-I", ROOT / "ext_common", "-o", folder / "mock.so", folder / "mock.c"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "mock.so")).levels


def flags(*names: int):
    """Every set of the flags, as their sum and whether all are in it."""
    for chosen in itertools.product([0, 1], repeat=len(names)):
        yield sum(flag for flag, there in zip(names, chosen, strict=True) if there), chosen


def test_a_level_needs_the_processor_and_the_operating_system(levels):
    for one, (fma, osxsave) in flags(FMA, OSXSAVE):
        for seven, (avx2, f, dq, vl) in flags(AVX2, AVX512F, AVX512DQ, AVX512VL):
            for saved, (sse, avx, *zmm) in flags(SSE, AVX, OPMASK, ZMM_LOW, ZMM_HIGH):
                has_avx2 = all([fma, osxsave, avx2, sse, avx])
                has_avx512 = all([has_avx2, f, dq, vl, *zmm])
                assert levels(one, seven, saved) == has_avx2 + 2 * has_avx512


def test_the_levels_of_this_machine_are_those_that_its_kernel_names(levels):
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("needs Linux")
    from edgel3_onnx import _engine, _frontend

    words = set(Path("/proc/cpuinfo").read_text().split())
    expected = ["baseline"]
    if {"avx2", "fma"} <= words:
        expected.append("avx2")
        if {"avx512f", "avx512dq", "avx512vl"} <= words:
            expected.append("avx512")
    assert _frontend.simd_levels() == expected
    assert _engine.levels() == expected
