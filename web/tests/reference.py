"""The Python package's numbers, for the page's tests to compare with:  python reference.py FOLDER

Writes recordings in many formats into FOLDER, and reference.json: where each recording's embeddings lie, and signals
with their resampled and log-mel forms. Arrays are raw little-endian float32.
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

import edgel3_onnx
from edgel3_onnx import frontend
from edgel3_onnx.files import process_file
from edgel3_onnx.recordings import ogg
from edgel3_onnx.spec import FRONTENDS

RATES = (8000, 16000, 22050, 44100, 48000, 96000)
FORMATS = {
    "s16.wav": ("WAV", "PCM_16", RATES),
    "s24.wav": ("WAV", "PCM_24", RATES),
    "f32.wav": ("WAV", "FLOAT", RATES),
    "s16.flac": ("FLAC", "PCM_16", RATES),
    "s24.flac": ("FLAC", "PCM_24", (44100,)),
    "mp3": ("MP3", "MPEG_LAYER_III", (8000, 16000, 22050, 44100, 48000)),
    "ogg": ("OGG", "VORBIS", RATES),
    "opus": ("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
}
# (seconds, hop, center) of the signals whose log-mel images are compared
WINDOWS = ((3.3, 0.1, True), (2.05, 0.1, False), (2.6, 0.5, True), (0.3, 0.1, True), (4.7, 1.5, False))


def sound(rate: int, seconds: float, seed: int) -> np.ndarray:
    """Noise that falls with frequency, with decaying tones: stereo, natural enough for a relative comparison."""
    rng = np.random.default_rng(seed)
    n = int(rate * seconds)
    spectrum = np.fft.rfft(rng.standard_normal((2, n)))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / rate), 20))
    noise = np.fft.irfft(spectrum, n)
    y = 0.2 * noise / np.abs(noise).max()
    t = np.arange(n) / rate
    for f0, t0, decay in rng.uniform((200, 0, 2), (3500, 0.8 * seconds, 6), (6, 3)):
        y += 0.15 * np.exp(-decay * np.maximum(t - t0, 0)) * np.sin(2 * np.pi * f0 * (t - t0)) * (t >= t0)
    return (y / np.abs(y).max() * 0.9).T


def with_opus_head(path: Path, rate: int, skip: int, gain: int) -> bytes:
    """The file with another rate of the original, number of samples to skip, and gain in dB / 256."""
    data = bytearray(path.read_bytes())
    head = 27 + data[26]
    data[head + 10 : head + 18] = struct.pack("<HIh", skip, rate, gain)
    end = head + sum(data[27:head])
    data[22:26] = ogg._checksum(data[:end])
    return bytes(data)


def encode(path: Path, samples: np.ndarray, rate: int, codec: str) -> None:
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T, np.float32), "fltp", "stereo")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = edgel3_onnx.load_embedding_model("micro")
    index: dict[str, Any] = {"recordings": [], "resampled": [], "images": []}

    def save(name: str, array: np.ndarray) -> str:
        array.astype("<f4").tofile(folder / name)
        return name

    def add_recording(path: Path) -> None:
        output = folder / f"{path.name}.npz"
        process_file(os.fspath(path), output_dir=os.fspath(folder), model=model, suffix=path.suffix[1:], verbose=0)
        made = folder / f"{path.stem}_{path.suffix[1:]}.npz"
        with np.load(made) as data:
            embedding, timestamps = data["embedding"], data["timestamps"]
        made.replace(output)
        index["recordings"].append(
            {"file": path.name, "rows": len(embedding), "embedding": save(f"{path.name}.f32", embedding)}
        )
        assert np.allclose(timestamps, np.arange(len(embedding)) * 0.1)

    for suffix, (container, subtype, rates) in FORMATS.items():
        for rate in rates:
            path = folder / f"{rate}.{suffix}"
            soundfile.write(path, sound(rate, 1.7, rate), rate, format=container, subtype=subtype)
            add_recording(path)
    for name, rate, container, subtype in (
        ("long-22050.mp3", 22050, "MP3", "MPEG_LAYER_III"),
        ("long-16000.opus", 16000, "OGG", "OPUS"),
        ("long-44100.ogg", 44100, "OGG", "VORBIS"),
    ):
        soundfile.write(folder / name, sound(rate, 11.3, rate), rate, format=container, subtype=subtype)
        add_recording(folder / name)
    for name, made_from, head in (
        ("22050.opus", "24000.opus", (22050, 312, 0)),
        ("44100.opus", "48000.opus", (44100, 312, 0)),
        ("louder.opus", "16000.opus", (16000, 500, 512)),
    ):
        (folder / name).write_bytes(with_opus_head(folder / made_from, *head))
        add_recording(folder / name)
    for suffix in ("ogg", "opus"):
        name = f"joined.{suffix}"
        (folder / name).write_bytes((folder / f"16000.{suffix}").read_bytes() * 2)
        add_recording(folder / name)
    for name, rate, codec in (("44100.m4a", 44100, "aac"), ("48000.webm", 48000, "libopus")):
        encode(folder / name, sound(rate, 1.7, rate), rate, codec)
        add_recording(folder / name)
    reference = os.environ.get("EDGEL3_ONNX_REFERENCE")
    for name in ("misc_crow.flac", "loop_safari.flac", "ambi_sauna.flac", "drum_roll.flac") if reference else ():
        path = folder / name
        path.write_bytes((Path(reference) / "audio" / name).read_bytes())
        add_recording(path)

    for rate in (6000, 11025, 16000, 22050, 44100, 48000, 96000):
        signal = np.ascontiguousarray(sound(rate, 1.9, rate)[:, 0], np.float32)
        index["resampled"].append(
            {
                "rate": rate,
                "input": save(f"{rate}.in.f32", signal),
                "output": save(f"{rate}.out.f32", frontend.resample(signal, rate, 8000)),
            }
        )
    spec = FRONTENDS["sea"]
    for seconds, hop, center in WINDOWS:
        signal = np.ascontiguousarray(sound(8000, seconds, 7)[:, 0], np.float32)
        images = frontend.log_mel(signal, spec, hop_length=int(hop * 8000), center=center)
        name = f"{seconds}-{hop}-{center}"
        index["images"].append(
            {
                "hop": hop,
                "center": center,
                "input": save(f"{name}.in.f32", signal),
                "output": save(f"{name}.out.f32", images),
            }
        )
    (folder / "reference.json").write_text(json.dumps(index, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
