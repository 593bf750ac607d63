"""What is made of the times of FFmpeg's frames, of a container put together here: holes, jumps, new beginnings."""

import types
from fractions import Fraction

import numpy as np
import pytest

from edgel3_onnx import EdgeL3Error
from edgel3_onnx.recordings.pyav import AvReader

av = pytest.importorskip("av")
SR = 1000
LENGTH = 100  # samples of a frame
ONES = np.ones((2, LENGTH), np.float32)  # planar


class Frame:
    def __init__(self, time, samples=ONES, sample_rate=SR):
        self.time, self.sample_rate = time, sample_rate
        self._samples, self.samples = samples, samples.shape[1]
        self.format = types.SimpleNamespace(is_planar=True)
        self.layout = types.SimpleNamespace(nb_channels=len(samples))

    def to_ndarray(self):
        return self._samples


class Packet:
    def __init__(self, *frames):
        self._frames = frames

    def decode(self):
        for each in self._frames:
            if isinstance(each, Exception):
                raise each
        return self._frames


def reader(packets, duration=None, of_container=None, format="matroska", streams=1):
    """``duration`` of the stream in seconds; ``of_container`` that of the whole file."""
    stream = types.SimpleNamespace(
        rate=SR,
        format=types.SimpleNamespace(is_planar=True),
        codec_context=types.SimpleNamespace(channels=2),
        duration=None if duration is None else round(duration * 90000),
        time_base=Fraction(1, 90000),
    )
    container = types.SimpleNamespace(
        streams=_Streams([stream] * streams),
        format=types.SimpleNamespace(name=format),
        duration=None if of_container is None else round(of_container * 1e6),
        demux=lambda stream: iter(packets),
    )
    return AvReader(container)


class _Streams(list):
    @property
    def audio(self):
        return self


def frames(*times):
    return [Packet(Frame(time)) for time in times]


def read(source, seconds=0.25):
    blocks = list(source.blocks(seconds))
    assert all(len(block) < seconds * SR + LENGTH for block in blocks)
    return np.concatenate([block[:, 0] for block in blocks])


def sounding(length, *silences):
    expected = np.ones(length, np.float32)
    for begin, end in silences:
        expected[begin:end] = 0
    return expected


@pytest.mark.parametrize("start", [0.0, 1.5, -0.021])
@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.25, 10])
def test_frames_one_behind_the_other(start, seconds):
    source = reader(frames(*(start + 0.1 * k for k in range(7))))
    np.testing.assert_array_equal(read(source, seconds), sounding(700))
    assert source.holes == [] and source.left_out is None


@pytest.mark.parametrize("seconds", [0.1, 0.15, 0.25, 10])
def test_what_the_times_leave_out_becomes_zeros(seconds):
    source = reader(frames(0, 0.1, 0.5, 0.6, 1.6))
    np.testing.assert_array_equal(read(source, seconds), sounding(1700, (200, 500), (700, 1600)))
    assert source.holes == [(0.2, pytest.approx(0.3)), (0.7, pytest.approx(0.9))]


@pytest.mark.parametrize(("late", "missing"), [(0.004, 0), (-0.005, 0), (0.049, 0), (0.051, 51)])
def test_times_are_rounded_by_some_containers(late, missing):
    """Up to half a frame is no hole."""
    source = reader(frames(0, 0.1, 0.2 + late, 0.3 + late))
    np.testing.assert_array_equal(read(source), sounding(400 + missing, (200, 200 + missing)))
    assert source.holes == ([(0.2, pytest.approx(missing / SR))] if missing else [])


@pytest.mark.parametrize("times", [(5.0, 5.1, 0.0, 0.1), (0.0, 0.1, 700.0, 700.1), (0.0, 0.1, 0.15, 0.25)])
def test_times_that_begin_anew_are_no_hole(times):
    """They go back, or jump by more than there can be; later holes are counted from there."""
    source = reader(frames(*times, times[-1] + 0.3))
    np.testing.assert_array_equal(read(source), sounding(700, (400, 600)))
    assert source.holes == [(0.4, pytest.approx(0.2))]


def test_a_hole_is_no_longer_than_what_is_announced():
    source = reader(frames(0, 0.1, 0.5), duration=0.6)
    assert source.announced == pytest.approx(0.6)
    np.testing.assert_array_equal(read(source), sounding(600, (200, 500)))
    source = reader(frames(0, 0.1, 1.5), duration=0.6)
    np.testing.assert_array_equal(read(source), sounding(300))
    assert source.holes == []


@pytest.mark.parametrize(
    ("times", "hole"),
    [
        ((0, None, None, 0.5), (300, 500)),
        ((None, 2.1, None, 2.5), (300, 500)),  # so that it began at 2.0 s
        ((None, None, None, 7.0, None, 7.4), (500, 700)),
        ((None, None), (200, 200)),
    ],
)
def test_frames_without_a_time_follow_the_one_before(times, hole):
    source = reader(frames(*times))
    np.testing.assert_array_equal(read(source), sounding(len(times) * LENGTH + hole[1] - hole[0], hole))


def test_packets_that_cannot_be_decoded_are_passed_over():
    bad = Packet(av.error.InvalidDataError(1, "invalid"))
    source = reader([*frames(0), bad, *frames(0.2), Packet(), Packet(Frame(0.3), Frame(0.4)), bad])
    np.testing.assert_array_equal(read(source), sounding(500, (100, 200)))
    end = Packet(av.error.EOFError(1, "end"))
    np.testing.assert_array_equal(read(reader([*frames(0), end, *frames(0.1)])), sounding(100))


def test_channels_that_change_are_blocks_of_their_own():
    mono = np.full((1, LENGTH), 0.5, np.float32)
    source = reader([*frames(0, 0.1), Packet(Frame(0.2, mono)), Packet(Frame(0.3, mono)), *frames(0.4)])
    blocks = list(source.blocks(10))
    assert [block.shape for block in blocks] == [(200, 2), (200, 1), (100, 2)]
    assert (blocks[1] == 0.5).all() and (blocks[0] == 1).all() and (blocks[2] == 1).all()


def test_a_rate_that_changes_ends_what_is_decoded():
    source = reader([*frames(0, 0.1), Packet(Frame(0.2, sample_rate=48000)), *frames(0.3)])
    np.testing.assert_array_equal(read(source), sounding(200))
    assert source.left_out == "what follows 0.20 s has another rate, 48000 Hz"


@pytest.mark.parametrize(
    ("options", "announced"),
    [
        ({"duration": 2.0, "of_container": 3.0}, 2.0),
        ({"of_container": 3.0}, 3.0),
        ({"of_container": 3.0, "streams": 2}, None),  # the other stream may be the longer one
        ({}, None),
        ({"duration": 2.0, "format": "aac"}, None),  # estimated
        ({"duration": 2.0, "format": "mov,mp4,m4a,3gp,3g2,mj2"}, 2.0),
    ],
)
def test_how_long_it_should_be(options, announced):
    assert reader([], **options).announced == announced


def test_samples_that_pyav_does_not_give():
    """Of 64 bits."""

    class Wide(Frame):
        def to_ndarray(self):
            raise ValueError("Conversion from 's64' format to numpy array is not supported.")

    with pytest.raises(EdgeL3Error, match=r"has samples of a kind that PyAV does not give .*'s64'"):
        list(reader([Packet(Wide(0.0))]).blocks(1))


@pytest.mark.parametrize("channels", [7, 8, 9])
def test_channels_of_which_pyav_would_read_beyond_the_last(channels):
    planes = np.ones((channels, LENGTH), np.float32)
    found = list(reader([Packet(Frame(0.0)), Packet(Frame(0.1, planes)), Packet(Frame(0.2))]).blocks(1))
    shapes = [block.shape for block in found]
    assert shapes == ([(100, 2), (100, 7), (100, 2)] if channels == 7 else [(100, 2), (100, 1), (100, 2)])


@pytest.mark.parametrize("error", [IndexError("list index out of range"), av.error.InvalidDataError(1, "Invalid data")])
def test_packets_that_cannot_be_read_end_what_is_known(error):
    def packets():
        yield Packet(Frame(0.0))
        raise error

    source = reader(packets())
    assert [block.shape for block in source.blocks(1)] == [(100, 2)]
    assert source.left_out.startswith("what follows 0.10 s cannot be read (")
