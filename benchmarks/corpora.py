"""What a corpus costs: its plan and its resume for ten million files, the local engine, Ray's, the memory of a worker.

python benchmarks/corpora.py plan [FILES]            a list, a plan of FILES names, a resume of it: seconds, peak memory
python benchmarks/corpora.py jobs PYTHON [short|long] parquet by --jobs 2 here and by another release's, interleaved
python benchmarks/corpora.py ray                     CPU seconds of Ray's engine against --jobs 2, on an idle machine
python benchmarks/corpora.py memory [HOURS]          peak memory of a worker: one minute against HOURS
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

MODEL = ["--model-type", "micro"]
RATE = 8000


def noise(path: Path, seconds: float, seed: int = 0) -> None:
    """A recording in blocks, so that its length does not matter here."""
    random = np.random.default_rng(seed)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as sound:
        left = int(seconds * RATE)
        while left:
            count = min(left, 60 * RATE)
            sound.write(random.integers(-3000, 3000, count, np.int16))
            left -= count


def plan(files: int) -> None:
    """Names, sizes and times are made up: what is measured is neither a disk nor a network."""
    from edgel3_onnx.corpora.cutting import Cutter
    from edgel3_onnx.corpora.inputs import Input, LeftOut, find, listed
    from edgel3_onnx.corpora.parts import part_name
    from edgel3_onnx.corpora.place import Folder
    from edgel3_onnx.corpora.plan import plans
    from edgel3_onnx.corpora.run import CorpusRun
    from edgel3_onnx.outputs.record import MANNER

    common = {**dict.fromkeys((*MANNER, "raw", "part")), "graph_sha256": "0" * 64}

    def names() -> Iterator[str]:
        for k in range(files):
            yield f"/data/station-{k // 100_000:03}/2026-01-01/recording-{k:09}.flac"

    def inputs() -> Iterator[Input]:
        for k, name in enumerate(names()):
            yield Input(name, state=(5_000_000 + k, k))

    def listing(path: Path) -> None:
        watch = Watch("list")
        count = sum(1 for _ in find(listed(path), LeftOut()))
        watch.say(f"{count} lines read")

    def plan_or_resume(what: str, place: Folder, existing: str | None) -> None:
        watch = Watch(what)
        run = CorpusRun(place, existing)
        watch.say("what is there read")
        counts = Counter(record.status for record in run.plan(inputs(), common, Cutter()))
        watch.say(f"{files} files looked up, {run.total} records announced, so far {dict(counts)}")
        chunks = [len(chunk.entries) for chunk in run._chunks()]
        watch.say(f"{sum(chunks)} files to do in {len(chunks)} chunks listed")

    with tempfile.TemporaryDirectory() as folder:
        place, lines = Folder(os.path.join(folder, "dataset")), Path(folder, "lines")
        with lines.open("w") as file:
            file.writelines(f"{name}\n" for name in names())
        apart(listing, lines)
        lines.unlink()
        apart(plan_or_resume, "plan", place, None)
        (saved,) = Path(place.shown("_plan")).iterdir()
        print(f"the plan has {saved.stat().st_size / 1e6:.0f} MB")
        (made,) = plans(place)
        for names_of_group in made.chunk_names():
            for name in names_of_group[::2]:  # half of the chunks are done
                Path(place.shown(part_name(name))).touch()
        apart(plan_or_resume, "resume, half of it done", place, "skip")


class Watch:
    """Tells what each step of this process took, and its peak memory until then."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start()

    def _start(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def say(self, step: str) -> None:
        seconds, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{self._what}: {step} in {seconds:.1f} s ({cpu:.1f} CPU seconds), peak {peak:.0f} MB", flush=True)
        self._start()


def apart(function: Callable[..., None], *arguments: object) -> None:
    """Call it in a process of its own, so that it has a peak of its own."""
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)


def timed(python: str, arguments: list[str]) -> tuple[float, float]:
    """Seconds of a command, and CPU seconds of the machine meanwhile: Ray's processes are nobody's children."""
    before, start = busy(), time.perf_counter()
    subprocess.run([python, "-P", *arguments], check=True, stderr=subprocess.DEVNULL, cwd="/")
    return time.perf_counter() - start, busy() - before


def busy() -> float:
    """CPU seconds of all processes since the machine started."""
    user, nice, system, *_ = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def jobs(other: str, length: str = "", rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, count, seconds in (("short: 500 files of 1 s", 500, 1), ("long: 3 files of 600 s", 3, 600)):
            if length and not kind.startswith(length):
                continue
            inputs = folder / kind
            inputs.mkdir()
            for k in range(count):
                noise(inputs / f"{k:03}.wav", seconds, k)
            ratios = []
            for _ in range(rounds):
                found = []
                for python in (sys.executable, other):
                    out = folder / "out"
                    shutil.rmtree(out, ignore_errors=True)
                    command = ["-m", "edgel3_onnx", str(inputs), "--format", "parquet", "-o", str(out), "--jobs", "2"]
                    found.append(timed(python, [*command, *MODEL])[0])
                ratios.append(found[0] / found[1])
                print(f"{kind}: here {found[0]:.2f} s, the other {found[1]:.2f} s, ratio {ratios[-1]:.3f}", flush=True)
            print(f"{kind}: median ratio {statistics.median(ratios):.3f}")


RAY = """
import sys, time, os, resource
import ray
ray.init(num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False)
from edgel3_onnx import embed_corpus, load_embedding_model
model = load_embedding_model("micro", num_threads=1)
embed_corpus(sys.argv[1], sys.argv[2], model=model, engine="ray", workers=2)
ray.shutdown()
"""


def ray(rounds: int = 2) -> None:
    """Thirty minutes in 60 files; start-up is that of the same processes on two files of a second."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, count, seconds in (("few", 2, 1), ("many", 60, 30)):
            (folder / kind).mkdir()
            for k in range(count):
                noise(folder / kind / f"{k:02}.wav", seconds, k)
        ratios = []
        for number in range(rounds):
            cpu = {}
            for kind in ("few", "many"):
                out = folder / f"ray-{kind}-{number}"
                cpu["ray", kind] = timed(sys.executable, ["-c", RAY, str(folder / kind), str(out)])[1]
                out = folder / f"jobs-{kind}-{number}"
                command = ["-m", "edgel3_onnx", str(folder / kind), "--format", "parquet", "-o", str(out)]
                command += ["--jobs", "2", "--threads", "1"]
                cpu["jobs", kind] = timed(sys.executable, [*command, *MODEL])[1]
            print({" ".join(key): round(value, 2) for key, value in cpu.items()})
            beyond = {engine: cpu[engine, "many"] - cpu[engine, "few"] for engine in ("ray", "jobs")}
            ratios.append(beyond["ray"] / beyond["jobs"])
            print(f"CPU seconds beyond start-up: Ray {beyond['ray']:.2f}, --jobs {beyond['jobs']:.2f}, "
                  f"ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
        print(f"median ratio {statistics.median(ratios):.3f}")


PEAK = """
import resource, sys
from edgel3_onnx import embed_corpus, load_embedding_model
model = load_embedding_model(*sys.argv[3:4], num_threads=1, provider="native")
embed_corpus(sys.argv[1], sys.argv[2], model=model)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(hours: float) -> float:
    """Megabytes that the peak of a worker grows by, from a recording of a minute to one of ``hours``."""
    with tempfile.TemporaryDirectory() as name:
        peaks = []
        for kind, seconds in (("a minute", 60), (f"{hours:g} hours", hours * 3600)):
            path = Path(name, f"{seconds}.wav")
            noise(path, seconds)
            command = [sys.executable, "-P", "-c", PEAK, path, Path(name, f"out{seconds}"), "micro"]
            peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print(f"peak of a worker, {kind}: {peaks[-1]:.0f} MB", flush=True)
        print(f"growth: {peaks[1] - peaks[0]:.0f} MB")
        return peaks[1] - peaks[0]


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["--help"]
    if what == "plan":
        plan(int(rest[0]) if rest else 10_000_000)
    elif what == "jobs" and rest:
        jobs(*rest[:2])
    elif what == "ray":
        ray()
    elif what == "memory":
        memory(float(rest[0]) if rest else 2)
    else:
        sys.exit(__doc__)
