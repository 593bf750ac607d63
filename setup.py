"""The compiled extensions; everything else about the distribution stands in setup.cfg."""

import glob
import os
import shutil
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

LIMITED_API = [("Py_LIMITED_API", "0x030B0000")]  # one abi3 wheel serves CPython 3.11 and later
# Contraction a*b+c -> fma is left to the kernels that ask for it: every compiler gives the same numbers.
COMPILE_ARGS = ["/O2"] if sys.platform == "win32" else ["-O3", "-ffp-contract=off", "-fvisibility=hidden"]


def extension(name: str, folder: str) -> Extension:
    return Extension(
        f"edgel3_onnx.{name}",
        sources=[f"{folder}/{name}.pyx", *sorted(glob.glob(f"{folder}/src/*.c"))],
        depends=[*glob.glob(f"{folder}/src/*.h"), *glob.glob("ext_common/*.h")],
        include_dirs=[f"{folder}/src", "ext_common"],
        define_macros=LIMITED_API,
        extra_compile_args=COMPILE_ARGS,
        py_limited_api=True,
    )


class BuildPy(build_py):
    """Fills an empty folder: setuptools would leave modules there that were deleted or renamed since the last build."""

    def run(self) -> None:
        shutil.rmtree(os.path.join(self.build_lib, "edgel3_onnx"), ignore_errors=True)
        super().run()


EXTENSIONS = [("_frontend", "frontend_ext"), ("_engine", "engine_ext")]

setup(
    cmdclass={"build_py": BuildPy},
    ext_modules=cythonize(
        [extension(name, folder) for name, folder in EXTENSIONS if glob.glob(f"{folder}/*.pyx")],
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False},
    ),
)
