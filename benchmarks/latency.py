"""How long after the last sample of a window its line comes, from a pipe that is fed in real time.

    python benchmarks/latency.py [SECONDS]

Prints, per format, the median and the largest delay of a window's JSON line behind the moment at which its last
sample was written to the command's standard input. The bytes of a compressed format are written evenly over the
recording's length, so that the encoder's own blocks count as delay too. Needs ffmpeg; FLAC, AAC and WebM need PyAV.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 48000  # Hz
STEP = 0.02  # seconds between writes
FORMATS = {
    "WAV": ["-f", "wav"],
    "MP3 128 kbit/s": ["-b:a", "128k", "-f", "mp3"],
    "Ogg Vorbis": ["-c:a", "libvorbis", "-page_duration", "100000", "-f", "ogg"],
    "Opus in Ogg": ["-c:a", "libopus", "-page_duration", "100000", "-f", "ogg"],
    "FLAC": ["-f", "flac"],
    "AAC (ADTS)": ["-c:a", "aac", "-f", "adts"],
    "WebM (Opus)": ["-c:a", "libopus", "-f", "webm", "-cluster_time_limit", "200", "-live", "1"],
}


def delays(data: bytes, seconds: float) -> list[float]:
    command = [sys.executable, "-P", "-m", "edgel3_onnx", "-", "-q", "--model-type", "micro", "--no-centering"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    begun: list[float] = []

    def feed() -> None:
        process.stdin.write(data[: (first := min(4096, len(data) // 4))])  # while the model is loaded
        process.stdin.flush()
        time.sleep(2)
        begun.append(time.perf_counter() - first / len(data) * seconds)
        at = first
        while at < len(data):
            due = int((time.perf_counter() - begun[0]) / seconds * len(data))
            process.stdin.write(data[at:due])
            process.stdin.flush()
            at = max(at, due)
            time.sleep(STEP)
        process.stdin.close()

    thread = threading.Thread(target=feed)
    thread.start()
    found = []
    for line in process.stdout:
        end = json.loads(line)["timestamp"] + 1.0
        if end < seconds - 0.1:  # behind that the stream has ended
            found.append(time.perf_counter() - begun[0] - end)
    thread.join()
    process.wait()
    return found


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.wav"
        noise = np.random.default_rng(1).standard_normal(int(RATE * seconds)) * 0.1
        soundfile.write(source, noise, RATE)
        print("| format | windows | median, ms | largest, ms |\n|---|---|---|---|")
        for name, options in FORMATS.items():
            command = ["ffmpeg", "-v", "error", "-i", str(source), *options, "-"]
            data = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            found = [1000 * delay for delay in delays(data, seconds)]
            print(f"| {name} | {len(found)} | {statistics.median(found):.0f} | {max(found):.0f} |", flush=True)


if __name__ == "__main__":
    main()
