"""Runs of the command in which one system call fails: each is tried at every call that a small run makes.

    LD_PRELOAD=faults.so FAULTS_STATE=STATE python faults.py FOLDER SCENARIO FAULT [STEP]

prints a JSON object: how many calls failed, one after another, and what was not as it must be. A STEP of n tries every
n-th call only. Modules are imported once: each run is a fork of this process.
"""

import errno
import io
import itertools
import json
import mmap
import os
import shutil
import signal
import struct
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

STATE = struct.Struct("qqqq256s256s512s")  # struct state of faults.c
READING = "open read fstat stat close opendir flock"
WRITING = "open write close mkdir rename unlink fsync ftruncate"
RECORDINGS = ("a.wav", "b.flac", "c.ogg", "d.mp3")
PATIENCE = 60  # seconds that a run may take


@dataclass(frozen=True)
class Fault:
    error: int  # 0: half of what was to be read or written is
    calls: str  # that are made to fail
    persistent: bool = False  # whether all that follow fail too


FAULTS = {
    "EIO": Fault(errno.EIO, f"{READING} {WRITING}"),
    "EACCES": Fault(errno.EACCES, "open mkdir rename unlink stat opendir"),
    "EMFILE": Fault(errno.EMFILE, "open opendir"),
    "ENOSPC": Fault(errno.ENOSPC, "write mkdir rename fsync ftruncate", persistent=True),
    "short": Fault(0, "read write"),
}

# What is typed, and whether outputs of an earlier run are there: one that is kept, and one that is replaced.
SCENARIOS = {
    "npz": ["--skip-existing"],
    "npz-together": ["--skip-existing"],  # all get their names at the end
    "npy": ["--format", "npy", "--overwrite"],
    "parquet": ["--format", "parquet", "--skip-existing"],
    "parquet-anew": ["--format", "parquet", "--overwrite"],
    "npz-jobs": ["--skip-existing", "--jobs", "2", "--threads", "1"],
    "parquet-jobs": ["--format", "parquet", "--skip-existing", "--jobs", "2", "--threads", "1"],
}


class Attempts:
    """Runs of one scenario in ``folder``: recordings in ``in``, outputs in ``out``, a report."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self.folder = folder
        self.options = SCENARIOS[scenario]
        if scenario == "npz-together":
            from edgel3_onnx.outputs import group

            group._SHARE = -1.0
        self.format = self.options[self.options.index("--format") + 1] if "--format" in self.options else "npz"
        self.map = mmap.mmap(os.open(os.environ["FAULTS_STATE"], os.O_RDWR), STATE.size)
        self.out, self.report = folder / "out", folder / "report" / "run.jsonl"
        self.pristine = folder.parent / "pristine"
        self.inputs = make_recordings(
            folder / "in", RECORDINGS if scenario in ("npz", "npz-together") else RECORDINGS[:2]
        )
        self.out.mkdir()
        self.report.parent.mkdir()
        first = ["--format", self.format, *(["-t", "0.3"] if scenario == "parquet-anew" else [])]
        assert self.run([str(self.inputs[0]), "-o", str(self.out), *first])[0] == 0
        if self.format != "parquet":
            assert self.run([str(self.inputs[1]), "-o", str(self.out), *first, "-t", "0.3"])[0] == 0
        shutil.copytree(self.out, self.pristine)
        self.before = {path.name: path.read_bytes() for path in self.outputs()}
        status, errors = self.run()
        assert status == 0 and "error" not in errors, errors
        self.expected = self.read_outputs()

    def outputs(self) -> list[Path]:
        """Files that a run wrote, without a dataset's plans and records of failures."""
        return sorted(path for path in self.out.iterdir() if path.is_file()) if self.out.exists() else []

    def arm(self, fault: Fault | None, number: int) -> None:
        error, calls, persistent = (fault.error, fault.calls, fault.persistent) if fault else (0, "", False)
        folder = f"{self.folder}/".encode()
        self.map[:] = STATE.pack(number, 0, error, persistent, f" {calls} ".encode(), folder, b"")

    def disarm(self) -> str:
        """The first call that failed, if one did."""
        hit = STATE.unpack(self.map[:])[-1]
        self.arm(None, 0)
        return hit.rstrip(b"\0").decode()

    def run(self, arguments: list[str] | None = None) -> tuple[int, str]:
        """The status of the command, negative for a signal, and its standard error."""
        if arguments is None:
            arguments = [str(self.folder / "in"), "-o", str(self.out), "--report", str(self.report), *self.options]
        said = self.folder.parent / "stderr"
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), write_through=True)
            status = 99
            try:
                from edgel3_onnx.cli import main

                status = main([*arguments, "--model-type", "micro"])
            except SystemExit as stop:
                status = int(stop.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(waited), said.read_text(errors="replace")

    def restore(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.pristine, self.out)
        self.report.unlink(missing_ok=True)

    def read_outputs(self) -> dict[str, tuple[object, ...]]:
        """What each recording has in ``out``: its record, and its rows."""
        import numpy as np

        from edgel3_onnx.outputs.inspect import read_metadata

        found: dict[str, tuple[object, ...]] = {}
        for path in self.outputs():
            metadata = read_metadata(path)
            if self.format == "parquet":
                from pyarrow import parquet

                table = parquet.read_table(path)
                for source in metadata["sources"]:
                    assert source["path"] not in found, f"{source['path']} is in the dataset twice"
                    rows = table.filter(np.array(table["path"].to_pylist()) == source["path"])
                    found[source["path"]] = source, np.array(rows["embedding"].to_pylist(), np.float32)
            else:
                array = np.load(path)
                found[path.name] = metadata, array["embedding"] if self.format == "npz" else array
        return found

    def difference(self, found: tuple[object, ...], expected: tuple[object, ...]) -> str | None:
        import numpy as np

        # Where libsndfile could not read, FFmpeg may have: its samples may differ by a rounding.
        varying = {"embedding_crc32", "decoder"}
        for name in expected[0].keys() - varying:
            if found[0].get(name) != expected[0][name]:
                return f"{name} is {found[0].get(name)}, not {expected[0][name]}"
        # Windows may share batches with other files' in one run and not in the other.
        if found[1].shape != expected[1].shape or not np.allclose(found[1], expected[1], 0, 1e-3):
            return "the embedding is another"
        return None

    def check(self, status: int, errors: str, hit: str) -> str | None:
        """What is wrong after a run with a fault, and then without one; None if nothing is."""
        lines = errors.splitlines()
        problems = [line for line in lines if ": error: " in line]
        if "Traceback" in errors or "Exception ignored" in errors or status not in (0, 1):
            return "a surprise for the user"
        if any(not line.startswith("edgel3-onnx: ") for line in lines) or len(problems) > len(self.inputs) + 1:
            return "not one line for each problem"
        if (status == 1) != bool(problems):
            return "an error without a line, or a line without an error"
        left = [path for path in self.out.rglob("*") if path.suffix == ".part"]
        if left and not hit.startswith(("unlink", "close")):
            return f"left behind: {left}"
        for path in left:
            path.unlink()
        if "whose rows are replaced" in errors:
            pass  # a part is there that should have gone: said, and mended by the next run
        elif (reason := self.check_outputs(complete=status == 0)) is not None:
            return reason
        if (reason := self.check_report(problems)) is not None:
            return reason
        if status == 0:
            return None
        again, errors = self.run()
        if again != 0:
            return f"cannot be resumed: {errors}"
        return self.check_outputs(complete=True) or self.check_report([])

    def check_outputs(self, *, complete: bool) -> str | None:
        current = {path.name: path.read_bytes() for path in self.outputs()}
        if not complete and current == self.before:
            return None
        try:
            found = self.read_outputs()
        except Exception as error:
            return f"outputs cannot be read: {error}"
        for name, output in found.items():
            as_before = name in self.before and current[name] == self.before[name]
            if not as_before and (difference := self.difference(output, self.expected[name])):
                return f"{name}: {difference}"
        if complete and (missing := self.expected.keys() - found.keys()):
            return f"missing: {sorted(missing)}"
        replaced = self.format == "parquet" and "--overwrite" in self.options and found
        if not complete and not replaced and (lost := self.before.keys() - current.keys()):
            return f"lost: {sorted(lost)}"
        return None

    def check_report(self, problems: list[str]) -> str | None:
        """Whether the report tells what is in the place of the outputs."""
        try:
            records = [json.loads(line) for line in self.report.read_text().splitlines()]
        except (OSError, ValueError) as error:
            return None if problems else f"the report cannot be read: {error}"
        if not problems and len(records) != len(self.inputs):
            return f"the report has {len(records)} records"
        for record in records:
            if record["status"] == "failed" and not problems:
                return "a failure that was not said"
            if record["status"] == "done" and self.format != "parquet" and not Path(record["output"]).exists():
                return f"{record['output']} is not there, and the report says that it is"
        return None


def make_recordings(folder: Path, names: tuple[str, ...]) -> list[Path]:
    import numpy as np
    import soundfile

    folder.mkdir(parents=True)
    for k, name in enumerate(names):
        soundfile.write(folder / name, np.random.default_rng(k).normal(0, 0.1, 9000 + 2000 * k), 8000)
    return [folder / name for name in names]


def main() -> None:
    folder, scenario, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    step = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    import onnxruntime  # noqa: F401 - imported here, it need not be in each fork
    import pyarrow.parquet  # noqa: F401
    import soxr  # noqa: F401
    import tqdm  # noqa: F401

    from edgel3_onnx import cli  # noqa: F401

    attempts = Attempts(folder / "work", scenario)
    fault = FAULTS[name]
    tried, violations = 0, []
    for number in itertools.count(1, step):
        attempts.restore()
        attempts.arm(fault, number)
        status, errors = attempts.run()
        hit = attempts.disarm()
        if not hit:  # there were fewer calls
            break
        tried += 1
        if (reason := attempts.check(status, errors, hit)) is not None:
            violations.append(f"{name} at call {number}, {hit}: {reason}\nstatus {status}\n{errors}")
    print(json.dumps({"tried": tried, "violations": violations}))


if __name__ == "__main__":
    main()
