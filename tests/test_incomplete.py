"""What a run and its records say of recordings that are not whole, and what standard input takes."""

import json
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import odd_recordings as odd
from edgel3_onnx import cli, get_embedding
from edgel3_onnx.command import corpus
from edgel3_onnx.corpora.inputs import LeftOut, find
from edgel3_onnx.outputs.inspect import read_metadata
from edgel3_onnx.recordings import decode

SR = 8000


def wav(seconds, seed=0, subtype="PCM_16", sr=SR):
    return odd.encoded(odd.signal(sr, seconds, 1, seed), sr, "WAV", subtype)


@pytest.fixture
def folder(tmp_path):
    """A whole recording, one that ends early, one with a hole, and one of which nearly nothing is left."""
    (tmp_path / "in").mkdir()
    data = odd.encoded(odd.signal(SR, 6), SR, "FLAC")
    files = {
        "whole.wav": wav(3),
        "short.wav": wav(4)[: -SR * 2],
        "hole.flac": data[: len(data) // 2] + bytes(3000) + data[len(data) // 2 + 3000 :],
        "nearly.wav": wav(4)[:9000],
    }
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path / "in"


def test_line_record_and_summary(folder, tmp_path, command):
    done = command(folder, "-o", tmp_path / "out", "--report", tmp_path / "r.jsonl")
    assert done.returncode == 1 and "3 done (2 in part), 0 skipped, 1 failed" in done.stderr
    lines = done.stderr.splitlines()
    said = "3.00 s kept of 4.00 s announced, 1.00 s lost (the end is missing)"
    assert f"edgel3-onnx: warning: {folder / 'short.wav'}: {said}" in lines
    (error,) = [line for line in lines if "error:" in line]
    assert "nearly.wav: is truncated to less than one window: 0.56 s kept of 4.00 s" in error
    records = {os.path.basename(r["path"]): r for r in map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())}
    assert records["whole.wav"]["complete"] and records["whole.wav"]["lost_seconds"] == 0
    for name in ("short.wav", "hole.flac"):
        metadata = read_metadata(tmp_path / "out" / f"{name.split('.')[0]}.npz")
        for key in ("complete", "announced_seconds", "lost_seconds", "holes", "decoder"):
            assert metadata[key] == records[name][key], (name, key)
        assert not metadata["complete"]
    assert records["short.wav"]["lost_seconds"] == 1 and records["short.wav"]["holes"] == []
    assert records["hole.flac"]["announced_seconds"] == 6 and len(records["hole.flac"]["holes"]) == 1


def test_strict(folder, tmp_path, command):
    done = command(folder, "-o", tmp_path / "out", "--strict")
    assert done.returncode == 1 and "1 done, 0 skipped, 3 failed" in done.stderr
    assert os.listdir(tmp_path / "out") == ["whole.npz"]
    assert "short.wav: is not whole: 3.00 s kept" in done.stderr


def test_partial_output_is_made_anew_when_the_decoders_change(folder, tmp_path, seeded_graph, monkeypatch):
    paths = [folder / "whole.wav", folder / "short.wav"]

    def run(has_av):
        monkeypatch.setattr(decode, "decoders_at_hand", lambda: "both" if has_av else "one")
        model = {"model_type": "sea", "emb_dim": 64, "weights": seeded_graph("sea-64")}
        summary = cli.run(paths, tmp_path / "out", existing="skip", **model)
        return summary.done, summary.in_part, summary.skipped

    assert [run(False), run(False), run(True), run(True)] == [(2, 1, 0), (0, 0, 2), (1, 1, 1), (0, 0, 2)]


def test_raw_files(tmp_path, command, sea64):
    (tmp_path / "in").mkdir()
    samples = np.round(odd.signal(SR, 2)[:, 0] * 32767).astype("<i2")
    (tmp_path / "in" / "a.raw").write_bytes(samples.tobytes())
    refused = command(tmp_path / "in" / "a.raw", "-o", tmp_path / "out")
    assert refused.returncode == 1 and "has no header: say its rate" in refused.stderr
    arguments = [tmp_path / "in", "--rate", SR, "-o", tmp_path / "out", "--skip-existing"]
    assert "1 done" in command(*arguments).stderr
    expected = get_embedding(samples, SR, sea64, verbose=0)[0]
    with np.load(tmp_path / "out" / "a.npz") as arrays:
        np.testing.assert_allclose(arrays["embedding"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert "1 skipped" in command(*arguments).stderr
    assert "1 done" in command(*arguments, "--rate", "9000").stderr  # the rate was another


class TestDirectory:
    def test_what_macos_leaves_behind(self, tmp_path):
        for name in ("R1.WAV", "._R1.WAV", ".Trashes/R0.WAV", "sub/x.mp2", "sub/x.bwf", "x.amb", "x.mpga"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(wav(1))
        left_out = LeftOut()
        found = sorted(os.path.relpath(item.path, tmp_path) for item in find([tmp_path], left_out, recursive=True))
        assert found == ["R1.WAV", os.path.join("sub", "x.bwf"), os.path.join("sub", "x.mp2"), "x.amb", "x.mpga"]
        assert list(left_out.notes()) == []

    def test_unknown_suffixes_are_counted(self, tmp_path):
        for name in ("a.wav", "b.wac", "c.txt", "a.npz", "d.raw"):
            (tmp_path / name).write_bytes(wav(1))
        (note,) = corpus.plan_run([tmp_path]).notes
        assert note.startswith("3 files are left out (") and all(name in note for name in ("b.wac", "c.txt", "d.raw"))
        (note,) = corpus.plan_run([tmp_path], "out", headerless=True).notes
        assert note.startswith("2 files are left out (")


class TestStandardInput:
    def embed(self, command, data, *args):
        done = command("-", *args, text=False, input=data)
        rows = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
        return np.array(rows, np.float32), done.stderr.decode(), done.returncode

    def assert_same(self, found, audio, sr, model, atol=1e-5):
        expected = get_embedding(audio, sr, model, verbose=0)[0]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol * np.abs(expected).max())

    def test_joined_wavs_with_chunks_all_over(self, command, sea64):
        one, two = wav(2, 1), wav(2, 2)
        big = b"LIST" + struct.pack("<I", 20_000_000) + bytes(20_000_000)
        at = one.index(b"fmt ")
        found, errors, status = self.embed(command, one[:at] + big + one[at:] + two + big)
        audio = np.concatenate([odd.signal(SR, 2, 1, 1), odd.signal(SR, 2, 1, 2)])[:, 0]
        self.assert_same(found, np.round(audio * 32767).astype(np.int16), SR, sea64, 1e-3)
        assert status == 0 and "2 recordings joined" in errors

    def test_writer_of_trailing_chunks_can_end(self, command):
        process = command.start("-", "-q", stdin=subprocess.PIPE, text=False)
        process.stdin.write(wav(2) + b"LIST" + struct.pack("<I", 3_000_000) + bytes(3_000_000))
        process.stdin.close()  # BrokenPipeError if nobody had read
        output = process.stdout.read()
        assert process.wait(timeout=60) == 0 and len(output.splitlines()) == 16
        process.stdout.close()
        process.stderr.close()

    @pytest.mark.parametrize("size", [0, 16000, 0xFFFFFFFF])
    def test_size_that_is_wrong(self, command, sea64, size):
        data = wav(3)
        at = data.index(b"data") + 4
        found, errors, status = self.embed(command, data[:at] + struct.pack("<I", size) + data[at + 4 :])
        assert status == 0 and len(found) == 26
        assert ("its header says" in errors) == (size != 0xFFFFFFFF)
        strict = self.embed(command, data[:at] + struct.pack("<I", size) + data[at + 4 :], "--strict")
        assert strict[2] == (1 if size != 0xFFFFFFFF else 0)

    def test_24_bits_in_4_bytes(self, command, sea64):
        samples = np.round(odd.signal(SR, 2)[:, 0] * 2**23).astype("<i4")
        fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SR, SR * 4, 4, 24)
        head = b"RIFF\0\0\0\0WAVE" + fmt + b"data" + struct.pack("<I", samples.nbytes)
        self.assert_same(self.embed(command, head + samples.tobytes())[0], samples / 2**23, SR, sea64)

    @pytest.mark.parametrize(("format", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
    def test_compressed(self, command, sea64, tmp_path, format, subtype):
        (tmp_path / "a").write_bytes(odd.encoded(odd.signal(16000, 3), 16000, format, subtype))
        found, errors, status = self.embed(command, (tmp_path / "a").read_bytes())
        audio, sr, _ = odd.read(tmp_path / "a")
        assert status == 0 and errors == ""
        self.assert_same(found[:24], audio, sr, sea64) if len(found) == 24 else self.assert_prefix(
            found, audio, sr, sea64
        )

    def assert_prefix(self, found, audio, sr, model):
        """MP3 keeps the encoder's padding, since nobody knows yet that it is the end."""
        expected = get_embedding(audio, sr, model, verbose=0)[0]
        count = len(expected) - 11
        assert len(expected) <= len(found) <= len(expected) + 2
        np.testing.assert_allclose(found[:count], expected[:count], rtol=0, atol=1e-5 * np.abs(expected).max())

    @pytest.mark.parametrize("suffix", ["flac", "webm", "aac"])
    def test_through_pyav(self, command, sea64, tmp_path, suffix):
        pytest.importorskip("av")
        if suffix == "flac":
            (tmp_path / "a.flac").write_bytes(odd.encoded(odd.signal(48000, 3), 48000, "FLAC"))
        else:
            codec = "libopus" if suffix == "webm" else "aac"
            odd.encoded_with_av(tmp_path / f"a.{suffix}", odd.signal(48000, 3)[:, 0], 48000, codec)
        found, errors, status = self.embed(command, (tmp_path / f"a.{suffix}").read_bytes())
        audio, sr, _ = odd.read(tmp_path / f"a.{suffix}")
        assert status == 0 and errors == "", errors
        self.assert_prefix(found, audio, sr, sea64)

    def test_nan_is_reported_by_its_time(self, command):
        audio = odd.signal(SR, 3)
        audio[17000] = np.nan
        _, errors, status = self.embed(command, odd.encoded(audio, SR, "WAV", "FLOAT"))
        assert status == 1 and "NaN" in errors and "counted from" in errors and "Traceback" not in errors

    def test_saved_in_part(self, command, tmp_path):
        done = command("-", "--format", "npz", "-o", tmp_path, text=False, input=wav(4)[: -SR * 2])
        assert done.returncode == 0 and b"3.00 s kept of 4.00 s announced" in done.stderr
        metadata = read_metadata(tmp_path / "stdin.npz")
        assert metadata["lost_seconds"] == 1 and not metadata["complete"]
        done = command("-", "--format", "npz", "-o", tmp_path / "s", "--strict", text=False, input=wav(4)[: -SR * 2])
        assert done.returncode == 1 and not (tmp_path / "s").exists()


def test_a_damaged_frame_of_too_many_channels(tmp_path, command):
    """PyAV reads beyond the list of where channels lie, and may take the process with it; libsndfile reads no AAC."""
    pytest.importorskip("av")
    done = command(Path(__file__).parent / "data" / "damaged_channels.aac", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_metadata(str(tmp_path / "damaged_channels.npz"))
    assert found["samples"] == 6 * 1024 and found["sample_rate"] == 16000
    assert found["holes"] == [[pytest.approx(0.128), pytest.approx(0.064)]]


@pytest.mark.parametrize(("suffix", "codec", "format"), [("m4a", "aac", "mp4"), ("mka", "pcm_s16le", "matroska")])
def test_tags_that_are_no_utf8_do_not_matter(tmp_path, suffix, codec, format, command):
    """As old programs wrote them; nor does a name that is none, nor where it comes through a pipe."""
    pytest.importorskip("av")
    path = tmp_path / f"a.{suffix}"
    odd.encoded_with_av(path, odd.signal(SR, 2), SR, codec, format, title="A title")
    data = path.read_bytes()
    expected, _, _ = odd.read(path)
    assert data.count(b"A title") == 1
    changed = data.replace(b"A title", b"\xe9 title")
    for name in (path, tmp_path / os.fsdecode(f"b\xe9.{suffix}".encode("latin-1"))):
        name.write_bytes(changed)
        audio, _, findings = odd.read(name)
        np.testing.assert_array_equal(audio, expected)
        assert findings.complete
    if suffix == "mka":  # an m4a has what is needed to read it at its end
        done = command("-", input=changed, text=False)
        assert done.returncode == 0 and done.stdout.count(b"\n") == 16, done.stderr


@pytest.mark.parametrize("content", [b"nothing " * 500, b"x" * 5])
def test_standard_input_that_is_no_audio(command, content):
    pytest.importorskip("av")
    done = command("-", input=content, text=False)
    said = done.stderr.decode().splitlines()
    assert done.returncode == 1 and len(said) == 1 and not done.stdout
    assert said[0].startswith("edgel3-onnx: error: standard input is nothing that libsndfile or FFmpeg reads (")
