"""Headers of MPEG audio against the tables of ISO/IEC 11172-3 and 13818-3, and the formulas of their clause 2.4.2.3."""

import itertools

import pytest

from edgel3_onnx.recordings import mpeg_frames

# kbit/s for the indices 0 to 14, by (version, layer); version 2.5 has those of version 2
BITRATES = {
    ("1", 1): "free 32 64 96 128 160 192 224 256 288 320 352 384 416 448",
    ("1", 2): "free 32 48 56 64 80 96 112 128 160 192 224 256 320 384",
    ("1", 3): "free 32 40 48 56 64 80 96 112 128 160 192 224 256 320",
    ("2", 1): "free 32 48 56 64 80 96 112 128 144 160 176 192 224 256",
    ("2", 2): "free 8 16 24 32 40 48 56 64 80 96 112 128 144 160",
    ("2", 3): "free 8 16 24 32 40 48 56 64 80 96 112 128 144 160",
}
RATES = {"1": (44100, 48000, 32000), "2": (22050, 24000, 16000), "2.5": (11025, 12000, 8000)}
VERSIONS = {"2.5": 0, "2": 2, "1": 3}  # and 1 is reserved
SIDE_INFORMATION = {("1", 2): 32, ("1", 1): 17, ("2", 2): 17, ("2", 1): 9}  # bytes, by version and channels


def header(version, layer, bitrate, rate, padding=0, mode=0, protected=1):
    """Version, layer and so on as the bits that they are."""
    bits = 0x7FF << 21 | version << 19 | layer << 17 | protected << 16 | bitrate << 12 | rate << 10 | padding << 9
    return (bits | mode << 6).to_bytes(4, "big")


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_header(version, layer):
    table = BITRATES[version[0], layer].split()
    for index, rate, padding, mode, protected in itertools.product(range(15), range(3), (0, 1), range(4), (0, 1)):
        found = mpeg_frames.parse(header(VERSIONS[version], 4 - layer, index, rate, padding, mode, protected))
        hertz = RATES[version][rate]
        samples = {1: 384, 2: 1152, 3: 1152 if version == "1" else 576}[layer]
        slot = 4 if layer == 1 else 1
        slots = 0 if index == 0 else int(samples / 8 / slot * int(table[index]) * 1000 / hertz)
        channels = 1 if mode == 3 else 2
        assert (found.layer, found.rate, found.samples, found.channels) == (layer, hertz, samples, channels)
        assert found.size == (slots + padding) * slot
        assert found.is_free == (index == 0) and found.has_crc == (protected == 0)
        assert found.is_version_1 == (version == "1")
        if layer == 3:
            assert found.side_information == SIDE_INFORMATION[version[0], channels]


def test_what_is_no_header():
    good = header(3, 1, 9, 0)
    assert mpeg_frames.parse(good) is not None
    reserved = [header(1, 1, 9, 0), header(3, 0, 9, 0), header(3, 1, 15, 0), header(3, 1, 9, 3)]
    for data in (*reserved, good[:3], b"", b"\xfe" + good[1:], good[:1] + bytes([good[1] & 0x7F]) + good[2:]):
        assert mpeg_frames.parse(data) is None


def test_frames_of_one_recording_have_the_same_format():
    """The bitrate, padding, the mode of two channels and the CRC may differ between them; nothing else."""
    first = mpeg_frames.parse(header(3, 1, 9, 0)).format
    for alike in (header(3, 1, 1, 0), header(3, 1, 9, 0, padding=1), header(3, 1, 9, 0, mode=1)):
        assert mpeg_frames.parse(alike).format == first
    for other in (header(2, 1, 9, 0), header(3, 2, 9, 0), header(3, 1, 9, 1), header(3, 1, 9, 0, mode=3)):
        assert mpeg_frames.parse(other).format != first
