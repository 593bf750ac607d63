"""From the blocks of a signal to its embeddings: the windows of its parts and channels, and where their rows belong."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgel3_onnx.audio import mix_down
from edgel3_onnx.channels import channel, numbers_of
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.options import EmbeddingOptions
from edgel3_onnx.parts import Group, Plan
from edgel3_onnx.pooling import Pool, normalized, pooled_dim
from edgel3_onnx.windows import WindowStream

Float32 = NDArray[np.float32]
_Stream = tuple[int, int]  # numbers of a stretch and of a channel in the list of those wanted


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one recording, and where their windows are.

    Where windows are pooled, a row is a part or the whole of the recording.

    Attributes
    ----------
    embedding : float32 (T, D)
    timestamps : float64 (T,)
        ``arange(T) * hop_size``, in seconds, as edgel3 has them; of a part, those that its windows have in the whole
        recording. Of a pooled row, ``start``.
    start_sample : int64 (T,)
        Where each window really starts: samples at the model's rate since the start of the recording, negative in
        the zeros that centring puts in front. A hop is rounded down to whole samples, so that where it is not
        whole, ``timestamps`` run ahead of ``start_sample``.
    start, end : float64 (T,)
        The same in seconds, exact, and where each window ends. Of a pooled row, the bounds of the part.
    channel : int16 (T,) or None
        Counted from 1. None: of the mean of all channels.
    label : list of (str or None) of length T, or None
        Of the region that each window belongs to. None: nobody gave regions.
    """

    embedding: Float32
    timestamps: NDArray[np.float64]
    start_sample: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    channel: NDArray[np.int16] | None = None
    label: list[str | None] | None = None

    @classmethod
    def of(cls, embedding: Float32, model: EmbeddingModel, options: EmbeddingOptions, first: int = 0) -> "Embeddings":
        """Those of the windows from number ``first`` on."""
        count = np.arange(first, first + len(embedding), dtype=np.int64)
        timestamps = count.astype(np.float64) * options.hop_size
        start_sample = count * options.hop_length(model) - options.lead(model)
        end_sample = start_sample + model.spec.window_length
        return cls(
            embedding, timestamps, start_sample, start_sample / model.sample_rate, end_sample / model.sample_rate
        )


def drift_warning(windows: int, model: EmbeddingModel, options: EmbeddingOptions) -> str | None:
    """What to say where the last timestamp is more than half a hop ahead of its window; else None."""
    hop_length = options.hop_length(model)
    drift = (windows - 1) * (options.hop_size - hop_length / model.sample_rate)
    if drift <= options.hop_size / 2:
        return None
    return (
        f"timestamps are multiples of hop_size, as edgel3 has them, but windows start every {hop_length} samples at "
        f"{model.sample_rate} Hz: the last timestamp is {drift:.3f} s too large (start_sample in outputs is exact)"
    )


class Gathering:
    """Cuts the blocks of a signal into windows, and gathers the embeddings of these.

    Windows are made in one thread, and their rows may be added in another, in the order of the windows.

    Parameters
    ----------
    rate : float
        Of the signal, Hz.
    channels : int
        That it has.
    plan : Plan
        The windows wanted.

    Raises
    ------
    EdgeL3Error
        If the signal does not have the channels that are asked for.
    """

    def __init__(
        self, model: EmbeddingModel, rate: float, channels: int, options: EmbeddingOptions, plan: Plan
    ) -> None:
        self.numbers = numbers_of(options.channels, channels)
        self.plan = plan
        self.end = 0  # samples up to which the signal was fed, per channel
        self.windows = 0  # up to which number there are rows, where windows are not pooled
        self._model, self._rate, self._options = model, rate, options
        self._waiting = deque(range(len(plan.stretches)))
        self._groups: dict[int, list[tuple[int, Group]]] = {}  # by their stretch
        for number, group in enumerate(plan.groups):
            self._groups.setdefault(group.stretch, []).append((number, group))
        self._open: dict[_Stream, WindowStream] = {}
        self._silent = True
        self._owners: deque[tuple[_Stream, int]] = deque()  # of the windows given, whose rows are still to come
        self._parts: dict[_Stream, list[Float32]] = {}
        self._pools: dict[_Stream, _Pools] = {}

    @property
    def silent(self) -> bool:
        """Whether all samples were zero."""
        return self._silent and all(stream.silent for stream in self._open.values())

    @property
    def is_complete(self) -> bool:
        """Whether no further sample is needed."""
        return not self._waiting and all(stream.is_complete for stream in self._open.values())

    def feed(self, position: int, block: NDArray[Any], batch_size: int) -> Iterator[Float32]:
        """The windows that samples (N,) or (N, C) from ``position`` on complete, in portions for the network."""
        self.end = stop = position + len(block)
        while self._waiting and self.plan.stretches[self._waiting[0]].begin < stop:
            self._start(self._waiting.popleft())
        pieces: dict[tuple[int, int, int], NDArray[np.float32]] = {}  # mixed down, for stretches that have the same
        for key in list(self._open):
            stretch = self.plan.stretches[key[0]]
            low = max(stretch.begin - position, 0)
            high = len(block) if stretch.end is None else min(stretch.end - position, len(block))
            place = (low, high, key[1])
            if place not in pieces:
                part = block[low:high]
                pieces[place] = mix_down(part if self.numbers is None else channel(part, self.numbers[key[1]]))
            yield from self._owned(key, self._open[key].feed(pieces[place], batch_size))
            if self._open[key].is_complete or (stretch.end is not None and stretch.end <= stop):
                yield from self._close(key, batch_size)

    def finish(self, batch_size: int) -> Iterator[Float32]:
        """The last windows, where the signal ends."""
        for key in list(self._open):
            yield from self._close(key, batch_size)

    def add(self, rows: Float32) -> None:
        """Take the embeddings (N, D) of the next windows."""
        while len(rows):
            key, count = self._owners.popleft()
            if count > len(rows):
                self._owners.appendleft((key, count - len(rows)))
                count = len(rows)
            if self._options.pool == "none":
                self._parts.setdefault(key, []).append(rows[:count])
            else:
                self._pools[key].add(rows[:count])
            rows = rows[count:]

    def result(self) -> tuple[Embeddings, list[Group]]:
        """The embeddings, sorted by part, channel and time; and the parts of which there is none."""
        numbers = range(1 if self.numbers is None else len(self.numbers))
        make = self._windows if self._options.pool == "none" else self._pooled
        found: list[Embeddings] = []
        missing = []
        labelled = self.plan.done is not None and self.plan.done.regions is not None
        for group_number, group in enumerate(self.plan.groups):
            rows = [make(group_number, group, number) for number in numbers]
            if not any(len(each.embedding) for each in rows):
                missing.append(group)
            for number, each in zip(numbers, rows, strict=True):
                count = len(each.embedding)
                found.append(
                    replace(
                        each,
                        channel=None if self.numbers is None else np.full(count, self.numbers[number], np.int16),
                        label=[group.label] * count if labelled else None,
                    )
                )
        joined = found[0] if len(found) == 1 else _joined(found, self._dim)
        return replace(joined, embedding=normalized(joined.embedding, self._options.normalize)), missing

    @property
    def _dim(self) -> int:
        return pooled_dim(self._options.pool, self._model.embedding_dim)

    def _start(self, number: int) -> None:
        stretch = self.plan.stretches[number]
        for k in range(1 if self.numbers is None else len(self.numbers)):
            self._open[number, k] = WindowStream(self._model, self._rate, self._options, stretch.first, stretch.stop)
            if self._options.pool != "none":
                self._pools[number, k] = _Pools(self._groups[number], self._options.pool, self._model.embedding_dim)

    def _close(self, key: _Stream, batch_size: int) -> Iterator[Float32]:
        stream = self._open[key]
        yield from self._owned(key, stream.finish(batch_size))
        self._silent = self._silent and stream.silent
        del self._open[key]

    def _owned(self, key: _Stream, portions: Iterator[Float32]) -> Iterator[Float32]:
        for windows in portions:
            self._owners.append((key, len(windows)))
            yield windows

    def _windows(self, number: int, group: Group, channel_number: int) -> Embeddings:
        stretch, options, model = self.plan.stretches[group.stretch], self._options, self._model
        key = group.stretch, channel_number
        parts = self._parts.get(key, [])
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        rows = parts[0][group.first : group.stop] if parts else np.zeros((0, model.embedding_dim), np.float32)
        found = Embeddings.of(rows, model, options, stretch.first + group.first)
        self.windows = max(self.windows, stretch.first + group.first + len(rows))
        if not stretch.is_cut:
            return found
        return replace(
            found,
            timestamps=found.timestamps + group.start,
            start_sample=found.start_sample + round(group.start * model.sample_rate),
            start=found.start + group.start,
            end=found.end + group.start,
        )

    def _pooled(self, number: int, group: Group, channel_number: int) -> Embeddings:
        pools = self._pools.get((group.stretch, channel_number))
        pool = None if pools is None else pools.of[number]
        count = int(pool is not None and pool.count > 0)
        rows = pool.result()[np.newaxis] if pool is not None and count else np.zeros((0, self._dim), np.float32)
        start = np.full(count, group.start)
        end = np.full(count, self.end / self._rate if group.end is None else group.end)
        return Embeddings(rows, start, np.round(start * self._model.sample_rate).astype(np.int64), start, end)


class _Pools:
    """The pools of the groups of one stretch, of which many may overlap."""

    def __init__(self, groups: list[tuple[int, Group]], kind: str, dim: int) -> None:
        self.of = {number: Pool(kind, dim) for number, _ in groups}
        self._waiting = deque(sorted(groups, key=lambda item: item[1].first))
        self._active: list[tuple[int, Group]] = []
        self._count = 0

    def add(self, rows: Float32) -> None:
        begin, self._count = self._count, self._count + len(rows)
        while self._waiting and self._waiting[0][1].first < self._count:
            self._active.append(self._waiting.popleft())
        for number, group in self._active:
            stop = len(rows) if group.stop is None else group.stop - begin
            self.of[number].add(rows[max(group.first - begin, 0) : stop])
        self._active = [item for item in self._active if item[1].stop is None or item[1].stop > self._count]


def _joined(found: list[Embeddings], dim: int) -> Embeddings:
    """All rows of several."""
    empty = Embeddings(np.zeros((0, dim), np.float32), np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    if not found:
        return empty
    channels, labels = [each.channel for each in found], [each.label for each in found]
    return Embeddings(
        np.concatenate([each.embedding for each in found]),
        np.concatenate([each.timestamps for each in found]),
        np.concatenate([each.start_sample for each in found]),
        np.concatenate([each.start for each in found]),
        np.concatenate([each.end for each in found]),
        np.concatenate([each for each in channels if each is not None]) if channels[0] is not None else None,
        [label for each in labels if each is not None for label in each] if labels[0] is not None else None,
    )
