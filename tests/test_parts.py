"""Parts of recordings: the rows that the same windows have in the whole recording, to the last bit."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgel3_onnx import cli, get_embedding, process_file
from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, EdgeL3Warning
from edgel3_onnx.frontend import Resampler, resample
from edgel3_onnx.labels import Region, write_audacity, write_csv, write_raven
from edgel3_onnx.outputs.inspect import read_metadata
from edgel3_onnx.recordings import decode, sndfile

SECONDS = 6
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FORMATS = {"wav": "PCM_16", "flac": "PCM_24", "aiff": "FLOAT", "w64": "ULAW", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
offsets = st.floats(0.001, SECONDS - 0.01)
durations = st.none() | st.floats(0.001, SECONDS)


def signal(rate, seconds=SECONDS, channels=2):
    rng = np.random.default_rng(3)
    return (0.1 * rng.standard_normal((int(rate * seconds), channels))).astype(np.float32)


def expected_windows(total, offset, duration, hop_length, rate, length):
    """Numbers of the windows of a part, by their definition: one after another."""
    end = length if duration is None else min(offset + duration, length)
    begin, stop = round(offset * rate), round(end * rate)
    there = [k for k in range(total) if k * hop_length < int(length * rate)]  # a long hop may end behind the recording
    inside = [k for k in there if begin <= k * hop_length < stop]
    middle = (begin + stop) / 2
    return inside or [min(there, key=lambda k: (abs(k * hop_length - middle), -k))]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A function from a rate and a format to a recording of noise."""
    folder = tmp_path_factory.mktemp("recordings")

    def make(rate: int, name: str) -> Path:
        path = folder / f"{rate}.{name}"
        if not path.exists():
            soundfile.write(path, signal(rate), rate, subtype=FORMATS[name])
        return path

    return make


def load(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@given(
    rate=st.sampled_from([8000, 16000, 22050, 44100, 11025.5]),
    offset=offsets,
    duration=durations,
    hop_size=st.sampled_from([0.1, 0.25, 0.3333, 1.7]),
    center=st.booleans(),
)
@FEW
def test_a_part_of_an_array_has_the_rows_of_the_whole(rate, offset, duration, hop_size, center, sea64):
    arguments = {"center": center, "hop_size": hop_size, "verbose": 0}
    audio = signal(rate)
    whole, timestamps = get_embedding(audio, rate, sea64, **arguments)
    part, times = get_embedding(audio, rate, sea64, **arguments, offset=offset, duration=duration)
    wanted = expected_windows(len(whole), offset, duration, int(hop_size * 8000), 8000, len(audio) / rate)
    np.testing.assert_array_equal(times, timestamps[wanted])
    np.testing.assert_array_equal(part, whole[wanted])


@given(
    rate=st.sampled_from([8000, 22050, 48000]),
    name=st.sampled_from(sorted(FORMATS)),
    offset=offsets,
    duration=durations,
    center=st.booleans(),
    channels=st.sampled_from(["mix", "each", "2"]),
    resampler=st.sampled_from(["kaiser_best", "soxr"]),
    batch_size=st.sampled_from([3, 32]),
)
@FEW
def test_a_part_of_a_file_has_the_rows_of_the_whole(
    rate, name, offset, duration, center, channels, resampler, batch_size, sea64, recordings, tmp_path
):
    path = recordings(rate, name)
    arguments = {"model": sea64, "center": center, "hop_size": 0.25, "channels": channels, "resampler": resampler}
    process_file(path, tmp_path, "whole", **arguments, verbose=False)
    process_file(
        path, tmp_path, "part", **arguments, verbose=False, offset=offset, duration=duration, batch_size=batch_size
    )
    whole, part = load(tmp_path / f"{path.stem}_whole.npz"), load(tmp_path / f"{path.stem}_part.npz")
    count = 2 if channels == "each" else 1
    total = len(whole["timestamps"]) // count
    length = read_metadata(tmp_path / f"{path.stem}_whole.npz")["samples"] / rate
    one = expected_windows(total, offset, duration, 2000, 8000, length)
    wanted = np.concatenate([np.array(one) + k * total for k in range(count)])
    for column in ("embedding", "timestamps", "start_sample"):
        np.testing.assert_array_equal(part[column], whole[column][wanted])
    np.testing.assert_array_equal(part["start"], part["start_sample"] / 8000)
    np.testing.assert_array_equal(part["end"], part["start"] + 1)
    assert ("channel" in part) == (channels != "mix")


@given(
    rate=st.sampled_from([8000, 22050]),
    name=st.sampled_from(["wav", "ogg"]),
    offset=st.floats(0, SECONDS - 0.6),
    duration=st.floats(0.5, SECONDS),
    center=st.booleans(),
)
@FEW
@pytest.mark.filterwarnings("ignore:Provided audio is shorter")
def test_a_part_that_is_cut_is_a_file_of_its_own(rate, name, offset, duration, center, sea64, recordings, tmp_path):
    path = recordings(rate, name)
    audio, _ = soundfile.read(path, dtype="float32")
    begin, end = round(offset * rate), round(min(offset + duration, len(audio) / rate) * rate)
    arguments = {"center": center, "hop_size": 0.25}
    process_file(path, tmp_path, None, sea64, **arguments, verbose=False, offset=offset, duration=duration, edges="cut")
    found = load(tmp_path / f"{path.stem}.npz")
    own, timestamps = get_embedding(audio[begin:end], rate, sea64, **arguments, verbose=0)
    np.testing.assert_array_equal(found["embedding"], own)
    np.testing.assert_allclose(found["timestamps"], timestamps + begin / rate, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["start"], timestamps + begin / rate - center / 2, rtol=0, atol=1e-9)
    again, _ = get_embedding(audio, rate, sea64, **arguments, verbose=0, offset=offset, duration=duration, edges="cut")
    np.testing.assert_array_equal(again, own)


@pytest.mark.filterwarnings("ignore:.* ends behind the recording:edgel3_onnx.EdgeL3Warning")
@given(data=st.data(), edges=st.sampled_from(["context", "cut"]), pool=st.sampled_from(["none", "mean"]))
@FEW
def test_regions_overlap_as_they_like(data, edges, pool, sea64, recordings, tmp_path):
    path = recordings(22050, "flac")
    starts = data.draw(st.lists(st.floats(0, 5), min_size=1, max_size=6))
    regions = [Region(None, start, start + data.draw(st.floats(0.01, 2)), f"n{k}") for k, start in enumerate(starts)]
    arguments = {"model": sea64, "hop_size": 0.25, "verbose": False, "edges": edges, "pool": pool}
    process_file(path, tmp_path, "all", regions=regions, **arguments)
    found = load(tmp_path / f"{path.stem}_all.npz")
    expected = []
    for region in regions:
        process_file(path, tmp_path, "one", **arguments, offset=region.start, duration=region.end - region.start)
        rows = load(tmp_path / f"{path.stem}_one.npz")
        expected.append({**rows, "label": np.array([region.label] * len(rows["embedding"]))})
    for column in ("embedding", "timestamps", "start_sample", "label"):
        np.testing.assert_array_equal(found[column], np.concatenate([rows[column] for rows in expected]))


@given(
    rates=st.sampled_from([(44100, 8000), (8000, 44100), (11025.7, 8000), (48000, 8000), (7999, 8000)]),
    start=st.integers(0, 9000),
    count=st.integers(1, 3000),
)
@FEW
def test_the_resampler_starts_anywhere_to_the_last_bit(rates, start, count):
    audio = signal(50000, 1, 1)[:, 0]
    whole = resample(audio, *rates)
    start, stop = min(start, len(whole) - 1), min(start + count, len(whole))
    resampler = Resampler(*rates, start=start)
    assert resampler.first_output == start
    end = resampler.inputs_for(stop)
    part = resampler.push(audio[resampler.first_input : end])
    if end >= len(audio):
        part = np.concatenate([part, resampler.flush()])
    np.testing.assert_array_equal(part[: stop - start], whole[start:stop])


@pytest.mark.parametrize("rates", [(44100, 8000), (44100, 48000), (11025.7, 8000), (8001, 8000)])
def test_the_time_of_a_late_output_is_the_sum_that_resampy_keeps(rates):
    count = 1_000_000  # of which the last reads inputs that the sum places
    increment = 1 / (rates[1] / rates[0])
    times = np.add.accumulate(np.full(count, increment))
    for at in (0, 1, 1000, 524_287, count - 1):
        resampler = Resampler(*rates, start=at + 1)
        near = Resampler(*rates).inputs_for(at + 2) - Resampler(*rates).inputs_for(1)
        assert near == int(times[at])
        assert resampler.first_input <= int(times[at]) < resampler.first_input + 2 * Resampler(*rates).inputs_for(1)


def test_seeking_passes_over_what_lies_between(tmp_path, monkeypatch, sea64):
    rate, decoded = 8000, []
    blocks = sndfile.blocks

    def counted(sound, part, seconds, begin=0):
        for block in blocks(sound, part, seconds, begin):
            decoded.append(len(block))
            yield block

    monkeypatch.setattr(sndfile, "blocks", counted)
    regions = [Region(None, 1, 3), Region(None, 2, 4), Region(None, 50, 52)]
    for name in ("wav", "flac", "ogg"):
        soundfile.write(tmp_path / f"a.{name}", signal(rate, 60), rate)
        decoded.clear()
        process_file(tmp_path / f"a.{name}", model=sea64, regions=regions, verbose=False, hop_size=0.5)
        seconds = sum(decoded) / rate
        assert 50 < seconds <= 60 if name == "ogg" else 6 < seconds < 16, (name, seconds)


@pytest.mark.filterwarnings("ignore:.* ends behind the recording:edgel3_onnx.EdgeL3Warning")
def test_a_region_outside_is_an_error_and_the_others_are_done(tmp_path, sea64, capsys):
    soundfile.write(tmp_path / "a.wav", signal(8000), 8000)
    regions = [Region("a.wav", 1, 2, "x"), Region("a.wav", 7, 8, "y"), Region("a.wav", 5.5, 9, "z")]
    write_csv(tmp_path / "regions.csv", regions)
    said = r"a\.wav: the region of line 3 \(y\) from 7 to 8 s lies outside of the recording, which has 6\.000 s; the"
    with pytest.raises(EdgeL3Error, match=said):
        process_file(tmp_path / "a.wav", model=sea64, regions=tmp_path / "regions.csv", verbose=False)
    found = load(tmp_path / "a.npz")
    assert set(found["label"]) == {"x", "z"}
    with pytest.raises(EdgeL3Error, match="made otherwise"):  # since y is still missing
        process_file(tmp_path / "a.wav", model=sea64, regions=tmp_path / "regions.csv", verbose=False, overwrite=False)
    regions[1] = Region("a.wav", 9, 9)
    with pytest.raises(EdgeL3Error, match="the part from 7 s on lies outside"):
        process_file(tmp_path / "a.wav", model=sea64, offset=7, verbose=False)
    assert load(tmp_path / "a.npz").keys() == found.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"offset": -1}, "offset must be a number of seconds from 0, got -1"),
        ({"offset": float("nan")}, "offset must be"),
        ({"duration": 0}, "duration must be a positive number of seconds or None, got 0"),
        ({"edges": "soft", "offset": 1}, "edges must be one of context, cut, got 'soft'"),
        ({"edges": "cut"}, "edges='cut' has no effect without offset, duration or regions"),
    ],
)
def test_what_is_no_part(arguments, said, sea64):
    with pytest.raises(EdgeL3ArgumentError, match=re.escape(said)):
        get_embedding(signal(8000, 1), 8000, sea64, **arguments)


def test_a_region_that_ends_behind_the_recording_is_said_to_be_shortened(tmp_path, sea64):
    soundfile.write(tmp_path / "a.wav", signal(8000), 8000)
    regions = [Region(None, 1.0, 2.0), Region(None, 5.0, SECONDS + 0.05), Region(None, 5.0, 9.0, "wren")]
    with pytest.warns(EdgeL3Warning) as said:
        process_file(tmp_path / "a.wav", model=sea64, regions=regions, verbose=False)
    (warning,) = (str(each.message) for each in said)
    assert warning.endswith("the region (wren) from 5 to 9 s ends behind the recording, which has 6.000 s")
    found = load(tmp_path / "a.npz")
    assert (found["label"] == "wren").sum() == 6  # centres from 5.0 to 5.5 s: the last window ends with the recording


def test_a_part_outside_of_an_array(sea64):
    with pytest.raises(EdgeL3ArgumentError, match=r"audio: the part from 2 s on lies outside .* has 1\.000 s"):
        get_embedding(signal(8000, 1), 8000, sea64, offset=2)


class TestRegionFiles:
    @pytest.fixture
    def corpus(self, tmp_path):
        for folder in ("x", "y"):
            (tmp_path / folder).mkdir()
            for name in ("a", "b"):
                soundfile.write(tmp_path / folder / f"{name}.wav", signal(8000, 3, 1), 8000)
        return tmp_path

    def run(self, corpus, capsys, *arguments):
        common = ["--recursive", "--model-type", "micro", "-t", "0.5", "--pool", "mean"]
        status = cli.main([str(corpus), "--output", str(corpus / "out"), *common, *map(str, arguments)])
        outputs = sorted(corpus.glob("out/**/*.npz"))
        return (
            status,
            {path.relative_to(corpus / "out").as_posix(): load(path) for path in outputs},
            capsys.readouterr().err,
        )

    def test_one_table_for_a_corpus(self, corpus, capsys):
        write_csv(
            corpus / "t.csv", [Region("x/a.wav", 0, 1, "p"), Region("y/a.wav", 1, 2, "q"), Region("x/a.wav", 2, 3, "r")]
        )
        status, found, said = self.run(corpus, capsys, "--regions", corpus / "t.csv")
        assert status == 0 and {name: list(rows["label"]) for name, rows in found.items()} == {
            "x/a.npz": ["p", "r"],
            "y/a.npz": ["q"],
        }
        assert "2 recordings have no regions and are left out" in said
        assert found["x/a.npz"]["embedding"].shape == (2, 64)
        np.testing.assert_array_equal(found["x/a.npz"]["start"], [0, 2])
        np.testing.assert_array_equal(found["x/a.npz"]["end"], [1, 3])

    def test_files_beside_the_recordings(self, corpus, capsys):
        write_audacity(corpus / "x" / "a.txt", [Region(None, 0.5, 1, "p")])
        write_raven(corpus / "y" / "b.txt", [Region(None, 1, 2, "q")])
        status, found, _ = self.run(corpus, capsys, "--regions", ".txt")
        assert status == 0
        assert {name: list(rows["label"]) for name, rows in found.items()} == {"x/a.npz": ["p"], "y/b.npz": ["q"]}

    def test_what_is_ambiguous_is_refused(self, corpus, capsys):
        write_csv(corpus / "t.csv", [Region("a.wav", 0, 1)])
        status, found, said = self.run(corpus, capsys, "--regions", corpus / "t.csv")
        assert status == 2 and not found and "line 2: a.wav may be" in said
        write_audacity(corpus / "t.txt", [Region(None, 0, 1, "p")])
        status, found, said = self.run(corpus, capsys, "--regions", corpus / "t.txt")
        assert status == 2 and "line 1: does not say of which of 4 recordings it is" in said
        status, found, said = self.run(corpus, capsys, "--regions", ".labels")
        assert status == 2 and "no regions of any of the recordings" in said

    def test_skip_existing_tells_parts_apart(self, corpus, capsys):
        report = corpus / "report.jsonl"

        def statuses(*arguments):
            self.run(corpus, capsys, "--skip-existing", "--report", report, *arguments)
            return {json.loads(line)["status"] for line in report.read_text().splitlines()}

        assert statuses() == {"done"} and statuses() == {"skipped"}
        for arguments in (
            ["--offset", 1],
            ["--offset", 1, "--edges", "cut"],
            ["--channels", "each"],
            ["--normalize", "l2"],
        ):
            assert statuses(*arguments) == {"done"} and statuses(*arguments) == {"skipped"}


@pytest.mark.parametrize("option", ["--offset=1", "--channels=1", "--pool=mean", "--regions=a.txt"])
def test_live_audio_has_no_parts(option, capsys):
    with pytest.raises(SystemExit):
        cli.main(["-", option])
    assert "has no effect with standard input" in capsys.readouterr().err


class TestDamaged:
    @pytest.mark.filterwarnings("ignore:.*damaged, zeros for")
    def test_only_what_was_read_counts(self, tmp_path, sea64):
        soundfile.write(tmp_path / "whole.flac", signal(8000, 20), 8000)
        data = (tmp_path / "whole.flac").read_bytes()
        hole = len(data) // 2
        (tmp_path / "a.flac").write_bytes(data[:hole] + bytes(20000) + data[hole + 20000 :])
        for offset, complete in ((1, True), (9, False), (17, True)):
            process_file(
                tmp_path / "a.flac", tmp_path, None, sea64, offset=offset, duration=2, verbose=False, hop_size=1
            )
            record = read_metadata(tmp_path / "a.npz")
            assert record["complete"] is complete, offset
            if complete:
                expected, _ = get_embedding(
                    soundfile.read(tmp_path / "whole.flac", dtype="float32")[0],
                    8000,
                    sea64,
                    hop_size=1,
                    offset=offset,
                    duration=2,
                    verbose=0,
                )
                np.testing.assert_array_equal(load(tmp_path / "a.npz")["embedding"], expected)

    def test_the_whole_says_the_same_as_before(self, tmp_path):
        soundfile.write(tmp_path / "a.wav", signal(8000, 4), 8000)
        data = (tmp_path / "a.wav").read_bytes()
        (tmp_path / "a.wav").write_bytes(data[: len(data) // 2])
        there = (len(data) // 2 - 44) // 4
        for spans, lost in (
            ([(0, None)], 2.0),
            ([(8000, 12000)], 0.0),
            ([(8000, None)], 2.0),
            ([(there - 4000, there)], 0.0),  # which is there, as far as anybody asks
        ):
            with decode.open_recording(str(tmp_path / "a.wav")) as recording:
                samples = sum(len(block) for _, block in recording.read(spans, 1.0))
            assert recording.findings.lost_seconds == pytest.approx(lost, abs=0.01)
            assert samples == (4000 if lost == 0 else there - spans[0][0])
