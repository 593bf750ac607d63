"""Recordings as they come from the field: made by every encoder at hand, with wrong headers, joined, cut, damaged."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from edgel3_onnx.audio import mix_down
from edgel3_onnx.recordings import decode

RATES = (8000, 16000, 22050, 44100, 48000)
TOOLS = ("lame", "ffmpeg", "sox", "flac", "oggenc", "opusenc", "mp3splt")
CLICK = 40  # samples

# What each encoder is asked for, for mono and stereo at all rates: {wav} is the input, {out} the name without suffix.
COMMANDS = [
    *(
        f"lame --quiet {options} {{wav}} {{out}}_{name}.mp3"
        for name, options in {
            "cbr": "-b 64",
            "vbr": "-V 4",
            "abr": "--abr 64",
            "cbr_t": "-b 64 -t",
            "vbr_t": "-V 4 -t",
            "abr_t": "--abr 64 -t",
            "crc": "-b 64 -p",
            "tags": "-b 64 --add-id3v2 --tt title",
            "free": "--freeformat -b 100",
        }.items()
    ),
    "lame --quiet -V 4 {wav} - | cat > {out}_pipe.mp3",
    *(
        f"ffmpeg -v error -y -i {{wav}} {options} {{out}}_ff{suffix}"
        for suffix, options in {
            ".mp3": "-c:a libmp3lame -q:a 4",
            "_noxing.mp3": "-c:a libmp3lame -write_xing 0",
            ".mp2": "",
            ".ogg": "-c:a libvorbis",
            ".opus": "-c:a libopus",
            ".oga": "-c:a flac -f ogg",
            ".flac": "",
            ".w64": "",
            ".aiff": "",
            ".caf": "",
            ".au": "",
            "24.wav": "-c:a pcm_s24le",
            "float.wav": "-c:a pcm_f32le",
            "adpcm.wav": "-c:a adpcm_ms",
            "mulaw.wav": "-c:a pcm_mulaw",
            "rf64.wav": "-rf64 always",
        }.items()
    ),
    *(
        f"ffmpeg -v error -y -i {{wav}} -f {name} - | cat > {{out}}_ffpipe.{name}"
        for name in ["wav", "flac", "ogg", "mp3", "au", "caf", "w64"]
    ),
    *(f"sox {{wav}} {{out}}_sox.{name}" for name in ["wav", "flac", "ogg", "au", "aiff"]),
    *(f"sox {{wav}} -t {name} - | cat > {{out}}_soxpipe.{name}" for name in ["wav", "flac", "ogg", "au", "aiff"]),
    "flac -s -f {wav} -o {out}_flac.flac",
    "flac -s -c {wav} | cat > {out}_flacpipe.flac",
    "oggenc -Q {wav} -o {out}_oggenc.ogg",
    "oggenc -Q - < {wav} | cat > {out}_oggencpipe.ogg",
    "opusenc --quiet {wav} {out}_opusenc.opus",
    "opusenc --quiet - - < {wav} | cat > {out}_opusencpipe.opus",
    "mp3splt -Q -d $(dirname {out}) -o $(basename {out})_splt {out}_cbr.mp3 0.0.50 0.2.80",
]
MANY_CHANNELS = [
    "flac -s -f {wav} -o {out}_flac.flac",
    "oggenc -Q {wav} -o {out}_oggenc.ogg",
    "opusenc --quiet {wav} {out}_opusenc.opus",
    *(f"ffmpeg -v error -y -i {{wav}} {{out}}_ff.{name}" for name in ["ogg", "opus", "flac", "caf", "aiff", "w64"]),
]


def signal(sr: int, seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise and tones, float64 (N, channels), with a click in the middle of every second."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(sr * seconds)) / sr
    audio = np.stack([0.05 * np.sin(2 * np.pi * (300 + 50 * k) * time) for k in range(channels)], axis=1)
    audio += 0.02 * rng.standard_normal(audio.shape)
    click = 0.6 * np.hanning(CLICK) * np.sign(np.sin(np.arange(CLICK)))
    for start in range(sr // 2, len(audio) - CLICK, sr):
        audio[start : start + CLICK] += click[:, np.newaxis]
    return np.clip(audio, -1, 1)


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def make_matrix(folder: Path) -> list[Path]:
    """Files of every encoder at every rate, for 1 to 6 channels: the number of channels is in the name."""
    inputs = [(sr, channels, COMMANDS) for sr in RATES for channels in (1, 2)]
    inputs += [(48000, channels, MANY_CHANNELS) for channels in (3, 4, 5, 6)]
    for sr, channels, commands in inputs:
        out = folder / f"{sr}_{channels}"
        soundfile.write(f"{out}.wav", signal(sr, 3.37, channels), sr)
        for command in commands:
            subprocess.run(command.format(wav=f"{out}.wav", out=out), shell=True, capture_output=True, check=False)
        vbr = Path(f"{out}_vbr.mp3")
        if vbr.exists():
            for name, data in tagged(vbr.read_bytes()).items():
                Path(f"{out}_{name}.mp3").write_bytes(data)
        flac = Path(f"{out}_flac.flac")
        if flac.exists():
            Path(f"{out}_id3v2.flac").write_bytes(id3v2() + flac.read_bytes())
            Path(f"{out}_id3v1.flac").write_bytes(flac.read_bytes() + id3v1())
    return sorted(path for path in folder.iterdir() if path.stat().st_size)


def id3v2(size: int = 30000) -> bytes:
    """A tag with a picture that is full of what looks like frames."""
    body = b"APIC" + struct.pack(">IH", size, 0) + (b"\xff\xfb\x90\x64" + b"\0" * 7) * (size // 11)
    length = len(body)
    return b"ID3\3\0\0" + bytes(length >> shift & 127 for shift in (21, 14, 7, 0)) + body


def id3v1() -> bytes:
    return b"TAG" + b"x" * 125


def tagged(data: bytes) -> dict[str, bytes]:
    """A recording with every kind of tag around it."""
    ape = struct.pack("<8sIII8x", b"APETAGEX", 2000, 32 + 1968, 1)
    head, foot = (struct.pack("<8sIIII8x", b"APETAGEX", 2000, 2000, 1, flags) for flags in (0xA0000000, 0x80000000))
    lyrics = b"LYRICSBEGIN" + b"IND0000211" + b"la la la" * 40 + b"000350LYRICS200"
    assert len(ape) == 28
    return {
        "picture": id3v2() + data,
        "id3v1": data + id3v1(),
        "ape": data + head + b"y" * 1968 + foot,
        "lyrics": data + lyrics + id3v1(),
        "zeros_before": bytes(5000) + data,
        "zeros_behind": data + bytes(5000),
        "everything": id3v2() + bytes(100) + data + lyrics + id3v1(),
    }


def read(path, raw=None):
    """Mono samples, rate and findings of a recording, decoded in blocks of odd length."""
    with decode.open_recording(str(path), raw) as recording:
        blocks = [mix_down(block) for block in recording.blocks(0.7)]
    return np.concatenate([np.zeros(0, np.float32), *blocks]), recording.sample_rate, recording.findings


def encoded(audio: np.ndarray, sr: int, format: str, subtype: str | None = None) -> bytes:
    """A file as soundfile writes it."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, sr, format=format, subtype=subtype)
    return buffer.getvalue()


def ogg_pages(data: bytes) -> list[bytes]:
    """The pages of a whole Ogg file."""
    pages = []
    while data:
        length = 27 + data[26] + sum(data[27 : 27 + data[26]])
        pages.append(data[:length])
        data = data[length:]
    return pages


def encoded_with_av(
    path: Path, audio: np.ndarray, sr: int, codec: str, format: str | None = None, title: str = "", **options: str
) -> None:
    """A mono file as FFmpeg writes it."""
    import av

    with av.open(str(path), "w", format=format, options=options) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=sr, layout="mono")
        name = stream.codec_context.format.name
        samples = audio.reshape(1, -1)
        if name.startswith("s16"):
            samples = np.round(samples * 32767).astype(np.int16)
        elif name.startswith("s32"):
            samples = np.round(samples * (2**31 - 1)).astype(np.int32)
        frame = av.AudioFrame.from_ndarray(
            samples.astype(np.float32) if name.startswith("flt") else samples, format=name, layout="mono"
        )
        frame.sample_rate = sr
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


DAMAGES = ("truncated", "zeroed inside", "random inside", "zeroed at the end", "random at the end")


def damaged(data: bytes, how: str, rng: np.random.Generator) -> bytes:
    """``data`` with 3000 bytes lost, or cut; its first twentieth, with the header, is left alone."""
    first = len(data) // 20
    result = bytearray(data)
    if how == "truncated":
        return bytes(result[: rng.integers(first, len(data))])
    start = len(data) - 3000 if how.endswith("end") else int(rng.integers(first, len(data) - 3000))
    result[start : start + 3000] = bytes(3000) if how.startswith("zeroed") else rng.bytes(3000)
    return bytes(result)


def silently_lost(found: np.ndarray, whole: np.ndarray, sr: float) -> float:
    """Seconds in which ``found`` is not as ``whole``, a missing end included."""
    length = int(sr * 0.02)
    count = min(len(found), len(whole)) // length
    a, b = (audio[: count * length].reshape(count, length).astype(float) for audio in (whole, found))
    differs = ((a - b) ** 2).mean(axis=1) > 0.25 * (a**2).mean(axis=1) + 1e-9
    return differs.sum() * 0.02 + max(len(whole) - len(found), 0) / sr


def shifted_click(found, whole, sr, holes) -> str | None:
    """What is wrong with the first click that is not where it should be; None if all are, or lie in holes."""
    around = int(0.07 * sr)
    for second in range(int(len(whole) / sr)):
        at = int((second + 0.5) * sr)
        if at + around > len(found) or np.abs(whole[at : at + 4 * CLICK]).max() < 0.3:
            continue
        heard = np.abs(found[max(at - around, 0) : at + around])
        if heard.max() < 0.25:
            if not any(start - 0.15 <= second + 0.5 <= start + length + 0.15 for start, length in holes):
                return f"the click at {second + 0.5} s is gone, holes {holes}"
            continue
        expected = np.abs(whole[max(at - around, 0) : at + around]).argmax()
        if abs(int(heard.argmax()) - int(expected)) > 0.03 * sr:
            return f"the click at {second + 0.5} s is {(heard.argmax() - expected) / sr:.3f} s late, holes {holes}"
    return None
