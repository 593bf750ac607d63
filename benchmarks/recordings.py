"""What becomes of each recording in a folder: what lies there, what is kept, what is said.

    python benchmarks/recordings.py FOLDER [--without-av]

Prints a table, one row per file: seconds that FFmpeg decodes (where it is installed), seconds kept, seconds lost, the
exit status that the file alone would give, and the line. --without-av does as if PyAV were not installed.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import decode, pyav


def of_ffmpeg(path):
    """Seconds that FFmpeg decodes, at 48 kHz; None without it."""
    if shutil.which("ffmpeg") is None:
        return None
    command = ["ffmpeg", "-v", "quiet", "-i", f"file:{path}", "-ac", "1", "-ar", "48000", "-f", "s16le", "-"]
    return len(subprocess.run(command, capture_output=True, check=False).stdout) / 2 / 48000


def main():
    folder = Path(sys.argv[1])
    if "--without-av" in sys.argv:
        for module in (decode, pyav):
            module.has_av = lambda: False
    print("| file | FFmpeg, s | kept, s | lost, s | exit | line |\n|---|---|---|---|---|---|")
    for path in sorted(folder.iterdir()):
        peer = of_ffmpeg(path)
        peer_text = "" if peer is None else f"{peer:.2f}"
        kept = lost = 0.0
        try:
            with decode.open_recording(str(path)) as recording:
                samples = sum(len(np.asarray(block)) for block in recording.blocks(1.0))
            findings = recording.findings
            kept = samples / recording.sample_rate - sum(length for _, length in findings.holes)
            lost, status = findings.lost_seconds, 0
            line = "; ".join([*findings.warnings, *(f"(note: {note})" for note in findings.notes)])
        except EdgeL3Error as error:
            status, line = 1, str(error)
        print(f"| {path.name} | {peer_text} | {kept:.2f} | {lost:.2f} | {status} | {line} |")


if __name__ == "__main__":
    main()
