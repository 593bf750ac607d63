"""What arguments may be, and what is said of those that may not."""

import math
from fractions import Fraction

import numpy as np
import pytest

from edgel3_onnx import EdgeL3ArgumentError
from edgel3_onnx.checks import check_choice, check_count, check_flag, check_optional_count, finite


@pytest.mark.parametrize(("value", "expected"), [(1, 1), (7, 7), (np.int8(3), 3), (np.uint64(2), 2)])
def test_counts(value, expected):
    assert check_count("n", value) == check_optional_count("n", value) == expected
    assert type(check_count("n", value)) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, np.True_, "1", [1], np.array([1, 2]), math.nan])
def test_what_is_no_count(value):
    for check in (check_count, check_optional_count):
        with pytest.raises(EdgeL3ArgumentError) as caught:
            check("n", value)
        assert str(caught.value) == f"n must be a positive integer, got {value!r}"


@pytest.mark.parametrize(
    ("value", "least", "most", "allowed"),
    [
        (-1, 0, None, "an integer of at least 0"),
        (True, 0, None, "an integer of at least 0"),
        ("0", 0, None, "an integer of at least 0"),
        (0, 1, 9, "an integer from 1 to 9"),
        (10, 1, 9, "an integer from 1 to 9"),
        (4.0, 1, 9, "an integer from 1 to 9"),
    ],
)
def test_counts_within_bounds(value, least, most, allowed):
    assert check_count("n", least, least, most) == least
    assert check_count("n", 9, least, most) == 9
    with pytest.raises(EdgeL3ArgumentError) as caught:
        check_count("n", value, least, most)
    assert str(caught.value) == f"n must be {allowed}, got {value!r}"


def test_none_is_a_count_only_where_it_may_be():
    assert check_optional_count("n", None) is None
    with pytest.raises(EdgeL3ArgumentError):
        check_count("n", None)


@pytest.mark.parametrize("true", [True, 1, np.True_, np.int8(1), np.array(1)])
def test_flags(true):
    assert check_flag("f", true) is True
    assert check_flag("f", type(true)(0) if not isinstance(true, np.ndarray) else np.array(0)) is False


@pytest.mark.parametrize("value", [2, -1, 1.0, 0.0, "yes", None, np.zeros(2), np.float32(1)])
def test_what_is_no_flag(value):
    with pytest.raises(EdgeL3ArgumentError, match="f must be True or False, got "):
        check_flag("f", value)


def test_choices():
    assert check_choice("c", "b", ("a", "b")) == "b"
    for value in ("c", None, 1, ["a"], "A", ""):
        with pytest.raises(EdgeL3ArgumentError) as caught:
            check_choice("c", value, ("a", "b"))
        assert str(caught.value) == f"c must be one of a, b, got {value!r}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0, 0.0),
        (-2.5, -2.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (Fraction(1, 4), 0.25),
        (math.inf, None),
        (math.nan, None),
        (True, None),
        ("1", None),
        (None, None),
        (1j, None),
        (10**400, None),
    ],
)
def test_finite_numbers(value, expected):
    assert finite(value) == expected
    assert expected is None or type(finite(value)) is float
