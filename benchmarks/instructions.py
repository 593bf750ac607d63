"""Instructions per window of the native engine and of ONNX Runtime, on one thread.

An indication where times cannot be measured: with --wheel (the aarch64 wheel that tools/build_wheels left) on a
Cortex-A72 emulated by QEMU; without, by Valgrind, on this processor without AVX-512. One window is a tenth of the
difference between runs of eleven windows and of one. Valgrind takes some fifteen minutes, QEMU six.
Needs an x86-64 machine and valgrind; for --wheel also cc and apt configured for Debian.
"""

import argparse
import os
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
sys.path.insert(0, str(Path(__file__).parent))
import emulation
import engines
import toolbox

from edgel3_onnx.engines.graph import read_network

PYTHON = "3.11"  # the emulated one
MORE = 10  # windows: the start of a process varies by a million
EMBED = """
import pickle, sys
import numpy as np
engine, graph, windows = sys.argv[1], sys.argv[2], int(sys.argv[3])
network = pickle.load(open(graph + ".pickle", "rb"))
image = np.random.default_rng(0).uniform(-80, 0, (1, 1, network.rows, network.cols)).astype(np.float32)
if engine == "native":
    from edgel3_onnx.engines.native import NativeEngine
    embed = NativeEngine(network, 1).run
else:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    embed = lambda image: session.run(None, {session.get_inputs()[0].name: image})
for _ in range(windows):
    embed(image)
"""
# QEMU's interface for plugins, version 1; its header is in no package.
PLUGIN = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
typedef uint64_t plugin_id;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, void *block));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const void *block);
void qemu_plugin_register_vcpu_tb_exec_inline(void *block, int add, void *to, uint64_t number);
int qemu_plugin_version = 1;
static uint64_t count;
static void translated(plugin_id id, void *block) {
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &count, qemu_plugin_tb_n_insns(block));
}
static void at_exit(plugin_id id, void *unused) { fprintf(stderr, "I refs: %llu\\n", (unsigned long long)count); }
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, at_exit, NULL);
  return 0;
}
"""


def counting_qemu() -> Path:
    """The folder of a QEMU that takes plugins, and of the plugin; fetched and compiled on first use."""
    folder = toolbox.CACHE / "qemu-plugins"
    with toolbox.rebuilt(folder, Path(__file__).read_text()) as stale:
        if stale:
            log = toolbox.CACHE / "qemu-plugins.log"
            env = emulation.private_apt(folder / "apt", emulation.SUITES[PYTHON], "amd64")
            toolbox.run(["apt-get", "update"], env=env, log=log)
            packages = ["qemu-user", "libcapstone4", "liburing2"]
            toolbox.run(["apt-get", "download", *packages], cwd=folder, env=env, log=log)
            for package in folder.glob("*.deb"):
                toolbox.run(["dpkg-deb", "--extract", package, folder], log=log)
            (folder / "count.c").write_text(PLUGIN)
            toolbox.run(["cc", "-shared", "-fPIC", "-O2", "-o", folder / "count.so", folder / "count.c"], log=log)
    return folder


def emulated(wheel: Path, work: Path) -> tuple[list[str], dict[str, str]]:
    """The command that runs the emulated Python, counting, and its environment: `wheel` and what it depends on."""
    interpreter = emulation.environment(PYTHON, wheel, [])
    root, folder = emulation.root_folder(PYTHON), counting_qemu()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "wheel")
    qemu = [folder / "usr/bin/qemu-aarch64", "-plugin", folder / "count.so", "-L", root, "-0", interpreter]
    environment = {
        "LD_LIBRARY_PATH": str(folder / "usr/lib/x86_64-linux-gnu"),
        "QEMU_CPU": emulation.CPUS["cortex-a72"],
        "PYTHONPATH": str(work / "wheel"),
    }
    return [*map(str, qemu), f"{root}/usr/bin/python{PYTHON}"], environment


def count(command: list[str], environment: dict[str, str], engine: str, graph: Path) -> int:
    """Instructions that one window takes."""
    totals = []
    for windows in (1, 1 + MORE):
        arguments = [*command, "-P", "-c", EMBED, engine, str(graph), str(windows)]
        result = subprocess.run(arguments, env={**os.environ, **environment}, capture_output=True, text=True)
        found = re.search(r"I +refs: +([\d,]+)", result.stderr)
        if result.returncode or not found:
            toolbox.fail(f"no instructions counted: {result.stderr[-500:]}")
        totals.append(int(found[1].replace(",", "")))
    return (totals[1] - totals[0]) // MORE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="for aarch64")
    parser.add_argument("--networks", nargs="+", choices=engines.NAMES, default=["sea-64", "micro", engines.NAMES[3]])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.wheel:
            command, environment = emulated(options.wheel.absolute(), Path(folder))
            levels = ["neon"]
        else:
            tool = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
            command, environment = ["valgrind", *tool, sys.executable], {}
            levels = ["avx2", "baseline"]
        for name in options.networks:
            graph = engines.build(Path(folder), name)
            Path(f"{graph}.pickle").write_bytes(pickle.dumps(read_network(graph)))  # the emulated Python has no onnx
            peer = count(command, environment, "onnxruntime", graph)
            print(f"{name}, ONNX Runtime: {1e-6 * peer:.1f} million instructions per window", flush=True)
            for level in levels:
                number = count(command, {**environment, "EDGEL3_ONNX_SIMD": level}, "native", graph)
                print(f"{name}, {level}: {1e-6 * number:.1f} million, {peer / number:.1f} times fewer", flush=True)


if __name__ == "__main__":
    main()
