"""What a part of a long recording costs: 10 s at 1 h 50 min of 2 h, against the same 10 s as a file of its own.

    python benchmarks/parts.py [WEIGHTS]

WEIGHTS is a .h5, .h5.gz or .onnx of sea-64; without it, the shipped model. Every figure is the median of the ratios of
neighbours that are timed in turn, in one run.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from end_to_end import ratio, report

from edgel3_onnx import load_embedding_model, process_file

RATE, HOURS, OFFSET, DURATION = 48000, 2, 6600, 10


def main():
    weights = sys.argv[1] if len(sys.argv) > 1 else None
    model = load_embedding_model("sea", 64, weights=weights) if weights else load_embedding_model("micro")
    noise = (3000 * np.random.default_rng(0).standard_normal(60 * RATE)).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac"):
            whole, own = Path(folder) / f"whole.{suffix}", Path(folder) / f"own.{suffix}"
            with soundfile.SoundFile(whole, "w", RATE, 1, "PCM_16") as sound:
                for _ in range(HOURS * 60):
                    sound.write(noise)
            soundfile.write(own, np.resize(noise, DURATION * RATE), RATE, "PCM_16")
            figures = ratio(
                lambda path=whole: process_file(path, model=model, offset=OFFSET, duration=DURATION, verbose=False),
                lambda path=own: process_file(path, model=model, verbose=False),
            )
            report(f"10 s at 1 h 50 min of a {suffix} of 2 h / the same as a file", figures, 2)
            whole.unlink()


if __name__ == "__main__":
    main()
