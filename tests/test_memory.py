"""Memory does not grow with the length of a recording, but for its embedding."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import corpora
from memory import measure

HOURS = 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="getrusage tells the peak")
def test_two_hours_of_stereo(tmp_path, seeded_graph):
    # A tenth of the usual windows: the network's time is not what is measured. All samples are decoded and resampled.
    growth, allowed = measure(tmp_path, seeded_graph("sea-64"), HOURS * 3600, hop_size=1.0)
    assert growth <= allowed


@pytest.mark.skipif(os.name != "posix", reason="getrusage tells the peak")
def test_ten_minutes_of_stereo(tmp_path, seeded_graph):
    """The short form: held whole, its samples alone would be 212 MB as float32."""
    growth, allowed = measure(tmp_path, seeded_graph("sea-64"), 600, hop_size=5.0)
    assert growth <= allowed


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="getrusage tells the peak")
def test_a_worker_of_a_corpus():
    pytest.importorskip("pyarrow")
    assert corpora.memory(HOURS) <= 20  # MB
