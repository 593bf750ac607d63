"""What arguments may be: one check for each kind, all of them raising EdgeL3ArgumentError."""

import math
import operator
from collections.abc import Collection
from numbers import Real

from edgel3_onnx.exceptions import EdgeL3ArgumentError


def check_count(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """Return ``value``, an integer of any integer type from ``least`` to ``most``, as an int."""
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = least - 1
    if count < least or isinstance(value, bool) or (most is not None and count > most):
        allowed = "a positive integer" if least == 1 else f"an integer of at least {least}"
        if most is not None:
            allowed = f"an integer from {least} to {most}"
        raise EdgeL3ArgumentError(f"{name} must be {allowed}, got {value!r}")
    return count


def check_optional_count(name: str, value: object) -> int | None:
    """As :func:`check_count`, or None."""
    return None if value is None else check_count(name, value)


def check_flag(name: str, value: object) -> bool:
    """Return True or False, which may be given as 1 or 0, or as NumPy has them."""
    try:
        number = operator.index(value.item() if hasattr(value, "item") else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1
    if number not in (0, 1):
        raise EdgeL3ArgumentError(f"{name} must be True or False, got {value!r}")
    return bool(number)


def check_choice(name: str, value: object, allowed: Collection[str]) -> str:
    """Return ``value``, which must be one of ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        raise EdgeL3ArgumentError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def finite(value: object) -> float | None:
    """``value`` as a float if it is a finite real number, else None."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
