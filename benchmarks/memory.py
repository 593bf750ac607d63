"""Peak memory of long recordings against short ones, each embedded in a process of its own.

    python benchmarks/memory.py [HOURS]

Prints the peak resident size for one minute and for HOURS (default 2) of 44.1 kHz stereo, what lies between them, and
what may: 60 MB and twice the embedding. The network has seeded weights.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

SR = 44100
ALLOWED = 60e6  # bytes above a recording of a minute, and twice the embedding's size
EMBED = """
import resource, sys
from edgel3_onnx import load_embedding_model, process_file
process_file(sys.argv[1], model=load_embedding_model("sea", 64, weights=sys.argv[2]), hop_size=float(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_recording(path, seconds):
    """Stereo 44.1 kHz PCM of noise, the same second over and over."""
    second = np.random.default_rng(0).normal(scale=0.1, size=(SR, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", SR, 2, "PCM_16") as file:
        for _ in range(seconds):
            file.write(second)


def peak(path, weights, hop_size):
    """Bytes of resident memory at most, and of the embedding that was written."""
    command = [sys.executable, "-P", "-c", EMBED, str(path), str(weights), str(hop_size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=path.parent)
    with np.load(path.with_suffix(".npz")) as arrays:
        size = arrays["embedding"].nbytes
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout) * unit, size


def measure(folder, weights, seconds, hop_size=0.1):
    """Growth of the peak from one minute to ``seconds`` of audio, and what is allowed, in bytes."""
    short, long = folder / "short.wav", folder / "long.wav"
    write_recording(short, 60)
    write_recording(long, seconds)
    short_peak, _ = peak(short, weights, hop_size)
    long_peak, size = peak(long, weights, hop_size)
    print(f"1 minute: {short_peak / 1e6:.1f} MB; {seconds / 3600:g} hours: {long_peak / 1e6:.1f} MB")
    return long_peak - short_peak, ALLOWED + 2 * size


def main():
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import golden
    from edgel3_onnx.spec import NETWORKS

    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 2
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name, "seeded.h5")
        golden.write_h5(weights, golden.weights(640, NETWORKS["sea-64"]), "sea-64")
        os.environ.setdefault("EDGEL3_ONNX_CACHE", name)
        growth, allowed = measure(Path(name), weights, round(hours * 3600))
    print(f"growth: {growth / 1e6:.1f} MB, at most {allowed / 1e6:.1f} MB (60 MB and twice the embedding)")


if __name__ == "__main__":
    main()
