"""The command line as people type it."""

import contextlib
import io
import json
import shlex
import signal
import struct
import time

import numpy as np
import pytest
import soundfile

import golden
from conftest import posix_only
from edgel3_onnx import __version__, get_embedding
from edgel3_onnx.cli import main
from edgel3_onnx.command.arguments import parse_arguments, with_packaged_model

PUBLISHED = "https://github.com/ksangeeta2429/edgel3/raw/models"


@pytest.fixture
def recording(tmp_path):
    audio = golden.audio(44100, 2.3, 1).astype(np.float32)
    soundfile.write(tmp_path / "street.flac", audio, 44100)
    return tmp_path / "street.flac"


def parse_lines(text):
    lines = [json.loads(line) for line in text.splitlines()]
    return np.array([line["embedding"] for line in lines], np.float32), [line["timestamp"] for line in lines]


def assert_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_main_job(recording, command, sea64):
    done = command(recording)
    assert done.returncode == 0 and done.stdout == "" and "1 done, 0 skipped, 0 failed" in done.stderr
    audio, sr = soundfile.read(recording, dtype="float32")
    expected, timestamps = get_embedding(audio, sr, sea64, verbose=0)
    with np.load(recording.with_suffix(".npz")) as arrays:
        assert_close(arrays["embedding"], expected)
        np.testing.assert_array_equal(arrays["timestamps"], timestamps)


def test_published_flags(recording, command, tmp_path, sea64):
    for flags in (["-o", "out", "-x", "s", "-n", "-t", "0.5", "-q"], ["--output-dir", "out", "--suffix", "s"]):
        long = ["--no-centering", "--hop-size", "0.5", "--quiet"] if "-x" not in flags else []
        done = command(recording.name, *flags, *long, "--retrain-type", "ft", "-sp", "95.45", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        audio, sr = soundfile.read(recording, dtype="float32")
        with np.load(tmp_path / "out" / "street_s.npz") as arrays:
            assert_close(arrays["embedding"], get_embedding(audio, sr, sea64, center=False, hop_size=0.5, verbose=0)[0])
        (tmp_path / "out" / "street_s.npz").unlink()


def test_defaults_are_the_published_ones():
    args = parse_arguments(["x.wav"])
    assert (args.model_type, args.emb_dim, args.retrain_type, args.model_sparsity) == ("sparse", 128, "ft", 95.45)
    assert (args.no_centering, args.hop_size, args.output_dir, args.suffix, args.quiet) == (
        False,
        0.1,
        None,
        None,
        False,
    )
    assert (args.provider, args.resampler, args.precision, args.jobs) == ("cpu", "kaiser_best", "fp32", 1)


def test_help_and_version(command):
    done = command("--help", with_model=False)
    assert done.returncode == 0 and done.stderr == ""
    flags = (
        "--output --output-dir -o --suffix -x --model-type -mtype --emb-dim -e --retrain-type --model-sparsity -sp "
        "--no-centering -n --hop-size -t --quiet -q --provider --weights --precision --batch-size --threads "
        "--resampler --provider-option --version --list-models --fetch --doctor --inspect --recursive "
        "--jobs --skip-existing --overwrite --dry-run --report --format --rate --pcm"
    )
    words = done.stdout.replace(",", " ").split()
    assert [flag for flag in flags.split() if flag not in words] == []
    assert command("--version", with_model=False).stdout == f"edgel3-onnx {__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give files"),
        (["x.wav", "--hop-size", "0"], "positive number"),
        (["x.wav", "--hop-size", "1e-6"], "at least one sample"),
        (["x.wav", "--jobs", "0"], "positive whole number"),
        (["x.wav", "--batch-size", "-1"], "positive whole number"),
        (["x.wav", "--model-type", "vgg"], "invalid choice"),
        (["x.wav", "--model-type", "sea", "--emb-dim", "100"], "emb_dim of a sea model must be one of"),
        (["x.wav", "--model-sparsity", "50"], "sparsity of a sparse model must be one of"),
        (["x.wav", "--provider", "abacus"], "provider must be one of"),
        (["x.wav", "--provider-option", "a"], "KEY=VALUE"),
        (["x.wav", "--skip-existing", "--overwrite"], "not allowed with"),
        (["x.wav", "--format", "parquet"], "--output"),
        (["x.raw", "--pcm", "s16le"], "--rate"),
        (["x.wav", "-"], "goes alone"),
        (["-", "--pcm", "s16le"], "--rate"),
        (["-", "--format", "parquet", "-o", "x"], "npz or npy"),
        (["x.wav", "--doctor"], "go alone"),
        (["x.wav", "--suffix", "a/b"], "suffix"),
        (["-", "-o", "x"], "--output has no effect with lines on standard output: add --format npz or npy"),
        (["-", "--suffix", "x"], "--suffix has no effect with lines"),
        (["-", "--report", "x"], "--report has no effect with standard input"),
        (["-", "--jobs", "2"], "--jobs has no effect with standard input"),
        (["-", "--skip-existing"], "has no effect with standard input"),
        (["-", "--format", "npz", "--dry-run"], "--dry-run has no effect with standard input"),
        (["--doctor", "--format", "npy"], "--format has no effect with --doctor"),
        (["--fetch", "sea-64", "--jobs", "2"], "--jobs has no effect with --fetch"),
        (["--list-models", "-r"], "--recursive has no effect with --list-models"),
        (["--inspect", "x.npz", "--provider", "cuda"], "--provider has no effect with --inspect"),
        (["x.wav", "--format", "parquet", "-o", "y", "-x", "s"], "--suffix has no effect with a parquet dataset"),
        (["x.wav", "--re"], "ambiguous option"),
        (["x.wav", "--weights", "no.h5"], "no.h5"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(args)
    except SystemExit as stop:  # argparse's way
        status = stop.code
    printed = capsys.readouterr()
    assert status == 2 and message in printed.err and printed.out == ""
    assert not list(tmp_path.iterdir())


def test_model_that_cannot_be_had(command, recording):
    done = command(recording, "--model-type", "sea", "--emb-dim", "256", with_model=False)
    assert done.returncode == 1 and "sea-256" in done.stderr and "EDGEL3_ONNX_MIRROR" in done.stderr
    assert "Traceback" not in done.stderr
    parallel = command(recording.parent, recording.parent / "b.wav", "--jobs", 2, "--emb-dim", "256", with_model=False)
    assert parallel.returncode == 1 and "EDGEL3_ONNX_MIRROR" in parallel.stderr and "Traceback" not in parallel.stderr


@posix_only
def test_weights_that_cannot_be_had_name_a_command_that_works(command, recording, monkeypatch):
    monkeypatch.delenv("EDGEL3_ONNX_OFFLINE")
    monkeypatch.setenv("EDGEL3_ONNX_MIRROR", "http://mirror.invalid")
    folder = recording.parent / "a folder"
    arguments = [recording, "--provider", "cpu", "--emb-dim=64", "--model-type", "sea", "-o", folder]
    done = command(*arguments, with_model=False)
    lines = done.stderr.splitlines()
    file = "edgel3_sea_ust_audio_emb_64.h5.gz"
    assert done.returncode == 1 and "Traceback" not in done.stderr and "0 done" not in done.stderr
    assert lines[0] == f"edgel3-onnx: fetching http://mirror.invalid/{file}"
    assert lines[3].startswith(f"  http://mirror.invalid/{file}: ")
    assert lines[4] == f"  {PUBLISHED}/{file}: not tried, because EDGEL3_ONNX_MIRROR is set"
    typed = shlex.split(lines[7])
    assert typed == ["edgel3-onnx", str(recording), "--provider", "cpu", "-o", str(folder), "--model-type", "micro"]
    assert command(*typed[1:], with_model=False).returncode == 0 and (folder / "street.npz").exists()
    parallel = command(recording.parent / "b.wav", *arguments, "--jobs", 2, "--quiet", with_model=False)
    assert parallel.stderr.startswith("edgel3-onnx: error: Cannot get the weights of sea-64")
    assert "0 done" not in parallel.stderr
    assert not command("--fetch", "sea-64", "--quiet", with_model=False).stderr.startswith("edgel3-onnx: fetching")


@posix_only  # quotes are others on Windows
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("a.wav", "edgel3-onnx a.wav --model-type micro"),
        ("-sp 81.0 -- -a.wav", "edgel3-onnx --model-type micro -- -a.wav"),
        ("a.wav -retrain kd --provider native", "edgel3-onnx a.wav --provider native --model-type micro"),
        ("'a b.wav' --provider cpu", "edgel3-onnx 'a b.wav' --provider cpu --model-type micro"),
    ],
)
def test_command_for_the_packaged_model(argv, expected):
    assert with_packaged_model(shlex.split(argv)) == expected
    assert parse_arguments(shlex.split(expected)[1:]).model_type == "micro"


def test_provider_that_does_not_load_ends_a_run_that_never_began(command, recording):
    for jobs in ("1", "2"):
        done = command(recording, recording.parent / "b.wav", "--jobs", jobs, "--provider", "cuda")
        assert done.returncode == 1 and "cuda" in done.stderr and "0 done" not in done.stderr


def test_bad_files_are_one_line_each(command, recording, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    done = command(recording, tmp_path / "bad.wav", tmp_path / "no\nsuch.wav", "-q")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 2
    assert recording.with_suffix(".npz").exists()


def test_inspect(command, recording):
    command(recording)
    done = command("--inspect", recording.with_suffix(".npz"), with_model=False)
    metadata = json.loads(done.stdout)
    assert done.returncode == 0 and metadata["source"] == "street.flac" and metadata["windows"] == 19
    bad = command("--inspect", recording, with_model=False)
    assert bad.returncode == 1 and "is no output of edgel3-onnx" in bad.stderr and "Traceback" not in bad.stderr


def test_dry_run_writes_nothing(command, recording, tmp_path):
    (tmp_path / "report.jsonl").unlink(missing_ok=True)
    done = command(recording, tmp_path / "x.wav", "--dry-run", "--weights", "absent.h5", "-o", tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{recording} -> {tmp_path / 'out' / 'street.npz'}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["street.flac"]


class TestStandardInput:
    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
    def test_wav(self, command, sea64, subtype):
        audio = np.stack([golden.audio(16000, 1.7, k) for k in (1, 2)], axis=1) * 0.5
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, 16000, format="WAV", subtype=subtype)
        # Chunks before and after the samples, as recorders write them, and a length that is not known.
        data = buffer.getvalue()
        at = data.index(b"data")
        extra = b"LIST" + struct.pack("<I", 5) + b"abcde\0"
        data = data[:at] + extra + data[at:]
        if subtype == "PCM_16":
            at = data.index(b"data") + 4
            data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
        else:
            data += extra
        done = command("-", text=False, input=data)
        assert done.returncode == 0, done.stderr
        buffer.seek(0)
        expected, timestamps = get_embedding(soundfile.read(buffer, dtype="float32")[0], 16000, sea64, verbose=0)
        embedding, found_timestamps = parse_lines(done.stdout.decode())
        assert_close(embedding, expected)
        assert found_timestamps == timestamps.tolist()

    @pytest.mark.parametrize(("pcm", "scale", "dtype"), [("s16le", 32767, "<i2"), ("f32le", 1, "<f4")])
    def test_raw(self, command, sea64, pcm, scale, dtype):
        data = (golden.audio(11025, 1.5, 1) * scale).astype(dtype)
        done = command("-", "--rate", "11025", "--pcm", pcm, text=False, input=data.tobytes() + b"x")
        assert done.returncode == 0, done.stderr
        assert_close(parse_lines(done.stdout.decode())[0], get_embedding(data, 11025, sea64, verbose=0)[0])

    @pytest.mark.parametrize("format", ["npz", "npy"])
    def test_saved_at_the_end(self, command, recording, tmp_path, sea64, format):
        audio, sr = soundfile.read(recording, dtype="int16")
        args = ["-", "--rate", str(sr), "--format", format, "-o", tmp_path / "out"]
        done = command(*args, text=False, input=audio.tobytes())
        assert done.returncode == 0 and done.stdout == b""
        output = tmp_path / "out" / f"stdin.{format}"
        found = np.load(output)["embedding"] if format == "npz" else np.load(output)
        assert_close(found, get_embedding(audio, sr, sea64, verbose=0)[0])
        assert json.loads(command("--inspect", output, with_model=False).stdout)["samples"] == audio.size

    def test_an_error_leaves_no_output(self, command, tmp_path):
        samples = golden.audio(8000, 3, 1).astype("<f4")
        samples[20_000] = np.nan
        args = ["-", "--rate", "8000", "--pcm", "f32le", "--format", "npz", "-o", tmp_path / "out"]
        done = command(*args, text=False, input=samples.tobytes())
        assert done.returncode == 1 and b"Traceback" not in done.stderr
        (line,) = done.stderr.decode().splitlines()
        assert "standard input: audio has 1 NaN or infinite samples" in line and "(counted from " in line
        assert not (tmp_path / "out").exists()

    def test_lines_come_as_the_audio_does(self, command, recording):
        audio = (golden.audio(8000, 4, 1) * 32767).astype("<i2").tobytes()
        process = command.start("-", "--rate", "8000", stdin=-1, text=False)
        process.stdin.write(audio[:26000])  # 1.625 s: windows centred on 0 to 1.1 s are whole
        process.stdin.flush()
        lines = [json.loads(process.stdout.readline()) for _ in range(12)]
        assert lines[-1]["timestamp"] == pytest.approx(1.1)
        assert [line["start_sample"] for line in lines] == [800 * k - 4000 for k in range(12)]
        rest, errors = process.communicate(audio[26000:], timeout=30)
        assert len(rest.splitlines()) == 36 - 12 and process.returncode == 0, errors

    @posix_only
    def test_interrupted_recording_is_kept(self, command, tmp_path):
        audio = (golden.audio(8000, 3, 1) * 32767).astype("<i2").tobytes()
        process = command.start("-", "--rate", "8000", "--format", "npz", "-o", tmp_path, stdin=-1, text=False)
        process.stdin.write(audio)
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while unread(process.stdin):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130 and b"Traceback" not in errors
        with np.load(tmp_path / "stdin.npz") as arrays:
            assert len(arrays["embedding"]) == 26

    @posix_only
    def test_timestamps_that_drift_are_one_line(self, command, tmp_path):
        """A hop of 1.9 samples, of which 1 is taken."""
        args = ["-", "--rate", "8000", "-n", "-t", str(1.9 / 8000), "--format", "npz", "-o", tmp_path]
        data = (golden.audio(8000, 1.0005, 1) * 32767).astype("<i2").tobytes()
        done = command(*args, text=False, input=data)
        (line,) = done.stderr.decode().splitlines()
        assert done.returncode == 0 and line.startswith("edgel3-onnx: warning: standard input: timestamps are")
        assert command(*args, "-q", text=False, input=data).stderr == b""

    def test_reader_that_stops_early(self, command):
        audio = (golden.audio(8000, 9, 1) * 32767).astype("<i2").tobytes()
        process = command.start("-", "--rate", "8000", stdin=-1, text=False)
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # it may be gone already
            process.stdin.write(audio)
            process.stdin.close()
        process.wait(timeout=30)
        errors = process.stderr.read()
        process.stderr.close()
        assert process.returncode == 1 and errors == b""

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "no samples"),
            (b"not audio at all", "--rate HZ"),
            (b"RIFF\0\0\0\0WAVE", "no samples"),
            (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "does not say"),
            (
                b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 85, 1, 8000, 0, 0, 0) + b"data\0\0\0\0",
                "not supported",
            ),
        ],
    )
    def test_bad_input(self, command, data, message):
        done = command("-", text=False, input=data)
        assert done.returncode in (1, 2) and message in done.stderr.decode() and b"Traceback" not in done.stderr

    def test_wav_that_ends_early(self, command, recording, tmp_path):
        audio, sr = soundfile.read(recording)
        soundfile.write(tmp_path / "a.wav", audio, sr)
        data = (tmp_path / "a.wav").read_bytes()
        done = command("-", text=False, input=data[: len(data) // 2])
        assert done.returncode == 0 and b"warning: standard input: 1.15 s kept of 2.30 s announced" in done.stderr
        assert len(done.stdout.splitlines()) == 8
        strict = command("-", "--strict", text=False, input=data[: len(data) // 2])
        assert strict.returncode == 1 and b"error: standard input is not whole: 1.15 s kept" in strict.stderr


def unread(pipe):
    """Bytes in a pipe that its reader has not taken."""
    import fcntl
    import termios

    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return count


def test_module_is_the_command_too(command):
    assert command(with_model=False).returncode == 2


def test_auto_says_what_it_runs_on(command, tmp_path):
    soundfile.write(tmp_path / "clip.wav", golden.audio(8000, 1.5, 11), 8000)
    done = command(tmp_path / "clip.wav", "--provider", "auto")
    assert done.returncode == 0 and "edgel3-onnx: provider auto: running on " in done.stderr
    assert "provider auto" not in command(tmp_path / "clip.wav", "--provider", "auto", "--quiet").stderr
