"""Which channels of a recording are embedded: their mean, or each on its own."""

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error

_MOST = 2**15 - 1  # what a column of int16 holds


def check_channels(channels: object) -> str:
    """Return "mix", "each", or numbers of channels from 1 between commas.

    Parameters
    ----------
    channels : {"mix", "each"}, int, iterable of int, or str of numbers between commas

    Raises
    ------
    EdgeL3ArgumentError
        If it is none of these, a number is less than 1, or one is named twice.
    """
    if isinstance(channels, str) and channels in ("mix", "each"):
        return channels
    if isinstance(channels, str):
        items: Iterable[object] = [int(item) if item.strip().isdecimal() else item for item in channels.split(",")]
    else:
        items = channels if isinstance(channels, Iterable) else [channels]
    numbers = [_number(item) for item in items]
    if not numbers or None in numbers or len(set(numbers)) < len(numbers):
        raise EdgeL3ArgumentError(
            f"channels must be mix, each, or different numbers of channels from 1, such as 1,3, got {channels!r}"
        )
    return ",".join(map(str, numbers))


def _number(item: object) -> int | None:
    try:
        number = operator.index(item)  # type: ignore[arg-type]
    except TypeError:
        return None
    return number if 1 <= number <= _MOST and not isinstance(item, bool) else None


def numbers_of(channels: str, count: int) -> list[int] | None:
    """The channels, from 1, that ``channels`` means in a signal that has ``count``; None: their mean.

    Raises
    ------
    EdgeL3Error
        If it has not all of them.
    """
    if channels == "mix":
        return None
    if channels == "each":
        return list(range(1, count + 1))
    numbers = [int(number) for number in channels.split(",")]
    if max(numbers) > count:
        has = "1 channel" if count == 1 else f"{count} channels"
        raise EdgeL3Error(f"has {has}, and channel {max(numbers)} is asked for")
    return numbers


def channel(block: NDArray[Any], number: int) -> NDArray[Any]:
    """Channel ``number``, from 1, of samples (N,) or (N, C): (N,).

    One channel stands for all, as where a stretch of a recording is lost and made of zeros, or is mono.
    """
    if block.ndim == 1 or block.shape[1] == 1:
        return np.ascontiguousarray(block.reshape(-1))
    if number > block.shape[1]:
        raise EdgeL3Error(f"has only {block.shape[1]} channels in a part of it, and channel {number} is asked for")
    return np.ascontiguousarray(block[:, number - 1])
