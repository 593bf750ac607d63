"""Channels: each embedded as a mono file would be, or their mean as ever."""

import re

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgel3_onnx import cli, get_embedding, process_file
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.outputs.inspect import read_metadata

FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUIET = {"verbose": 0, "hop_size": 0.25}


def signal(rate, channels, dtype="float32", seconds=2):
    noise = 0.1 * np.random.default_rng(channels).standard_normal((int(rate * seconds), channels))
    return noise.astype(dtype) if np.dtype(dtype).kind == "f" else (noise * np.iinfo(dtype).max).astype(dtype)


def load(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@given(
    rate=st.sampled_from([8000, 22050]),
    count=st.integers(1, 5),
    dtype=st.sampled_from(["float32", "float64", "int16", "int32"]),
    data=st.data(),
)
@FEW
def test_channels_of_an_array(rate, count, dtype, data, sea64):
    audio = signal(rate, count, dtype)
    each, timestamps = get_embedding(audio, rate, sea64, channels="each", **QUIET)
    alone = [get_embedding(audio[:, k], rate, sea64, **QUIET) for k in range(count)]
    assert each.shape == (count, len(timestamps), 64)
    np.testing.assert_array_equal(each, [embedding for embedding, _ in alone])
    np.testing.assert_array_equal(timestamps, alone[0][1])
    chosen = data.draw(st.lists(st.integers(1, count), min_size=1, unique=True))
    some, _ = get_embedding(audio, rate, sea64, channels=chosen, **QUIET)
    np.testing.assert_array_equal(some, each[[number - 1 for number in chosen]])
    one, _ = get_embedding(audio, rate, sea64, channels=chosen[0], **QUIET)
    np.testing.assert_array_equal(one, each[chosen[0] - 1])


@given(
    rate=st.sampled_from([8000, 22050]),
    count=st.integers(1, 4),
    name=st.sampled_from(["wav", "flac"]),
    batch_size=st.integers(1, 40),
    pool=st.sampled_from(["none", "max"]),
)
@FEW
def test_channels_of_a_file_are_mono_files(rate, count, name, batch_size, pool, sea64, tmp_path):
    audio = signal(rate, count, "int16")
    soundfile.write(tmp_path / f"all.{name}", audio, rate)
    arguments = {"model": sea64, "hop_size": 0.25, "verbose": False, "pool": pool}
    process_file(tmp_path / f"all.{name}", channels="each", batch_size=batch_size, **arguments)
    found = load(tmp_path / "all.npz")
    assert found["channel"].dtype == np.int16
    assert np.unique(found["channel"]).tolist() == list(range(1, count + 1))
    for number in range(1, count + 1):
        soundfile.write(tmp_path / f"one.{name}", audio[:, number - 1], rate)
        process_file(tmp_path / f"one.{name}", **arguments)
        one = load(tmp_path / "one.npz")
        rows = found["channel"] == number
        for column in ("embedding", "timestamps", "start_sample"):
            np.testing.assert_array_equal(found[column][rows], one[column])


def test_the_mean_is_the_default_and_its_output_is_as_it_was(sea64, tmp_path):
    audio = signal(8000, 2, "int16")
    soundfile.write(tmp_path / "a.wav", audio, 8000)
    process_file(tmp_path / "a.wav", model=sea64, hop_size=0.25, verbose=False)
    found = load(tmp_path / "a.npz")
    assert set(found) == {"embedding", "timestamps", "start_sample", "metadata"}
    mean = audio.astype(np.float64).mean(axis=1) / 2**15
    expected, _ = get_embedding(mean.astype(np.float32), 8000, sea64, **QUIET)
    np.testing.assert_array_equal(found["embedding"], expected)
    assert read_metadata(tmp_path / "a.npz")["channels"] == "mix"


def test_a_channel_that_is_not_there(sea64, tmp_path):
    soundfile.write(tmp_path / "a.wav", signal(8000, 2), 8000)
    with pytest.raises(EdgeL3Error, match=r"a\.wav: has 2 channels, and channel 3 is asked for"):
        process_file(tmp_path / "a.wav", model=sea64, channels="1,3", verbose=False)
    assert not (tmp_path / "a.npz").exists()
    with pytest.raises(EdgeL3ArgumentError, match="audio has 1 channel, and channel 2 is asked for"):
        get_embedding(signal(8000, 1)[:, 0], 8000, sea64, channels=2, **QUIET)


@pytest.mark.parametrize("channels", ["", "0", "1,1", "left", "1,", [], [0], [1, 1], 0, -1, True, 1.5, None, "99999"])
def test_what_is_no_choice_of_channels(channels, sea64):
    said = f"channels must be mix, each, or different numbers of channels from 1, such as 1,3, got {channels!r}"
    with pytest.raises(EdgeL3ArgumentError, match=re.escape(said)):
        get_embedding(signal(8000, 2), 8000, sea64, channels=channels, **QUIET)


def test_on_the_command_line(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", signal(8000, 3), 8000)
    assert cli.main([str(tmp_path / "a.wav"), "--model-type", "micro", "--channels", "3,1"]) == 0
    assert list(dict.fromkeys(load(tmp_path / "a.npz")["channel"].tolist())) == [3, 1]
    with pytest.raises(SystemExit):
        cli.main([str(tmp_path / "a.wav"), "--channels", "left"])
    assert "channels must be mix, each, or different numbers" in capsys.readouterr().err


def test_in_a_dataset(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    soundfile.write(tmp_path / "a.wav", signal(8000, 2), 8000)
    arguments = ["--model-type", "micro", "--format", "parquet", "--output", str(tmp_path / "d")]
    assert cli.main([str(tmp_path / "a.wav"), *arguments, "--channels", "each", "--pool", "mean+std"]) == 0
    table = parquet.read_table(tmp_path / "d")
    assert table["channel"].to_pylist() == [1, 2]
    assert len(table["embedding"][0].as_py()) == 128
    assert table["start"].to_pylist() == [0, 0] and table["end"].to_pylist() == [2, 2]


@pytest.mark.parametrize("pool", ["none", "mean"])
def test_zeros_for_what_is_lost_have_all_channels(pool, sea64, tmp_path):
    """A hole of a FLAC is filled with a single channel of zeros."""
    soundfile.write(tmp_path / "whole.flac", signal(8000, 2, seconds=8), 8000)
    data = (tmp_path / "whole.flac").read_bytes()
    begin = len(data) // 2
    (tmp_path / "a.flac").write_bytes(data[:begin] + bytes(9000) + data[begin + 9000 :])
    with pytest.warns(match="damaged, zeros for"):
        process_file(tmp_path / "a.flac", model=sea64, channels="each", hop_size=0.5, pool=pool, verbose=False)
    found = load(tmp_path / "a.npz")
    counts = [int((found["channel"] == number).sum()) for number in (1, 2)]
    assert counts[0] == counts[1] == (1 if pool == "mean" else 16)
