"""When a recording began: what recorders write into WAV files and names is read, and nothing is guessed."""

import json
import struct
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgel3_onnx import process_file
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.recordings.clock import Clock, ClockOptions, read_clock

OPTIONS = ClockOptions()
SAMPLES = (np.sin(np.arange(8000)) * 9000).astype("<i2").tobytes()
FMT = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
GUANO = b"GUANO|Version: 1.0\nMake: X\nTimestamp: %s\nNote: a: b\n"
AUDIOMOTH = (
    "Recorded at 19:17:30 06/12/2023 (UTC{}) by AudioMoth 247AA5075E06F337 at medium gain setting while battery "
)
AUDIOMOTH += "state was 4.2V and temperature was 11.4C."


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def info(text):
    return chunk(
        b"LIST",
        b"INFO"
        + chunk(b"ICMT", text.encode().ljust(384, b"\0"))
        + chunk(b"IART", b"AudioMoth 247AA5075E06F337".ljust(32, b"\0")),
    )


def bext(date, time):
    return chunk(b"bext", bytes(320) + date.encode().ljust(10, b"\0") + time.encode().ljust(8, b"\0") + bytes(264))


def wav(path, before=b"", behind=b"", samples=SAMPLES):
    body = b"WAVE" + chunk(b"fmt ", FMT) + before + chunk(b"data", samples) + behind
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return str(path)


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize(
    ("chunks", "recorded_at", "source"),
    [
        (chunk(b"guan", GUANO % b"2017-04-20T19:50:54-05:00"), "2017-04-20T19:50:54-05:00", "GUANO 2017-04-20T19:50"),
        (chunk(b"guan", GUANO % b"2017-04-20T19:50:54.123Z"), "2017-04-20T19:50:54.123000+00:00", "GUANO 2017"),
        (info(AUDIOMOTH.format("")), "2023-12-06T19:17:30+00:00", "AudioMoth 19:17:30 06/12/2023 (UTC)"),
        (info(AUDIOMOTH.format("+2")), "2023-12-06T19:17:30+02:00", "AudioMoth 19:17:30 06/12/2023 (UTC+2)"),
        (info(AUDIOMOTH.format("-3:30")), "2023-12-06T19:17:30-03:30", "AudioMoth"),
        (info(AUDIOMOTH.format("+10").replace(" 06/", ".250 06/")), "2023-12-06T19:17:30.250000+10:00", "AudioMoth"),
        (chunk(b"guan", GUANO % b"2017-04-20T19:50:54"), None, "GUANO 2017-04-20T19:50:54, without a time zone"),
        (bext("2024-06-01", "05:00:07"), None, "bext 2024-06-01T05:00:07, without a time zone"),
        (info(AUDIOMOTH.format("").replace(" (UTC)", "")), None, "AudioMoth 19:17:30 06/12/2023, without a time zone"),
        (b"", None, None),
        (bext("0000-00-00", "00:00:00"), None, None),
        (bext("", ""), None, None),
        (info("Recorded in a wood"), None, None),
        (info(AUDIOMOTH.format("").replace("06/12", "31/02")), None, None),
        (info(AUDIOMOTH.format("+99")), None, None),
        (chunk(b"guan", GUANO % b"yesterday"), None, None),
        (chunk(b"guan", b"\xff\xfe\x00"), None, None),
    ],
)
def test_chunks_of_recorders(chunks, recorded_at, source, where, tmp_path):
    clock = read_clock(wav(tmp_path / "a.wav", **{where: chunks}), OPTIONS)
    assert clock.recorded_at == recorded_at
    assert clock.source == source or (recorded_at and clock.source.startswith(source))


def test_guano_goes_before_audiomoth_before_bext(tmp_path):
    guano, moth, wave = (
        chunk(b"guan", GUANO % b"2020-01-01T00:00:00Z"),
        info(AUDIOMOTH.format("")),
        bext("2024-06-01", "05:00:07"),
    )
    zone = ClockOptions.of(None, "UTC")
    years = [
        read_clock(wav(tmp_path / "a.wav", each), zone).recorded_at[:4]
        for each in (wave + moth + guano, wave + moth, wave)
    ]
    assert years == ["2020", "2023", "2024"]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2024-06-01T05:00:07+00:00"),
        ("+02:00", "2024-06-01T05:00:07+02:00"),
        ("-0330", "2024-06-01T05:00:07-03:30"),
        ("Europe/Berlin", "2024-06-01T05:00:07+02:00"),
        ("America/Lima", "2024-06-01T05:00:07-05:00"),
    ],
)
def test_a_zone_for_clocks_that_do_not_say_theirs(zone, expected, tmp_path):
    options = ClockOptions.of(None, zone)
    for date, time in (("2024-06-01", "05:00:07"), ("2024:06:01", "05-00-07"), ("2024_06_01", "05.00.07")):
        assert read_clock(wav(tmp_path / "a.wav", bext(date, time)), options).recorded_at == expected
    assert read_clock(wav(tmp_path / "a.wav", info(AUDIOMOTH.format("+2"))), options).recorded_at.endswith("+02:00")


def test_hours_that_come_twice_or_never_are_not_guessed(tmp_path):
    options = ClockOptions.of(None, "Europe/Berlin")
    for date, time in (("2024-10-27", "02:30:00"), ("2024-03-31", "02:30:00")):
        clock = read_clock(wav(tmp_path / "a.wav", bext(date, time)), options)
        assert clock.recorded_at is None and clock.source.endswith("which came twice or never in Europe/Berlin")
    assert read_clock(wav(tmp_path / "a.wav", bext("2024-10-27", "03:30:00")), options).recorded_at.endswith("+01:00")


@pytest.mark.parametrize(
    ("name", "pattern", "zone", "expected"),
    [
        ("SMM01_20240601_050007.wav", "%Y%m%d_%H%M%S", "UTC", "2024-06-01T05:00:07+00:00"),
        ("20240601_050007_000.wav", "%Y%m%d_%H%M%S", "+01:00", "2024-06-01T05:00:07+01:00"),
        ("a-2024-06-01T05.00.07+0200.flac", "%Y-%m-%dT%H.%M.%S%z", None, "2024-06-01T05:00:07+02:00"),
        ("a 24153 0500.wav", "%y%j %H%M", "UTC", "2024-06-01T05:00:00+00:00"),
        ("20241301_050007.wav", "%Y%m%d_%H%M%S", "UTC", None),
        ("1120240601_050007.wav", "%Y%m%d_%H%M%S", "UTC", None),
        ("20240601_0500071.wav", "%Y%m%d_%H%M%S", "UTC", None),
        ("20240601_050007_to_20240601_060007.wav", "%Y%m%d_%H%M%S", "UTC", None),
        ("20240601.wav", "%Y%m%d_%H%M%S", "UTC", None),
    ],
)
def test_names_of_files(name, pattern, zone, expected, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"")
    assert read_clock(str(path), ClockOptions.of(pattern, zone)).recorded_at == expected


def test_a_name_goes_before_the_file_and_the_file_where_the_name_has_no_time(tmp_path):
    options = ClockOptions.of("%Y%m%d_%H%M%S", "UTC")
    moth = info(AUDIOMOTH.format(""))
    assert read_clock(wav(tmp_path / "20240601_050007.wav", moth), options).recorded_at == "2024-06-01T05:00:07+00:00"
    assert read_clock(wav(tmp_path / "a.wav", moth), options).recorded_at == "2023-12-06T19:17:30+00:00"


@pytest.mark.parametrize(
    ("pattern", "zone", "message"),
    [
        ("%Y%m%d_%H%M%S", None, "has no %z: say with time_zone"),
        ("%Y%m%d", "UTC", "must have year, month, day, hour and minute"),
        ("%H%M%S", "UTC", "must have year"),
        ("%Y%m%d_%I%M", "UTC", "must have year"),
        ("%Y%m%d_%H%M%Y", "UTC", "must have year, month, day, hour and minute once"),
        ("%Y%m%d_%H%M%", "UTC", "must have year"),
        (3, "UTC", "time_pattern must be a text or None, got 3"),
        (None, "Berlin", "time_zone must be UTC, an offset such as .*, got 'Berlin'"),
        (None, "+25:00", "time_zone must be"),
        (None, "../etc/passwd", "time_zone must be"),
        (None, "", "time_zone must be"),
    ],
)
def test_patterns_and_zones_that_are_refused(pattern, zone, message):
    with pytest.raises(EdgeL3ArgumentError, match=message):
        ClockOptions.of(pattern, zone)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_guano_as_the_package_guano_reads_it(tmp_path_factory, time, minutes):
    guano = pytest.importorskip("guano")
    time = time.replace(microsecond=time.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(minutes=minutes)))
    text = time.isoformat(timespec="milliseconds")
    path = wav(tmp_path_factory.getbasetemp() / "guano.wav", behind=chunk(b"guan", GUANO % text.encode()))
    theirs = guano.GuanoFile(path)["Timestamp"]
    ours = datetime.fromisoformat(read_clock(path, OPTIONS).recorded_at)
    assert ours == theirs == time and ours.utcoffset() == theirs.utcoffset()


@given(st.datetimes(datetime(2017, 1, 1), datetime(2050, 1, 1)), st.sampled_from(["", "+2", "-11", "+5:30", "+12"]))
def test_comments_of_audiomoth_as_the_package_metamoth_reads_them(tmp_path_factory, time, zone):
    metamoth = pytest.importorskip("metamoth")
    comment = AUDIOMOTH.format(zone).replace("19:17:30 06/12/2023", time.strftime("%H:%M:%S %d/%m/%Y"))
    path = wav(tmp_path_factory.getbasetemp() / "moth.wav", before=info(comment))
    theirs = metamoth.parse_metadata(path)
    offset = theirs.timezone.utcoffset(None)
    ours = datetime.fromisoformat(read_clock(path, OPTIONS).recorded_at)
    assert ours.replace(tzinfo=None) == theirs.datetime.replace(tzinfo=None) == time.replace(microsecond=0)
    assert ours.utcoffset() == offset


@given(
    st.binary(max_size=300),
    st.sampled_from([b"guan", b"LIST", b"bext", b"ds64", b"data", b"\0\0\0\0"]),
    st.integers(0, 2**32 - 1),
)
def test_damaged_chunks_are_no_clock_and_no_error(tmp_path_factory, body, name, length):
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + name + struct.pack("<I", length) + body)
    clock = read_clock(str(path), OPTIONS)
    assert clock == Clock() or clock.source


def test_files_that_are_no_wav_have_no_clock(tmp_path):
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    assert read_clock(str(tmp_path / "a.flac"), OPTIONS) == Clock() == read_clock(str(tmp_path / "none.wav"), OPTIONS)


def test_outputs_have_the_time(tmp_path, sea64, command):
    path = wav(tmp_path / "a.wav", info(AUDIOMOTH.format("+2")))
    process_file(path, tmp_path, model=sea64)
    with np.load(tmp_path / "a.npz") as arrays:
        metadata = json.loads(arrays["metadata"].item())
    assert metadata["recorded_at"] == "2023-12-06T19:17:30+02:00" and metadata["clock"].startswith("AudioMoth 19:17:30")
    parquet = pytest.importorskip("pyarrow.parquet")
    wav(tmp_path / "b.wav")
    done = command(path, tmp_path / "b.wav", "--format", "parquet", "-o", tmp_path / "set", "--hop-size", "0.25")
    assert done.returncode == 0, done.stderr
    rows = parquet.read_table(tmp_path / "set").to_pylist()
    times = [row["recorded_at"] for row in rows if row["path"] == path]
    assert times[:3] == [f"2023-12-06T19:17:{second}+02:00" for second in ("29.500000", "29.750000", "30.000000")]
    assert [row["start"] for row in rows][:3] == [-0.5, -0.25, 0.0] and [row["end"] for row in rows][:2] == [0.5, 0.75]
    assert {row["recorded_at"] for row in rows if row["path"] != path} == {None}
    assert {(row["channel"], row["label"]) for row in rows} == {(None, None)}


def test_an_output_without_the_zone_that_is_wanted_is_made_anew(tmp_path, command):
    path = wav(tmp_path / "a.wav", bext("2024-06-01", "05:00:07"))
    assert "1 done" in command(path, "-o", tmp_path).stderr
    assert "1 skipped" in command(path, "-o", tmp_path, "--skip-existing").stderr
    done = command(path, "-o", tmp_path, "--skip-existing", "--time-zone", "UTC")
    assert "1 done" in done.stderr
    assert (
        json.loads(command("--inspect", tmp_path / "a.npz", with_model=False).stdout)["recorded_at"]
        == "2024-06-01T05:00:07+00:00"
    )
    for option in (["--time-zone", "Nowhere"], ["--time-pattern", "%Y%m%d_%H%M%S"]):
        done = command(path, "-o", tmp_path, *option)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "time_" in done.stderr
