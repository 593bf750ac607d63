"""What the scripts of this folder share: the cache folder, their virtual environment, running commands.

Standard library only, Python 3.11 and later: this module is imported before there is a virtual environment.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgel3-onnx-tools"
REQUIREMENTS = ROOT / "tools" / "requirements.txt"
PIP = [sys.executable, "-m", "pip"]


def fail(message: str) -> NoReturn:
    """End the script with one line that says what is wrong."""
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def say(message: str) -> None:
    print(f"== {message}", flush=True)


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> None:
    """Run `command` with `env` added to the environment; fail with its last lines if it fails.

    With `log` the output goes to that file and is shown only after a failure.
    """
    arguments = [os.fspath(part) for part in command]
    environment = {**os.environ, **(env or {})}
    if log is None:
        code = subprocess.run(arguments, cwd=cwd, env=environment).returncode
    else:
        with log.open("wb") as sink:
            code = subprocess.run(arguments, cwd=cwd, env=environment, stdout=sink, stderr=subprocess.STDOUT).returncode
        if code:
            print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
    if code:
        fail(f"exit code {code} from: {' '.join(arguments)}")


def output(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> str:
    """As `run`, but return what the command prints, without the white space around it."""
    result = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        fail(f"exit code {result.returncode} from: {' '.join(map(os.fspath, command))}")
    return result.stdout.strip()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock `name`, so that two runs at once do not fill one folder."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def rebuilt(folder: Path, key: str) -> Iterator[bool]:
    """Yield whether `folder` must be filled anew because it was not completed with this `key`.

    A folder that must be is emptied first. The stamp is written last: one that was left half filled does not count.
    """
    stamp = folder / ".complete"
    digest = hashlib.sha256(key.encode()).hexdigest()
    with locked(folder.name):
        stale = not stamp.is_file() or stamp.read_text() != digest
        if stale:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        yield stale
        if stale:
            stamp.write_text(digest)


def make_venv(folder: Path) -> Path:
    """Make a virtual environment of the running Python in `folder`; return its interpreter."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        fail(f"this Python cannot make a virtual environment (on Debian: apt-get install python3-venv): {error.stdout}")
    return folder / "bin" / "python"


def reenter_in_venv() -> None:
    """Start the running script again in the tools' own virtual environment, unless it runs there already.

    The environment is made on first use, and anew when the requirements or the Python that it was made with change.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - the script may be started by any Python
        fail(f"needs Python 3.11 or later, this is {sys.version.split()[0]}")
    folder = CACHE / f"host-{sysconfig.get_python_version()}"
    if Path(sys.prefix) == folder:
        return
    with rebuilt(folder, f"{sys.version} {sys.base_prefix} {REQUIREMENTS.read_text()}") as stale:
        if stale:
            say(f"installing the compiler and the auditors into {folder}")
            run([make_venv(folder), "-m", "pip", "install", "-q", "-r", REQUIREMENTS], log=CACHE / "host-install.log")
    python = folder / "bin" / "python"
    os.execv(python, [os.fspath(python), *sys.argv])
