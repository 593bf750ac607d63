"""Every allocation of the C code fails once: each time a MemoryError, never a crash, and the next call works."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys

import pytest

# Stands before the C library: an allocation by one of the extension modules is refused when its turn has come.
INTERPOSER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_memalign(size_t, size_t);
static long turns;

void refuse_allocation(long number) { turns = number; }
long turns_left(void) { return turns; }

static int refused(void *caller)
{
    Dl_info info;
    if (turns == 0 || !dladdr(caller, &info) || !strstr(info.dli_fname, "/edgel3_onnx/_")) return 0;
    return --turns == 0;
}
void *malloc(size_t n) { return refused(__builtin_return_address(0)) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return refused(__builtin_return_address(0)) ? NULL : __libc_calloc(n, m); }
void *aligned_alloc(size_t a, size_t n)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_memalign(a, n);
}
int posix_memalign(void **to, size_t a, size_t n)
{
    if (refused(__builtin_return_address(0))) return ENOMEM;
    *to = __libc_memalign(a, n);
    return *to ? 0 : ENOMEM;
}
"""

# What is computed is new each time (`number`), so that nothing comes from a cache.
OPERATIONS = {
    "log_mel": """
spec = dataclasses.replace(FRONTENDS["sea"], top_db=60.0 + number)
frontend.log_mel(audio, spec, hop_length=800)
""",
    "kaiser_best": """
frontend.resample(audio, 8000 + number, 8000)
""",
    "native engine, by taps": """
NativeEngine(network, 1, "taps").run(np.zeros((1, 1, 256, 199), np.float32))
""",
    "native engine, by Winograd's method": """
NativeEngine(network, 1, "winograd").run(np.zeros((1, 1, 64, 50), np.float32))
""",
}

SCRIPT = """
import ctypes, dataclasses, itertools, sys
import numpy as np
from edgel3_onnx import frontend
from edgel3_onnx.engines.graph import read_network
from edgel3_onnx.engines.native import NativeEngine
from edgel3_onnx.spec import FRONTENDS

interposer = ctypes.CDLL(sys.argv[1])
network = read_network(sys.argv[2])
audio = np.sin(np.arange(16000, dtype=np.float32))

def operation(number):
{operation}
operation(0)
for number in itertools.count(1):
    interposer.refuse_allocation(number)
    try:
        operation(number)
    except MemoryError:
        outcome = "MemoryError"
    else:
        outcome = "result"
    left = interposer.turns_left()
    interposer.refuse_allocation(0)
    if left:  # there were fewer allocations than that
        break
    assert outcome == "MemoryError", f"allocation {{number}} failed unnoticed"
    operation(-number)
print(number - 1)
"""


@pytest.fixture(scope="module")
def interposer(tmp_path_factory):
    compiler = shutil.which("cc")
    if platform.libc_ver()[0] != "glibc" or compiler is None:
        pytest.skip("needs glibc and a C compiler")
    folder = tmp_path_factory.mktemp("interposer")
    (folder / "interposer.c").write_text(INTERPOSER)
    library = folder / "interposer.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, folder / "interposer.c", "-ldl"], check=True)
    try:
        ctypes.CDLL(str(library))
    except OSError:
        pytest.skip(f"{compiler} compiles for another processor")
    return library


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_refused_allocation_is_a_memory_error(name, interposer, seeded_graph):
    operation = "".join(f"    {line}\n" for line in OPERATIONS[name].strip().splitlines())
    script = SCRIPT.format(operation=operation)
    environment = {**os.environ, "LD_PRELOAD": str(interposer)}
    command = [
        sys.executable,
        "-P",
        "-c",
        script,
        str(interposer),
        str(seeded_graph("sparse" if "taps" in name else "sea-64")),
    ]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 3  # allocations that were refused, one after another
