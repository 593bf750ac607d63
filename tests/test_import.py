"""What `import edgel3_onnx` says in a checkout whose extensions were not built."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

import edgel3_onnx
import golden

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


def test_a_recording_imports_no_more_than_it_takes(tmp_path):
    """What is slow to import is imported by those who use it: a run over short clips would notice."""
    soundfile.write(tmp_path / "clip.wav", golden.audio(8000, 1, 1), 8000)
    foreign = {"multiprocessing.connection", "pandas", "pyarrow", "scipy", "ssl", "tarfile", "tqdm", "zoneinfo"}
    ours = {f"edgel3_onnx.{name}" for name in ("command.live", "corpora.pool", "corpora.running", "corpora.worker")}
    code = (
        "import sys; from edgel3_onnx import cli; "
        f"assert cli.main(['-q', {str(tmp_path / 'clip.wav')!r}, '--model-type', 'micro']) == 0; "
        f"print(sorted({foreign | ours} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr
    assert (tmp_path / "clip.npz").exists()
