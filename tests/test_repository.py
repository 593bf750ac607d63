"""What the checkout promises beside the package: its README, its example, what is packed and what needs POSIX."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import posix_only
from edgel3_onnx import get_embedding

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

POSIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}


def test_the_example_is_what_its_script_makes():
    from make_street import SAMPLE_RATE, street

    assert (ROOT / "examples" / "street.flac").stat().st_size < 100_000
    samples, rate = soundfile.read(ROOT / "examples" / "street.flac", dtype="int16")
    made = street()
    assert rate == SAMPLE_RATE and samples.shape == made.shape
    # Sines and Fourier transforms of other libraries differ in the last bit, which may round to the next sample.
    assert np.abs(samples.astype(int) - made).max() <= 1 and np.mean(samples == made) > 0.999


def test_the_rows_that_the_readme_shows():
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.search(r"^which ends with\n\n```\n(.*?)```", readme, re.MULTILINE | re.DOTALL)[1]
    rows = np.array([line.split() for line in re.sub(r"[\[\]]", "", shown).splitlines()], float)
    samples, rate = soundfile.read(ROOT / "examples" / "street.flac", dtype="float32")
    embedding, _ = get_embedding(samples, rate, model_type="micro", verbose=0)
    assert rows.shape == (3, 6)
    np.testing.assert_allclose(embedding[:3, :6], rows, rtol=0, atol=0.051)  # they are rounded to one digit


@posix_only
def test_single_steps_of_what_must_pass():
    script = ROOT / ".ci" / "run"
    usage = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    steps = usage.split()[3:]
    assert {"readme", "lint", "types"} <= set(steps)
    assert all(f"\n{step.replace('-', '_')}() {{" in script.read_text("utf-8") for step in steps)
    wrong = subprocess.run([script, "lint", "polish"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "no step polish; there are lint" in wrong.stderr


def test_no_import_of_what_only_posix_has():
    """At the top of a file it would keep the package, or all tests of the file, from Windows."""
    files = [path for folder in ("edgel3_onnx", "export", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    for path in files:
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not POSIX_MODULES & set(names), f"{path}: line {node.lineno}"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The sdist and a wheel, packed in a copy of the checkout in which an earlier version was built before."""
    work = tmp_path_factory.mktemp("packed")
    ignored = shutil.ignore_patterns(
        ".*", "build", "dist", "wheelhouse", "node_modules", "*.egg-info", "*.so", "__pycache__"
    )
    shutil.copytree(ROOT, work / "source", ignore=ignored)
    shutil.copytree(ROOT / ".ci", work / "source" / ".ci")
    build = [sys.executable, "-m", "build", "--outdir", work]
    subprocess.run([*build, "--sdist", work / "source"], check=True, capture_output=True)
    stale = work / "source" / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / "edgel3_onnx"
    stale.mkdir(parents=True)
    (stale / "removed_since.py").touch()
    subprocess.run([*build, "--wheel", work / "source"], check=True, capture_output=True)
    (sdist,), (wheel,) = work.glob("*.tar.gz"), work.glob("*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    return in_sdist, set(zipfile.ZipFile(wheel).namelist())


@posix_only
@pytest.mark.slow
def test_a_module_that_was_deleted_is_not_in_the_wheel(packed):
    _, in_wheel = packed
    assert "edgel3_onnx/core.py" in in_wheel and "edgel3_onnx/export/__main__.py" in in_wheel
    assert "edgel3_onnx/removed_since.py" not in in_wheel


@posix_only
@pytest.mark.slow
def test_the_sdist_can_run_its_own_tests(packed):
    in_sdist, _ = packed
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("needs a git checkout to compare with")
    missing = {name for name in tracked.stdout.splitlines() if not name.startswith((".github/", ".gitignore"))}
    assert missing - in_sdist == set()
