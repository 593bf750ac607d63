"""What files are known by: 128 bits of a digest of the absolute path, of millions at a time.

Keys are an array of shape (2, N), uint64: the two halves of each, of which the first alone tells nearly all apart.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.outputs.dataset import key
from edgel3_onnx.outputs.rows import path_text

HALF = np.dtype("<u8")
Keys = NDArray[Any]
_BLOCK = 2**10  # paths that are looked through at once
_GROWTH = 8  # how many times as long as the next a level of keys that were met is, at least


def _digest(absolute: str) -> bytes:
    return hashlib.blake2b(absolute.encode(), digest_size=16).digest()


def from_bytes(data: Any) -> Keys:
    """Keys of 16 bytes each, one after another."""
    return np.ascontiguousarray(np.frombuffer(data, HALF).reshape(-1, 2).T)


def from_hex(names: Sequence[str]) -> Keys:
    """Keys of 32 digits each."""
    return from_bytes(bytes.fromhex("".join(names)))


def keys_of(absolute: Sequence[str]) -> Keys:
    """The keys of what :func:`absolutes` gives."""
    return from_bytes(b"".join(map(_digest, absolute)))


def absolutes(paths: list[str]) -> list[str]:
    """:func:`edgel3_onnx.outputs.dataset.key` of each path, in a third of the time where paths are as is usual."""
    folder = None
    found: list[str] = []
    for start in range(0, len(paths), _BLOCK):
        block = paths[start : start + _BLOCK]
        if not _are_normal(block):
            found += map(key, block)
        elif all(path[0] == "/" for path in block):
            found += block
        else:
            folder = folder or key("").rstrip("/") + "/"
            found += [path if path[0] == "/" else folder + path for path in block]
    return found


def _are_normal(paths: list[str]) -> bool:
    """Whether making these absolute is no more than to put a directory in front of some; False where in doubt."""
    joined = "\0".join(["", *paths, ""])
    if os.sep != "/" or not has_texts(joined):
        return False
    letters = np.frombuffer(joined.encode(), np.uint8)
    end, slash, dot, colon = (letters == ord(each) for each in "\0/.:")
    if np.count_nonzero(end) != len(paths) + 1:
        return False
    odd = (slash | dot)[:-1] & (slash | end)[1:]  # //, a URI's too, and names that are empty or end with a dot
    odd |= end[:-1] & end[1:]
    odd |= colon[:-1] & colon[1:]  # a member of an archive
    return not odd.any()


def has_texts(paths: str) -> bool:
    """Whether :func:`edgel3_onnx.outputs.rows.path_text` leaves paths as they are; False where in doubt."""
    try:
        return paths.isascii() or (path_text("\xe9") == "\xe9" and bool(paths.encode()))
    except UnicodeEncodeError:
        return False


def order(keys: Keys, standing: NDArray[Any] | None = None) -> NDArray[np.intp]:
    """What sorts keys; equal ones by ``standing``, and then as they are."""
    found = np.argsort(keys[0], kind="stable")
    first = keys[0][found]
    if (first[1:] != first[:-1]).all():
        return found
    del found, first
    return np.lexsort((keys[1], keys[0]) if standing is None else (standing, keys[1], keys[0]))


def search(table: Keys, wanted: Keys) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each of ``wanted`` is in a sorted table, at the first of equal ones, or belongs; and which are there."""
    at = np.zeros(wanted.shape[1], np.intp)
    if (last := table.shape[1] - 1) < 0:
        return at, at > 0
    by = np.argsort(wanted[0])  # so that what is looked at is in the cache, mostly
    at[by] = np.searchsorted(table[0], wanted[0][by])
    while True:
        here = table[:, np.minimum(at, last)]
        is_half = (at <= last) & (here[0] == wanted[0])
        before = is_half & (here[1] < wanted[1])
        if not before.any():
            return at, is_half & (here[1] == wanted[1])
        at += before


def distinct(keys: Keys) -> tuple[Keys, NDArray[np.intp]]:
    """Keys sorted, each once, and where each of ``keys`` is among them."""
    by = order(keys)
    is_new = _differ(keys[:, by])
    at = np.empty(len(by), np.intp)
    at[by] = np.cumsum(is_new) - 1
    return keys[:, by[is_new]], at


def _differ(keys: Keys) -> NDArray[np.bool_]:
    """Whether each is another than the one before it."""
    found = np.ones(keys.shape[1], bool)
    found[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return found


class Seen:
    """Keys that were met so far: 16 bytes each, however many they are."""

    def __init__(self) -> None:
        self._levels: list[Keys] = []  # each sorted

    def first(self, keys: Keys) -> NDArray[np.bool_]:
        """Whether each is met for the first time. They are met from now on."""
        by = order(keys)
        new = keys[:, by]
        fresh = _differ(new)
        for level in self._levels:
            fresh &= ~search(level, new)[1]
        added = new[:, fresh]
        while self._levels and self._levels[-1].shape[1] < _GROWTH * added.shape[1]:
            level = self._levels.pop()
            at, _ = search(level, added)
            added = np.stack([np.insert(*halves) for halves in zip(level, (at, at), added, strict=True)])
        if added.shape[1]:
            self._levels.append(added)
        found = np.empty(len(by), bool)
        found[by] = fresh
        return found
