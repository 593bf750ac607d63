"""What `import edgel3_onnx` says in a checkout whose extensions were not built."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgel3_onnx

PACKAGE = Path(edgel3_onnx.__file__).parent
EXTENSIONS = sorted(path.stem for path in PACKAGE.glob("_*.pyi"))


def test_there_are_stubs_of_the_extensions():
    assert "_frontend" in EXTENSIONS and len(EXTENSIONS) == 2


@pytest.mark.parametrize("missing", EXTENSIONS)
@pytest.mark.parametrize("module", ["edgel3_onnx", "edgel3_onnx.frontend", "edgel3_onnx.cli"])
def test_a_missing_extension_says_what_to_do(missing, module, tmp_path):
    copy = tmp_path / "edgel3_onnx"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", f"{missing}.*so", f"{missing}.*pyd"))
    # Without site-packages, where an editable install would lend its extension to the copy.
    command = [sys.executable, "-S", "-c", f"import {module}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        f"ImportError: the compiled extension edgel3_onnx.{missing} is missing in {copy}: build it with "
        f"`pip install -e .` in {tmp_path}, or leave that directory so that the installed package is found"
    )
