"""Every encoder at hand, 200 damaged variants of each container, and files of more than 4 GiB."""

import struct
import subprocess

import numpy as np
import pytest

import odd_recordings as odd
from edgel3_onnx.recordings import decode
from test_recordings import check_damage, nothing_on_standard_error, whole

__all__ = ["nothing_on_standard_error"]

pytestmark = pytest.mark.slow

GAPLESS = ("zeros_before", "zeros_behind", "everything", "ape")  # among which FFmpeg does not find the tag of LAME
# FFmpeg decodes these otherwise than libsndfile: intensity stereo of MPEG 2 and MS ADPCM's rounding; where a file
# starts with frames that need what was cut off, it plays what is left of them. Opus it resamples.
OTHER_SAMPLES = ("_adpcm.", "_splt", "_free.", ".opus")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    if missing := odd.missing_tools():
        pytest.skip(f"needs {', '.join(missing)}")
    return odd.make_matrix(tmp_path_factory.mktemp("matrix"))


def test_every_encoder(matrix, tmp_path):
    assert len(matrix) >= 400
    wrong = []
    for path in matrix:
        try:
            audio, rate, findings = odd.read(path)
        except Exception as error:  # collected, so that one run shows all
            wrong.append(f"{path.name}: {error!r}")
            continue
        channels = int(path.stem.split("_")[1])
        command = ["ffmpeg", "-v", "error", "-i", path, "-ar", str(int(rate)), "-f", "f32le", "-"]
        peer = np.frombuffer(subprocess.run(command, capture_output=True, check=False).stdout, np.float32)
        if len(peer) % channels:
            channels = 1
        peer = peer.reshape(-1, channels).astype(float).mean(axis=1)
        if findings.warnings or not findings.complete:
            wrong.append(f"{path.name}: {findings.warnings}")
        elif len(audio) < 3.37 * rate - 1 and "splt" not in path.name:
            wrong.append(f"{path.name}: {len(audio) / rate} s")
        elif any(name in path.name for name in GAPLESS) or not len(peer):
            continue
        elif abs(len(audio) - len(peer)) > (".opus" in path.name):
            wrong.append(f"{path.name}: {len(audio)} samples, FFmpeg has {len(peer)}")
        elif not any(name in path.name for name in OTHER_SAMPLES) and not is_intensity(path, rate):
            worst = np.abs(audio - peer).max()
            if worst > 1e-4:
                wrong.append(f"{path.name}: differs by {worst:.2g} from FFmpeg")
    print(f"{len(matrix)} files, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


def is_intensity(path, rate):
    return path.suffix == ".mp3" and "_2" in path.name and rate <= 24000


@pytest.mark.parametrize("how", odd.DAMAGES)
@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "opus", "wav", "aiff", "au", "caf", "w64"])
def test_damage(tmp_path, suffix, how):
    check_damage(tmp_path, whole(suffix, 12, 1, 48000), suffix, how, range(100, 140))


@pytest.mark.parametrize("kind", ["wrapped size", "RF64"])
def test_more_than_4_gib(tmp_path, kind):
    frames, rate = 1_150_000_000, 48000
    size = frames * 4
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, rate, rate * 4, 4, 16)
    if kind == "RF64":
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 72 + size, size, frames, 0)
        head = b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff"
    else:
        head = (
            b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVE" + fmt + b"data" + struct.pack("<I", size % 2**32)
        )
    with open(tmp_path / "big.wav", "wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # sparse
        file.seek(len(head) + size - 4)
        file.write(struct.pack("<hh", 12345, -12345))
    count = 0
    with decode.open_recording(str(tmp_path / "big.wav")) as recording:
        for block in recording.blocks(60):
            count += len(block)
    assert count == frames and block[-1].tolist() == [12345, -12345]
    assert recording.findings.complete and bool(recording.findings.warnings) == (kind != "RF64")
