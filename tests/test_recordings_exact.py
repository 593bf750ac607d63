"""Of recordings cut, damaged or mislabelled at a known place: exactly what is left, and exactly what is said of it."""

import io
import itertools
import struct

import numpy as np
import pytest
import soundfile

import odd_recordings as odd
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.recordings import decode, pyav
from edgel3_onnx.recordings.ogg import _opus_packet
from edgel3_onnx.recordings.pipe import open_pipe
from edgel3_onnx.recordings.pipe_reader import PipeReader
from edgel3_onnx.recordings.view import viewing

SR = 8000
SAMPLES = 4001
PCM = [
    *itertools.product(["WAV", "WAVEX", "RF64", "W64"], ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
    *itertools.product(["WAV", "W64", "AIFF", "AU", "CAF"], ["ULAW", "ALAW"]),
    *itertools.product(["AIFF", "AU", "CAF"], ["PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
]
BYTES = {"PCM_U8": 1, "PCM_S8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}
# Where each container says how many bytes of samples there are: behind a name by so much, how, and what is added to it.
SIZES = {
    "WAV": (b"data", 4, "<I", 0),
    "WAVEX": (b"data", 4, "<I", 0),
    "RF64": (b"ds64", 16, "<Q", 0),
    "W64": (b"data", 16, "<Q", 24),
    "AIFF": (b"SSND", 4, ">I", 8),
    "AU": (b".snd", 8, ">I", 0),
    "CAF": (b"data", 4, ">Q", 4),
}
CHANNELS = {  # and where how many channels
    "WAV": (b"fmt ", 10, "<H", 0),
    "WAVEX": (b"fmt ", 10, "<H", 0),
    "RF64": (b"fmt ", 10, "<H", 0),
    "W64": (b"fmt ", 26, "<H", 0),
    "AIFF": (b"COMM", 8, ">H", 0),
    "AU": (b".snd", 20, ">I", 0),
    "CAF": (b"desc", 36, ">I", 0),
}


def read_bytes(path, data):
    """Samples, mixed down, and what was found out."""
    path.write_bytes(data)
    audio, rate, findings = odd.read(path)
    assert rate == SR
    return audio, findings


def patched(data, field, value):
    """A file in which a number of the header is another."""
    name, behind, kind, added = field
    at = data.index(name) + behind
    number = struct.pack(kind, value + added)
    return data[:at] + number + data[at + len(number) :]


@pytest.fixture(params=PCM, ids="-".join)
def pcm(request):
    """A stereo file that ends with its samples, its container, and the bytes of a sample of both channels."""
    format, subtype = request.param
    data = odd.encoded(odd.signal(SR, SAMPLES / SR, 2), SR, format, subtype)
    return data, format, 2 * BYTES.get(subtype, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recording"


def test_every_byte_that_is_cut_off_is_counted(pcm, path):
    data, _, size = pcm
    expected, findings = read_bytes(path, data)
    assert len(expected) == SAMPLES and findings.complete and not findings.warnings and not findings.notes
    for lost in (1, 900, SAMPLES // 2, SAMPLES - 1):
        for left_over in (0, 1):
            audio, findings = read_bytes(path, data[: len(data) - lost * size + left_over])
            np.testing.assert_array_equal(audio, expected[:-lost], err_msg=f"{lost} {left_over}")
            assert findings.complete == (lost == 1)
            np.testing.assert_allclose(findings.announced_seconds, SAMPLES / SR, rtol=0, atol=1e-6)
            np.testing.assert_allclose(findings.lost_seconds, lost / SR, rtol=0, atol=1.1 / SR)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "damaged"])
def test_a_block_has_a_sample_at_least(path, format):
    data = odd.encoded(odd.signal(SR, 0.05, 2), SR, "WAV" if format == "WAV" else "FLAC", "PCM_16")
    if format == "damaged":
        data = odd.encoded(np.zeros(9000), SR, "FLAC", "PCM_16")
        at = data.index(b"\xff\xf8", 42)
        data = data[: at + 5] + b"\0\1\2\3" + data[at + 9 :]
    path.write_bytes(data)
    expected, _, _ = odd.read(path)
    with decode.open_recording(str(path)) as recording:
        blocks = list(recording.blocks(1e-9))
    assert {len(block) for block in blocks} == {1} and len(blocks) == len(expected)


def test_a_header_that_says_too_little(pcm, path):
    data, format, size = pcm
    expected, _ = read_bytes(path, data)
    audio, findings = read_bytes(path, patched(data, SIZES[format], 2000 * size))
    assert findings.complete and findings.lost_seconds == 0
    if format in ("AIFF", "AU", "CAF"):  # whose writers are not known for it: what follows is something else
        np.testing.assert_array_equal(audio, expected[:2000])
        assert not findings.warnings
    else:
        np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-6)
        assert findings.warnings == ("its header says 0.25 s; the 0.50 s up to the end of the file are taken",)


def test_of_no_channels_nothing_is_decoded(pcm, path):
    data, format, _ = pcm
    assert len(read_bytes(path, patched(data, CHANNELS[format], 2))[0]) == SAMPLES  # it is there
    try:
        audio, findings = read_bytes(path, patched(data, CHANNELS[format], 0))
    except EdgeL3Error as error:
        assert "damaged" in str(error) or "format" in str(error)
    else:
        assert len(audio) == 0 and not findings.complete


@pytest.mark.parametrize("part", [0.3, 0.7])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        *itertools.product(["WAV", "W64"], ["MS_ADPCM", "IMA_ADPCM", "GSM610"]),
        *itertools.product(["WAV", "AU"], ["G721_32"]),
        *itertools.product(["AIFF"], ["IMA_ADPCM", "GSM610", "DWVW_16"]),
        *itertools.product(["AU"], ["G723_24", "G723_40"]),
    ],
)
def test_the_lost_end_of_compressed_samples(path, format, subtype, part):
    """In blocks of some hundred samples, and with whatever size of a header."""
    data = odd.encoded(odd.signal(SR, 4, 1), SR, format, subtype)
    expected, findings = read_bytes(path, data)
    assert 4 * SR <= len(expected) <= 4.1 * SR and findings.complete and not findings.warnings
    assert findings.lost_seconds == 0
    _, findings = read_bytes(path, data + bytes(10))
    assert findings.complete and findings.lost_seconds == 0
    if format == "AU":
        _, findings = read_bytes(path, patched(data, SIZES["AU"], 0xFFFFFFFF))
        assert findings.complete and findings.lost_seconds == 0
    audio, findings = read_bytes(path, data[: int(len(data) * part)])
    np.testing.assert_allclose(len(audio) / len(expected), part, atol=0.03)
    whole = len(audio) - 600  # of the block in which it was cut some decoders make something
    np.testing.assert_array_equal(audio[:whole], expected[:whole])
    assert not findings.complete
    np.testing.assert_allclose(findings.lost_seconds, 4 * (1 - part), atol=0.1)
    np.testing.assert_allclose(findings.announced_seconds, len(audio) / SR + findings.lost_seconds, atol=0.15)


@pytest.mark.parametrize("bits", [*range(1, 33)])
def test_aiff_samples_of_any_size_lie_in_whole_bytes(path, bits):
    subtype = ("PCM_S8", "PCM_16", "PCM_24", "PCM_32")[-(-bits // 8) - 1]
    data = odd.encoded(odd.signal(SR, SAMPLES / SR), SR, "AIFF", subtype)
    expected, _ = read_bytes(path, data)
    audio, findings = read_bytes(path, patched(data, (b"COMM", 14, ">H", 0), bits))
    np.testing.assert_array_equal(audio, expected)
    assert findings.complete and findings.announced_seconds == pytest.approx(SAMPLES / SR, abs=1.1 / SR)


NO_HEADER_LENGTH = "its header does not say how long it is: it is taken to the end of the file"
AIFC = {  # the types of AIFF-C: what libsndfile calls the samples, and their order
    b"NONE": ("PCM_24", "BIG"), b"twos": ("PCM_16", "BIG"), b"sowt": ("PCM_16", "LITTLE"), b"in24": ("PCM_24", "BIG"),
    b"in32": ("PCM_32", "BIG"), b"fl32": ("FLOAT", "BIG"), b"FL32": ("FLOAT", "BIG"), b"fl64": ("DOUBLE", "BIG"),
    b"FL64": ("DOUBLE", "BIG"), b"ulaw": ("ULAW", "FILE"), b"ULAW": ("ULAW", "FILE"), b"alaw": ("ALAW", "FILE"),
    b"ALAW": ("ALAW", "FILE"),
}  # fmt: skip


def raw_samples(subtype, endian):
    """Bytes of stereo samples, and these in floating point."""
    audio, buffer = odd.signal(SR, SAMPLES / SR, 2), io.BytesIO()
    form = {"samplerate": SR, "format": "RAW", "subtype": subtype, "endian": endian}
    soundfile.write(buffer, audio, form.pop("samplerate"), **form)
    data = buffer.getvalue()
    return data, soundfile.read(io.BytesIO(data), channels=2, samplerate=SR, dtype="float32", **form)[0].mean(axis=1)


def aifc(kind, samples, length, chunks=b""):
    """An AIFF-C file of stereo samples whose SSND says that there are ``length`` bytes behind its size."""
    bits = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}.get(AIFC[kind][0], 16)
    rate = struct.pack(">HQ", 16383 + 12, SR << 51)
    common = struct.pack(">hIh", 2, SAMPLES, bits) + rate + kind + b"\0\0"
    body = b"AIFC" + b"COMM" + struct.pack(">I", len(common)) + common + chunks
    body += b"SSND" + struct.pack(">III", length, 0, 0) + samples
    return b"FORM" + struct.pack(">I", len(body)) + body


@pytest.mark.parametrize("kind", AIFC)
def test_aifc_of_a_writer_that_did_not_know_its_length(path, kind):
    samples, expected = raw_samples(*AIFC[kind])
    audio, findings = read_bytes(path, aifc(kind, samples, 8 + len(samples)))
    np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-6)
    assert findings.complete and not findings.notes and findings.announced_seconds == SAMPLES / SR
    for length in (0x7F000000, 0x7F000001, 0x80000000, 0xFFFFFFFF):
        audio, findings = read_bytes(path, aifc(kind, samples, length))
        np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-6)
        assert findings.complete and findings.notes == (NO_HEADER_LENGTH,) and not findings.warnings
    audio, findings = read_bytes(path, aifc(kind, samples, 0))
    np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-6)
    assert findings.warnings == ("its header says 0 s; the 0.50 s up to the end of the file are taken",)


@pytest.mark.parametrize("length", [0x7EFFFFFF, 0x80000001])
def test_aifc_that_says_much_more_than_there_is(path, length):
    samples, expected = raw_samples("PCM_16", "LITTLE")
    audio, findings = read_bytes(path, aifc(b"sowt", samples, length))
    np.testing.assert_array_equal(audio, expected)
    assert not findings.complete
    np.testing.assert_allclose(findings.lost_seconds, (length - 8 - len(samples)) / 4 / SR, rtol=1e-9)


@pytest.mark.parametrize(("format", "empty"), [("AIFF", struct.pack(">4sI", b"ANNO", 0)), ("CAF", b"free" + bytes(8))])
@pytest.mark.parametrize("count", [998, 999])
def test_samples_behind_a_thousand_chunks_are_not_looked_for(path, format, empty, count):
    """A damaged file could send us through any number of them."""
    samples, _ = raw_samples("PCM_16", "BIG")
    if format == "AIFF":
        data = aifc(b"twos", samples, 0x7F000000, empty * count)
    else:
        description = struct.pack(">d4s5I", SR, b"lpcm", 0, 4, 1, 2, 16)
        data = b"caff\0\1\0\0desc" + struct.pack(">q", 32) + description + empty * count
        data += b"data" + struct.pack(">qI", -1, 0) + samples
    _, findings = read_bytes(path, data)
    assert (NO_HEADER_LENGTH in findings.notes) == (count == 998)


@pytest.mark.parametrize(("said", "expected"), [(0, SAMPLES), (1, 1), (2, 2)])
def test_au_that_says_next_to_nothing(path, said, expected):
    data = odd.encoded(odd.signal(SR, SAMPLES / SR), SR, "AU", "ULAW")
    assert len(read_bytes(path, patched(data, SIZES["AU"], said))[0]) == expected


@pytest.mark.parametrize("subtype", ["ALAC_16", "ALAC_24"])
def test_caf_with_packets_of_any_size(path, subtype):
    """How much of it is missing nobody can say."""
    data = odd.encoded(odd.signal(SR, 4.0), SR, "CAF", subtype)
    at = data.index(b"data") + 4
    data = data[: at + 8 + int.from_bytes(data[at : at + 8], "big")]
    expected, findings = read_bytes(path, data)
    assert len(expected) == 4 * SR and findings.complete and findings.lost_seconds == 0
    audio, findings = read_bytes(path, data[: len(data) * 6 // 10])
    np.testing.assert_array_equal(audio, expected[: len(audio)])
    assert not findings.complete


def test_caf_with_packets_of_one_size(path):
    """Of which libsndfile reads none; whatever is missing is counted all the same."""
    pytest.importorskip("av")
    path = path.with_suffix(".caf")
    odd.encoded_with_av(path, odd.signal(SR, 4.0), SR, "adpcm_ima_qt")
    data = path.read_bytes()
    expected, _, findings = odd.read(path)
    assert len(expected) >= 4 * SR and findings.complete and findings.lost_seconds == 0
    path.write_bytes(data + b"free" + bytes(8))
    assert 0 <= odd.read(path)[2].lost_seconds < 0.01  # FFmpeg takes what follows for samples
    at = data.index(b"data")
    path.write_bytes(data[: at + 4] + struct.pack(">q", -1) + data[at + 12 :])
    assert 0 <= odd.read(path)[2].lost_seconds < 0.01
    path.write_bytes(data[: at + 16 + 34 * 300])  # packets of 64 samples in 34 bytes
    audio, _, findings = odd.read(path)
    np.testing.assert_array_equal(audio, expected[: len(audio)])
    assert not findings.complete
    np.testing.assert_allclose(len(audio) / SR + findings.lost_seconds, 4, atol=0.05)


FLAC_BLOCK = 4096  # samples of a frame, as libsndfile has libFLAC make them


@pytest.fixture(scope="module")
def flac():
    """A FLAC with frames numbered beyond 127 and 2047, its samples, and the offsets of its frames."""
    rng = np.random.default_rng(0)
    audio = np.repeat(rng.integers(-2000, 2000, 2060 * FLAC_BLOCK // 512), 512).astype(np.int16)
    data = odd.encoded(audio, SR, "FLAC", "PCM_16")
    sync = data[data.index(b"\xff\xf8", 42) :][:4]
    offsets, at = [], data.index(sync)
    while at >= 0:
        number = len(offsets)
        coded = bytes([number]) if number < 128 else chr(number).encode()  # as UTF-8, which FLAC goes beyond
        if data[at + 4 : at + 4 + len(coded)] == coded:
            offsets.append(at)
        at = data.find(sync, at + 1)
    assert len(offsets) == 2060
    return data, audio, offsets


@pytest.mark.parametrize("number", [1, 127, 128, 1000, 2047, 2048, 2058])
def test_the_hole_of_a_damaged_frame_is_that_frame(flac, path, number):
    data, audio, offsets = flac
    damaged = bytearray(data)
    middle = (offsets[number] + offsets[number + 1]) // 2
    damaged[middle] ^= 0xFF
    found, findings = read_bytes(path, damaged)
    expected = audio / 32768
    expected[number * FLAC_BLOCK : (number + 1) * FLAC_BLOCK] = 0
    assert findings.holes == ((number * FLAC_BLOCK / SR, FLAC_BLOCK / SR),)
    np.testing.assert_array_equal(found, expected)


def test_a_flac_that_ends_with_its_header_has_lost_all(flac, path):
    data, audio, offsets = flac
    found, findings = read_bytes(path, data[: offsets[0]])
    assert len(found) == 0 and not findings.complete
    assert findings.lost_seconds == findings.announced_seconds == len(audio) / SR


@pytest.mark.parametrize("behind", [b"", odd.id3v1(), bytes(1000)], ids=["", "tag", "zeros"])
@pytest.mark.parametrize("total", [0, 1, 2**36 - 1])
def test_a_flac_of_unknown_length_goes_to_its_last_frame(flac, path, behind, total):
    data, audio, _ = flac
    changed = bytearray(data + behind)
    changed[21] = changed[21] & 0xF0 | total >> 32
    changed[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    found, findings = read_bytes(path, changed)
    np.testing.assert_array_equal(found, audio / 32768)
    assert findings.complete == (total < 2)


@pytest.mark.parametrize(("begin", "length"), [(3, 1), (3, 30), (3, 290), (6, 290), (1, 700)])
def test_an_mp3_whose_first_frames_are_damaged_goes_to_its_end(path, begin, length):
    """By whose first bytes nobody would know it; libsndfile takes it for much shorter."""
    data = bytearray(odd.encoded(odd.signal(SR, 6.3), SR, "MP3"))
    expected, findings = read_bytes(path, bytes(data))
    assert len(expected) == 6.3 * SR and findings.complete
    data[begin : begin + length] = bytes(length)
    audio, findings = read_bytes(path, bytes(data))
    assert abs(len(audio) - len(expected)) < 0.3 * SR and findings.lost_seconds < 0.3
    late = expected[5 * SR : 6 * SR]
    at = int(np.correlate(audio, late, "valid").argmax())
    assert abs(at - 5 * SR) < 0.3 * SR  # the delay that its first frame says is not known
    np.testing.assert_allclose(audio[at:][:SR], late, rtol=0, atol=1e-4)


OGG = {"VORBIS": (SR, 10, 0.064, 1e-6), "OPUS": (48000, 13, 0.08, 0.05)}  # positions in a second, pages of 12.3 s,
# the longest that a decoder may need to be right again, in seconds; how right it is then


@pytest.fixture(scope="module", params=OGG)
def ogg(request):
    """The pages of a file, at what second each ends, its samples, and how long after a hole these are right again."""
    clock, least, settles, tolerance = OGG[request.param]
    pages = odd.ogg_pages(odd.encoded(odd.signal(SR, 12.3), SR, "OGG", request.param))
    assert len(pages) >= least
    skip = int.from_bytes(pages[0][38:40], "little") if request.param == "OPUS" else 0
    ends = [max(int.from_bytes(page[6:14], "little") - skip, 0) / clock for page in pages]
    return pages, ends, settles, tolerance


def test_ogg_that_is_cut_between_pages_is_what_these_say(ogg, path):
    pages, ends, _, _ = ogg
    expected, findings = read_bytes(path, b"".join(pages))
    assert len(expected) == round(ends[-1] * SR) and findings.complete and not findings.notes
    for count in range(3, len(pages)):
        audio, findings = read_bytes(path, b"".join(pages[:count]))
        assert len(audio) == round(ends[count - 1] * SR)
        np.testing.assert_array_equal(audio, expected[: len(audio)])
        assert findings.notes == ("it has no end-of-stream flag",)


def test_the_hole_of_a_missing_page_is_where_the_page_was(ogg, path):
    pages, ends, settles, tolerance = ogg
    expected, _ = read_bytes(path, b"".join(pages))
    for number in range(2, len(pages) - 2):
        audio, findings = read_bytes(path, b"".join(pages[:number] + pages[number + 1 :]))
        ((start, length),) = findings.holes
        assert len(audio) == len(expected) and findings.lost_seconds == length and not findings.complete
        np.testing.assert_allclose(start, ends[number - 1], rtol=0, atol=1e-3)
        assert ends[number] - 1e-3 <= start + length <= ends[number] + settles + 1e-3
        begin, end = round(start * SR), round((start + length) * SR)
        np.testing.assert_array_equal(audio[:begin], expected[:begin])
        np.testing.assert_array_equal(audio[begin:end], 0)
        np.testing.assert_allclose(audio[end:], expected[end:], rtol=0, atol=tolerance)


def ogg_page(page, **changes):
    """The page with other bytes at the offsets of RFC 3533, section 6, and the checksum that belongs to it."""
    changed = bytearray(page)
    for name, value in changes.items():
        at, size = {"magic": (0, 4), "flags": (5, 1), "position": (6, 8), "number": (18, 4)}[name]
        changed[at : at + size] = value if name == "magic" else value.to_bytes(size, "little", signed=value < 0)
    changed[22:26] = bytes(4)
    register = 0
    for byte in changed:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7 * (register >> 31)) & 0xFFFFFFFF
    changed[22:26] = register.to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize("configuration", range(32))
def test_durations_of_opus_packets(configuration):
    """RFC 6716, table 2, and section 3.2 on how many frames there are."""
    modes = [(10, 20, 40, 60)] * 3 + [(10, 20)] * 2 + [(2.5, 5, 10, 20)] * 4  # milliseconds
    duration = int(48 * [frame for mode in modes for frame in mode][configuration])
    for code, frames in ((0, 1), (1, 2), (2, 2)):
        assert _opus_packet(bytes([configuration << 3 | code])) == duration * frames
    for frames in (1, 2, 47, 48):
        assert _opus_packet(bytes([configuration << 3 | 4 | 3, 0xC0 | frames])) == duration * frames
    assert _opus_packet(bytes([configuration << 3 | 3])) == 0


def test_ogg_pages_on_which_nothing_ends_say_no_time(ogg, path):
    pages, ends, _, _ = ogg
    assert ogg_page(pages[5]) == pages[5]
    nothing = ogg_page(pages[8][:26] + b"\0", position=-1, number=8, flags=0)
    audio, findings = read_bytes(path, b"".join(pages[:8]) + nothing)
    assert len(audio) == round(ends[7] * SR) and findings.complete


@pytest.mark.parametrize("changes", [{"magic": b"OggX"}, {"flags": 8}, {"flags": 255}])
def test_what_is_no_ogg_page_says_no_time(ogg, path, changes):
    """At the end, where what is lost is told by a damaged page, and here can only be guessed by how much lies there."""
    pages, ends, _, _ = ogg
    behind = ogg_page(pages[8], position=1 << 40, **changes)
    audio, findings = read_bytes(path, b"".join(pages[:8]) + behind)
    assert len(audio) == round(ends[7] * SR) and not findings.complete
    np.testing.assert_allclose(findings.lost_seconds, ends[8] - ends[7], rtol=0.7)
    damaged = bytearray(ogg_page(pages[8], position=int.from_bytes(pages[8][6:14], "little") * 2))
    damaged[100] ^= 1
    _, findings = read_bytes(path, b"".join(pages[:8]) + damaged)
    np.testing.assert_allclose(findings.lost_seconds, 2 * ends[8] - ends[7], rtol=0.01, atol=0.1)


@pytest.mark.parametrize(("missing", "complete"), [(0.0, True), (0.2, True), (0.3, False)])
def test_a_container_may_announce_a_little_more_than_there_is(path, monkeypatch, missing, complete):
    """The delay and the padding of its encoder."""
    pytest.importorskip("av")
    path = path.with_suffix(".m4a")
    odd.encoded_with_av(path, odd.signal(SR, 2.0), SR, "aac")
    audio, _, findings = odd.read(path)
    assert findings.decoder.startswith("PyAV") and findings.complete
    monkeypatch.setattr(pyav.AvReader, "_duration", lambda reader: len(audio) / SR + missing)
    again, _, findings = odd.read(path)
    np.testing.assert_array_equal(again, audio)
    assert findings.complete is complete and findings.lost_seconds == pytest.approx(missing, abs=1e-6)


def test_what_follows_at_another_rate_is_told(path):
    """FFmpeg goes on with it."""
    pytest.importorskip("av")
    parts = []
    for rate in (16000, 8000):
        odd.encoded_with_av(path, odd.signal(rate, 2.0), rate, "aac", "adts")
        parts.append(path.read_bytes())
    path.write_bytes(parts[0])
    expected, _, _ = odd.read(path)
    path.write_bytes(b"".join(parts))
    audio, rate, findings = odd.read(path)
    np.testing.assert_array_equal(audio, expected)
    assert rate == 16000 and not findings.complete
    said = f"what follows {len(expected) / 16000:.2f} s has another rate, 8000 Hz"
    assert said in findings.warnings[0]
    with path.open("rb") as file:
        audio = open_pipe(PipeReader(file.fileno()))
        blocks = list(audio.blocks())
    findings = audio.findings()
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], expected)
    assert not findings.complete and said in findings.warnings[0]


@pytest.mark.parametrize(("format", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")])
def test_blocks_of_a_pipe_have_channels(path, format, subtype):
    if format == "FLAC":
        pytest.importorskip("av")
    path.write_bytes(odd.encoded(odd.signal(SR, 2.0), SR, format, subtype))
    with path.open("rb") as file:
        audio = open_pipe(PipeReader(file.fileno()))
        assert {block.shape[1:] for block in audio.blocks()} == {(1,)}


def test_a_view_stays_where_it_is_rather_than_go_before_its_beginning(path):
    path.write_bytes(bytes(range(100)))
    with viewing(str(path), [b"ab", (10, 3), b"c"]) as view:
        assert view.read() == b"ab\x0a\x0b\x0cc"
        for offset, whence, at in ((2, 0, 2), (-1, 0, 2), (-3, 1, 2), (-7, 2, 2), (-2, 1, 0), (-1, 2, 5), (3, 1, 8)):
            assert view.seek(offset, whence) == view.tell() == at
        assert view.read() == b""
