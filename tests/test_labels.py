"""Label files: what people's programs write is read, and what is written they read."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error
from edgel3_onnx.labels import Region, read_regions, write_audacity, write_csv, write_raven

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies"
SEEN = [Region(None, 0.5, 1.25, "robin", 2000.0, 4000.5), Region(None, 3.0, 3.0, None)]


def read(folder, data):
    path = folder / "labels.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_regions(path)


@pytest.mark.parametrize(
    "text",
    [
        "0.5\t1.25\trobin\n\\\t2000.0\t4000.5\n3.0\t3.0\t\n",
        "0.500000\t1.250000\trobin\n\\\t2000.000000\t4000.500000\n\n3\t3",
        f"{RAVEN}\n1\tSpectrogram 1\t1\t0.5\t1.25\t2000\t4000.5\trobin\n2\tSpectrogram 1\t1\t3\t3\t\t\t\n",
        "start,end,label,low_freq,high_freq\n0.5,1.25,robin,2000,4000.5\n3,3,,,\n",
        'Start;End;Label;low_freq;high_freq\n0.5;1.25;"robin";2000;4000.5\n\n3;3;"";;\n',
        "label\tend\tstart\tlow_freq\thigh_freq\nrobin\t1.25\t0.5\t2000\t4000.5\n\t3\t3\t\t\n",
    ],
    ids=["Audacity", "Audacity's digits", "Raven", "CSV", "semicolons", "tabs"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_same_regions_from_each_format(text, end, encoding, tmp_path):
    found = read(tmp_path, text.replace("\n", end).encode(encoding))
    assert [(r.path, r.start, r.end, r.label, r.low_freq, r.high_freq) for r in found] == [
        (r.path, r.start, r.end, r.label, r.low_freq, r.high_freq) for r in SEEN
    ]
    lines = text.split("\n")
    assert ["robin" in lines[region.line - 1] for region in found] == [True, False]
    assert lines[found[1].line - 1].endswith(("3.0\t3.0\t", "3\t3", "3\t3\t\t\t", "3,3,,,", '3;3;"";;', "3\t3\t\t"))


def test_empty_files_have_no_regions(tmp_path):
    for text in ("", "\n \n", "\ufeff", "start,end\n", RAVEN + "\n"):
        assert read(tmp_path, text) == []


def test_unknown_columns_are_kept(tmp_path):
    text = 'path,start,end,label,observer,note\na.wav,1.0,2.0,owl,me,"x, ""y"""\nb.wav,0.0,0.5,,,7.10\n'
    found = read(tmp_path, text)
    assert found[0].extra == {"observer": "me", "note": 'x, "y"'} and found[1].path == "b.wav"
    write_csv(tmp_path / "again.csv", found)
    assert (tmp_path / "again.csv").read_text() == text
    raven = f"{RAVEN}\tConfidence\tBegin File\n7\tWaveform 1\t2\t1.5\t2.5\t\t\towl\t0.910\tb.wav\n"
    found = read(tmp_path, raven)
    assert found == [
        Region(
            "b.wav",
            1.5,
            2.5,
            "owl",
            extra={
                **dict(zip(("Selection", "View", "Channel"), ("7", "Waveform 1", "2"), strict=True)),
                "Species": "owl",
                "Confidence": "0.910",
                "Begin File": "b.wav",
            },
        )
    ]
    write_raven(tmp_path / "again.txt", found)
    assert (tmp_path / "again.txt").read_text() == raven


@pytest.mark.parametrize("name", ["Annotation", "Label", "Species", "Common Name", "Species Code"])
def test_what_people_call_the_label_in_raven(name, tmp_path):
    text = f"Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tstart\t{name}\n"
    text += '1\tS\t1\t0.5\t1.5\t\t\t12:30\t"it\'s"\n'
    found = read(tmp_path, text)
    assert [(region.start, region.label) for region in found] == [(0.5, '"it\'s"')]
    write_raven(tmp_path / "again.txt", found)
    assert (tmp_path / "again.txt").read_text() == text
    with pytest.raises(EdgeL3Error, match="neither a label track"):
        read(tmp_path, text.replace("Begin Time (s)", '"Begin Time (s)"'))


def test_raven_tables_of_several_files_have_times_of_each_file(tmp_path):
    text = "Begin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin File\tCommon Name\n3605.25\t3606.5\t5.25\tb.wav\tOwl\n"
    found = read(tmp_path, text)
    assert [(r.path, r.start, r.end, r.label) for r in found] == [("b.wav", 5.25, 6.5, "Owl")]
    write_raven(tmp_path / "again.txt", found)
    assert read_regions(tmp_path / "again.txt")[0].start == 5.25
    header, row = (line.split("\t") for line in (tmp_path / "again.txt").read_text().splitlines())
    cells = dict(zip(header, row, strict=True))
    assert cells["Begin Time (s)"] == "3605.25" and cells["End Time (s)"] == "3606.5" and cells["Common Name"] == "Owl"


BAD = {
    "start,end\n1,2\n-0.5,2\n": "line 3: starts at -0.5 s, before the recording does",
    "start,end\n2,1\n": "line 2: ends at 1 s, before it starts at 2 s",
    "1\t2\tx\n5\t4.5\ty\n": "line 2: ends at 4.5 s, before it starts at 5 s",
    "1\t2\tx\n-1\t4.5\ty\n": "line 2: starts at -1 s, before the recording does",
    "start,end\n1,x\n": "line 2: end must be a number with a decimal point, got 'x'",
    "start,end\nnan,2\n": "line 2: start must be a number with a decimal point, got 'nan'",
    "start,end\n1,inf\n": "line 2: end must be a number",
    "start,end,label\n1,2,a\n\n3;4;b\n": "line 4: 1 cells under 3 columns: '3;4;b'",
    "start;end\n1,5;2,5\n": "line 2: start must be a number with a decimal point, got '1,5'",
    "0,5\t1,5\tx\n": "line 1: start must be a number with a decimal point, got '0,5'",
    "start,end,start\n1,2,3\n": "line 1: two columns are called 'start'",
    "onset,offset\n1,2\n": "line 1: neither a label track of Audacity",
    '"a,start",end\n1,2\n': "line 1: neither a label track of Audacity",
    "\ufeff\ufeffstart,end\n1,2\n": "line 1: neither a label track of Audacity",
    'start,end,"no\n1,2,x\n': "line 1: neither a label track of Audacity",
    "1,2,x\n": "line 1: neither a label track of Audacity",
    "0.5\t1\tx\n2 3 y\n": "line 2: start and end between tabs are needed, got '2 3 y'",
    "\\\t100\t200\n": "line 1: neither a label track of Audacity",
    "0.5\t1\tx\n\\\t1\t2\n\\\t1\t2\n": "line 3: a frequency range that belongs to no label",
    "0.5\t1\tx\n\\\t1\tx\n": "line 2: High Freq (Hz) must be a number",
    f"{RAVEN}\n1\tS\t1\t2\t1\t\t\tx\n": "line 2: ends at 1 s, before it starts at 2 s",
    f"{RAVEN}\n1\tS\t1\t2\n": "line 2: 4 cells under 8 columns",
    f"{RAVEN}\tFile Offset (s)\n1\tS\t1\t2\t3\t\t\tx\t-1\n": "line 2: File Offset (s) is negative, '-1'",
    b"start,end\n1,2\n\xff,3\n": "line 3: is no text in UTF-8",
    b"fLaC\0\0\0\x22\x10\0": "line 1: is no text",
    b"start,end\n1,2\0\n": "line 2: is no text, it has a byte that is zero",
    b"\xff\xfe\x00": "line 1: is no text",
}


@pytest.mark.parametrize("data", BAD, ids=lambda data: repr(data)[:40])
def test_bad_files_are_one_line_with_file_and_line(data, tmp_path):
    with pytest.raises(EdgeL3Error) as error:
        read(tmp_path, data)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'labels.txt'}, {BAD[data]}") and "\n" not in message and len(message) < 500


def test_a_file_that_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(EdgeL3Error, match=r"no.csv: cannot be read \(No such file"):
        read_regions(tmp_path / "no.csv")


def test_a_quote_that_never_ends_is_an_error_and_not_one_cell_of_the_rest(tmp_path):
    with pytest.raises(EdgeL3Error, match=r"labels.txt, line "):
        read(tmp_path, 'start,end,label\n1,2,"a\n' + "3,4,b\n" * 1000)


def test_writers_refuse_what_they_cannot_hold(tmp_path):
    for write in (write_audacity, write_raven, write_csv):
        for region in (Region(None, -1.0, 2.0), Region(None, 2.0, 1.0), Region(None, 0.0, float("nan"))):
            with pytest.raises(EdgeL3ArgumentError, match="0 <= start <= end"):
                write(tmp_path / "x", [region])
    for write in (write_audacity, write_raven):
        for label in ("a\tb", "a\nb", "a\rb"):
            with pytest.raises(EdgeL3ArgumentError, match="a tab or a line end"):
                write(tmp_path / "x", [Region(None, 0.0, 1.0, label)])
    with pytest.raises(EdgeL3ArgumentError, match="of one recording, got regions of 2"):
        write_audacity(tmp_path / "x", [Region("a", 0.0, 1.0), Region("b", 0.0, 1.0)])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(EdgeL3Error, match=r"below: cannot be written \(Not a directory\)"):
        write_csv(tmp_path / "file" / "below", [])


SECONDS = st.floats(0, 1e6, allow_subnormal=False) | st.integers(0, 48000 * 86400).map(lambda n: n / 48000)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=9)
NOTHING = st.none()
HERTZ = NOTHING | st.floats(0, 1e6)


@st.composite
def regions(draw, path=NOTHING):
    start = draw(SECONDS)
    low = draw(HERTZ)
    high = None if low is None else draw(st.floats(0, 1e6))
    return Region(draw(path), start, start + draw(SECONDS), draw(st.none() | TEXT), low, high)


@given(st.lists(regions()))
def test_audacity_round_trip(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "audacity.txt"
    write_audacity(path, given)
    assert read_regions(path) == given


@given(st.lists(regions(st.none() | TEXT)))
def test_csv_round_trip(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    write_csv(path, given)
    assert read_regions(path) == given


@given(st.lists(regions(st.none() | TEXT)))
def test_raven_round_trip(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "raven.txt"
    write_raven(path, given)
    found = read_regions(path)
    known = [(r.path, r.start, r.end, r.label, r.low_freq, r.high_freq) for r in found]
    assert known == [(r.path, r.start, r.end, r.label, r.low_freq, r.high_freq) for r in given]
    before = path.read_bytes()
    write_raven(path, found)
    assert path.read_bytes() == before


@given(st.binary(max_size=200) | st.text('0123456789.,;\t\n\r\\-e"startndBgi Tm()\ufeff', max_size=80).map(str.encode))
def test_whatever_a_file_holds_only_our_error_is_raised(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(data)
    try:
        found = read_regions(path)
    except EdgeL3Error as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert all(0 <= region.start <= region.end for region in found)


@pytest.mark.parametrize("rate", [8000, 48000])
@pytest.mark.parametrize("hop", [1, 333, 800, 2666, 4799, 15998])
@pytest.mark.parametrize("write", [write_audacity, write_raven, write_csv])
def test_times_do_not_drift_in_a_day(write, hop, rate, tmp_path):
    """The windows of the last second of 24 hours, and some before."""
    day = 24 * 3600 * rate
    starts = [k * hop for k in (*range(0, day // hop, day // hop // 50 + 1), *range((day - rate) // hop, day // hop))][
        :3000
    ]
    write(tmp_path / "x", [Region(None, start / rate, (start + rate) / rate, "x") for start in starts])
    found = read_regions(tmp_path / "x")
    assert [round(region.start * rate) for region in found] == starts
    np.testing.assert_allclose([region.start * rate for region in found], starts, rtol=0, atol=1e-3)
    np.testing.assert_allclose([region.end * rate for region in found], np.add(starts, rate), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_a_million_regions_are_read_in_seconds(tmp_path):
    rows = "".join(f"{k % 1000}.wav,{k / 8},{k / 8 + 1},bird {k % 7}\n" for k in range(1_000_000))
    (tmp_path / "many.csv").write_text("path,start,end,label\n" + rows)
    began = time.process_time()
    found = read_regions(tmp_path / "many.csv")
    seconds = time.process_time() - began
    assert len(found) == 1_000_000 and found[-1] == Region(
        "999.wav", 999_999 / 8, 999_999 / 8 + 1, f"bird {999_999 % 7}"
    )
    assert seconds < 30, f"{seconds:.1f} s"


@pytest.fixture
def examples():
    """Label files that come with crowsetta, which reads those of Audacity and Raven."""
    return Path(pytest.importorskip("crowsetta").__file__).parent / "examples"


def test_audacity_files_of_crowsetta_round_trip(examples, tmp_path):
    from crowsetta.formats.seq import AudSeq

    path = examples / "405_marron1_June_14_2016_69640887.audacity.txt"
    found, theirs = read_regions(path), AudSeq.from_file(path)
    assert [region.start for region in found] == theirs.start_times.tolist()
    assert [region.end for region in found] == theirs.end_times.tolist()
    assert [region.label for region in found] == theirs.labels.tolist() and len(found) == 61
    write_audacity(tmp_path / "again.txt", found)
    assert (tmp_path / "again.txt").read_text() == path.read_text()


def test_audacity_files_with_frequencies_of_crowsetta_round_trip(examples, tmp_path):
    from crowsetta.formats.bbox import AudBBox

    path = examples / "spinetail.txt"
    found = read_regions(path)
    write_audacity(tmp_path / "again.txt", found)
    before, after = AudBBox.from_file(path).df, AudBBox.from_file(tmp_path / "again.txt").df
    assert before.equals(after) and len(before) == 18
    columns = ("begin_time_s", "end_time_s", "label", "low_freq_hz", "high_freq_hz")
    ours = [(region.start, region.end, region.label, region.low_freq, region.high_freq) for region in found]
    assert ours == list(zip(*(before[name].tolist() for name in columns), strict=True))


def test_raven_files_of_crowsetta_round_trip(examples, tmp_path):
    from crowsetta.formats.bbox import Raven

    path = examples / "Recording_1_Segment_02.Table.1.selections.txt"
    found = read_regions(path)
    write_raven(tmp_path / "again.txt", found)
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes().replace(b"\r\n", b"\n")
    theirs = Raven.from_file(tmp_path / "again.txt", annot_col="Species").to_bbox()
    assert [(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in theirs] == [
        (region.start, region.end, region.low_freq, region.high_freq, region.label) for region in found
    ]
