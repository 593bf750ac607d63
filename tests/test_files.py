"""Files against arrays: every container, every way in which a file can be bad."""

import io
import json
import struct

import numpy as np
import pytest
import soundfile

import golden
from edgel3_onnx import (
    EdgeL3ArgumentError,
    EdgeL3Error,
    EdgeL3Warning,
    get_embedding,
    get_output_path,
    process_file,
)
from edgel3_onnx.embedding import EmbeddingOptions
from edgel3_onnx.pipeline import EmbeddedFile, embed_files
from edgel3_onnx.recordings import decode

# Batches are cut elsewhere than in get_embedding, which may change the last bits of a product.
TOLERANCE = 1e-5

CONTAINERS = [
    ("x.wav", "WAV", "PCM_16"),
    ("x24.wav", "WAV", "PCM_24"),
    ("f64.wav", "WAV", "DOUBLE"),
    ("x.rf64", "RF64", "PCM_16"),
    ("x.w64", "W64", "PCM_16"),
    ("x.aiff", "AIFF", "PCM_16"),
    ("x.au", "AU", "FLOAT"),
    ("x.caf", "CAF", "PCM_16"),
    ("x.flac", "FLAC", "PCM_16"),
    ("x.ogg", "OGG", "VORBIS"),
    ("x.mp3", "MP3", "MPEG_LAYER_III"),
]


def stereo(sr=44100, seconds=2.6):
    left = golden.audio(sr, seconds, 5)
    return np.stack([left, golden.audio(sr, seconds, 6)], axis=1) * 0.5


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["embedding"], arrays["timestamps"], json.loads(arrays["metadata"].item())


def assert_same_embedding(found, expected):
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize(("name", "format", "subtype"), CONTAINERS)
def test_file_equals_array(tmp_path, sea64, name, format, subtype):
    soundfile.write(tmp_path / name, stereo(), 44100, format=format, subtype=subtype)
    process_file(tmp_path / name, model=sea64)
    embedding, timestamps, metadata = load((tmp_path / name).with_suffix(".npz"))
    audio, sr = soundfile.read(tmp_path / name, dtype="float32")
    expected, expected_timestamps = get_embedding(audio, sr, sea64, verbose=0)
    assert_same_embedding(embedding, expected)
    np.testing.assert_array_equal(timestamps, expected_timestamps)
    assert metadata["samples"] == len(audio) and metadata["sample_rate"] == sr


@pytest.mark.parametrize("sr", [8000, 11025, 48000])
@pytest.mark.parametrize("options", [{"center": False, "hop_size": 0.25}, {"hop_size": 1.7, "resampler": "soxr"}])
def test_options_reach_the_embedding(tmp_path, sea64, sr, options):
    audio = golden.audio(sr, 4.2, 9).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, sr, subtype="FLOAT")
    process_file(tmp_path / "a.wav", tmp_path / "new" / "folder", "s", sea64, batch_size=3, **options)
    embedding, timestamps, metadata = load(tmp_path / "new" / "folder" / "a_s.npz")
    expected, expected_timestamps = get_embedding(audio, sr, sea64, verbose=0, **options)
    assert_same_embedding(embedding, expected)
    np.testing.assert_array_equal(timestamps, expected_timestamps)
    assert {key: metadata[key] for key in options} == options


def test_many_channels_in_a_short_last_block(tmp_path, sea64):
    audio = np.tile(golden.audio(8000, 3.2, 4)[:, None], (1, 40))
    soundfile.write(tmp_path / "array.wav", np.concatenate([audio, audio[:10]]), 8000, subtype="FLOAT")
    process_file(tmp_path / "array.wav", model=sea64)
    mono = np.concatenate([audio, audio[:10]]).astype(np.float32)[:, 0]
    assert_same_embedding(load(tmp_path / "array.npz")[0], get_embedding(mono, 8000, sea64, verbose=0)[0])


def test_provenance(tmp_path, sea64):
    soundfile.write(tmp_path / "a.wav", stereo(), 44100)
    process_file(tmp_path / "a.wav", model=sea64)
    metadata = load(tmp_path / "a.npz")[2]
    assert metadata["variant"] == "sea-64"
    assert metadata["source_sha256"] == sea64.info.source_sha256
    assert metadata["provider"] == "CPUExecutionProvider"
    assert metadata["precision"] == "fp32" and metadata["resampler"] == "kaiser_best"
    assert metadata["source"] == "a.wav" and metadata["source_bytes"] == (tmp_path / "a.wav").stat().st_size
    assert metadata["windows"] == 22
    assert {"package", "version", "onnxruntime", "hop_size", "center"} <= metadata.keys()


def test_same_input_gives_same_bytes(tmp_path, sea64):
    soundfile.write(tmp_path / "a.wav", stereo(), 44100)
    outputs = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        process_file(tmp_path / "a.wav", folder, model=sea64)
        outputs.append((folder / "a.npz").read_bytes())
    assert outputs[0] == outputs[1]


def test_files_share_batches_without_mixing(tmp_path, sea64):
    jobs = []
    for k, seconds in enumerate([0.4, 3.1, 1.0, 0.2, 7.3, 1.9]):
        soundfile.write(tmp_path / f"{k}.wav", golden.audio(8000, seconds, k), 8000)
        jobs.append(EmbeddedFile(str(tmp_path / f"{k}.wav")))
        if k == 2:
            (tmp_path / "bad.wav").write_bytes(b"RIFF")
            jobs.append(EmbeddedFile(str(tmp_path / "bad.wav")))
    finished = list(embed_files(sea64, jobs, EmbeddingOptions(batch_size=16)))
    assert finished == jobs and [job.error is None for job in jobs] == [True, True, True, False, True, True, True]
    for job in jobs:
        if job.error is None:
            (alone,) = embed_files(sea64, [EmbeddedFile(job.path)], EmbeddingOptions(batch_size=5))
            assert_same_embedding(job.embeddings.embedding, alone.embeddings.embedding)


@pytest.mark.parametrize(("name", "format", "subtype"), CONTAINERS)
def test_truncated_file_is_embedded_up_to_its_end(tmp_path, sea64, name, format, subtype):
    soundfile.write(tmp_path / name, stereo(), 44100, format=format, subtype=subtype)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.7)])
    with pytest.warns(EdgeL3Warning, match=r" s kept .* s lost \(the end is missing"):
        process_file(tmp_path / name, model=sea64)
    embedding, _, metadata = load((tmp_path / name).with_suffix(".npz"))
    assert not metadata["complete"] and metadata["holes"] == []
    assert 1.2 * 44100 < metadata["samples"] < 2 * 44100 and len(embedding) == metadata["windows"] < 22
    if format != "OGG":  # which nowhere says how long it is
        assert metadata["announced_seconds"] == pytest.approx(2.6, abs=0.03)
        assert metadata["lost_seconds"] == pytest.approx(2.6 - metadata["samples"] / 44100, abs=0.03)
    with pytest.raises(EdgeL3Error, match=r"is not whole: .* s kept"):
        process_file(tmp_path / name, tmp_path / "out", model=sea64, strict=True)
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.02)])
    with pytest.raises(EdgeL3Error, match=r"x|f64"):
        process_file(tmp_path / name, tmp_path / "out", model=sea64)
    assert not list((tmp_path).glob("out/*"))


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_of_a_writer_that_did_not_know_the_length(tmp_path, sea64, size):
    audio = golden.audio(8000, 2, 3)
    soundfile.write(tmp_path / "a.wav", audio, 8000)
    process_file(tmp_path / "a.wav", model=sea64)
    expected = load(tmp_path / "a.npz")[0]
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(data)
    if size == 0:  # which a header that is really empty says too
        with pytest.warns(EdgeL3Warning, match=r"its header says 0 s; the 2\.00 s up to the end"):
            process_file(tmp_path / "a.wav", model=sea64)
        with pytest.raises(EdgeL3Error, match="is not whole"):
            process_file(tmp_path / "a.wav", tmp_path / "out", model=sea64, strict=True)
    else:
        process_file(tmp_path / "a.wav", model=sea64, strict=True)
    np.testing.assert_array_equal(load(tmp_path / "a.npz")[0], expected)


def write_nothing(path):
    path.write_bytes(b"")


def write_text(path):
    path.write_text("This is no recording.\n" * 100)


def write_noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def write_no_samples(path):
    soundfile.write(path, np.zeros((0, 1)), 8000, format="WAV")


def write_nan(path):
    audio = golden.audio(8000, 3, 0)
    audio[17000] = np.nan
    soundfile.write(path, audio, 8000, format="WAV", subtype="FLOAT")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (write_nothing, "empty"),
        (write_text, "no format that"),
        (write_noise, "no format that|cannot be decoded"),
        (write_no_samples, "no samples"),
        (write_nan, r"1 NaN or infinite .* at index 17000 \(counted from 0\.00 s on\)"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read"),
        (lambda path: None, "cannot be read"),
    ],
)
def test_bad_file(tmp_path, sea64, make, message):
    make(tmp_path / "bad.wav")
    with pytest.raises(EdgeL3Error, match=rf"bad\.wav: .*({message})"):
        process_file(tmp_path / "bad.wav", tmp_path / "out", model=sea64)
    assert not (tmp_path / "out").exists()


def _rf64(change):
    file = io.BytesIO()
    soundfile.write(file, golden.audio(8000, 1.5, 3), 8000, format="RF64", subtype="PCM_16")
    data = bytearray(file.getvalue())
    change(data)
    return bytes(data)


@pytest.mark.parametrize("announced", [0xF0FFFFFFFFFFFFFF, 2**63 - 5000, 2**62])
def test_size_that_no_file_can_have_is_an_end_that_is_missing(tmp_path, announced):
    def change(data):
        data[28:36] = struct.pack("<Q", announced)  # of the samples

    path = tmp_path / "a.wav"
    path.write_bytes(_rf64(change))
    with decode.open_recording(str(path)) as recording:
        assert sum(len(block) for block in recording.blocks(1.0)) == 12000
    assert not recording.findings.complete


def test_codec_that_nobody_knows_is_an_error(tmp_path, sea64):
    def change(data):
        at = data.index(b"fmt ") + 8
        data[at : at + 2] = struct.pack("<H", 1000)

    path = tmp_path / "a.wav"
    path.write_bytes(_rf64(change))
    with pytest.raises(EdgeL3Error, match=r"a\.wav"):
        process_file(path, model=sea64)


def test_unwritable_output(tmp_path, sea64):
    soundfile.write(tmp_path / "a.wav", golden.audio(8000, 1, 0), 8000)
    with pytest.raises(EdgeL3Error, match=r"a\.npz: cannot be written"):
        process_file(tmp_path / "a.wav", tmp_path / "a.wav", model=sea64)
    (tmp_path / "out" / "a.npz").mkdir(parents=True)
    with pytest.raises(EdgeL3Error, match=r"a\.npz: cannot be written"):
        process_file(tmp_path / "a.wav", tmp_path / "out", model=sea64)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.npz"]


def test_unusual_audio_warns(tmp_path, sea64):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 8000)
    with pytest.warns(EdgeL3Warning) as caught:
        process_file(tmp_path / "a.wav", model=sea64)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "all zeros" in messages and "shorter" in messages and len(load(tmp_path / "a.npz")[0]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop_size": 0},
        {"hop_size": 1e-5},
        {"center": "yes"},
        {"batch_size": 0},
        {"resampler": "linear"},
        {"suffix": "a/b"},
        {"model": "sea"},
    ],
)
def test_wrong_argument(tmp_path, sea64, wrong):
    soundfile.write(tmp_path / "a.wav", golden.audio(8000, 1, 0), 8000)
    with pytest.raises(EdgeL3ArgumentError):
        process_file(tmp_path / "a.wav", **{"model": sea64, **wrong})


def test_get_output_path():
    assert get_output_path("/in/a.b.wav", ".npz") == "/in/a.b.npz"
    assert get_output_path("/in/a.wav", "s.npz", "/out") == "/out/a_s.npz"
    assert get_output_path("a.wav", ".npz") == "a.npz"


def write_m4a(path, audio, sr):
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("aac", rate=sr, layout="mono")
        frame = av.AudioFrame.from_ndarray(audio.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = sr
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_m4a(tmp_path, sea64):
    audio = golden.audio(16000, 3, 1)
    write_m4a(tmp_path / "a.m4a", audio, 16000)
    process_file(tmp_path / "a.m4a", model=sea64)
    embedding, _, metadata = load(tmp_path / "a.npz")
    assert abs(metadata["samples"] - audio.size) <= 3 * 1024  # the encoder's delay and padding
    expected, _ = get_embedding(audio, 16000, sea64, verbose=0)
    unit, expected_unit = (
        rows[:25] / np.linalg.norm(rows[:25], axis=1, keepdims=True) for rows in (embedding, expected)
    )
    assert (unit * expected_unit).sum(1).min() > 0.9  # lossy, but the same sound


def test_truncated_m4a(tmp_path, sea64):
    write_m4a(tmp_path / "a.m4a", golden.audio(16000, 6, 1), 16000)
    data = (tmp_path / "a.m4a").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # else the test would be of a file without an index
    (tmp_path / "a.m4a").write_bytes(data[: len(data) * 2 // 3])
    with pytest.warns(EdgeL3Warning, match=r"a\.m4a: .* s kept of 6\.\d+ s announced, .* lost"):
        process_file(tmp_path / "a.m4a", model=sea64)
    metadata = load(tmp_path / "a.npz")[2]
    assert 3 * 16000 < metadata["samples"] < 5 * 16000 and metadata["decoder"].startswith("libsndfile 1.")


def test_m4a_without_pyav_names_the_extra(tmp_path, sea64, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setattr(decode, "has_av", lambda: False)
    with pytest.raises(EdgeL3Error, match=r"pip install 'edgel3-onnx\[av\]'"):
        process_file(tmp_path / "a.m4a", model=sea64)
