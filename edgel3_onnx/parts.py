"""Parts of recordings: which windows belong to them, and which samples these need."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgel3_onnx import frontend
from edgel3_onnx.checks import check_choice, finite
from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.labels import Region
from edgel3_onnx.models import EmbeddingModel
from edgel3_onnx.options import EmbeddingOptions

EDGES = ("context", "cut")
_NOTICEABLE = 0.1  # seconds


@dataclass(frozen=True)
class Parts:
    """What is wanted of a recording.

    Attributes
    ----------
    offset : float
        Seconds.
    duration : float or None
        Seconds. None: to the end.
    regions : tuple of Region or None
        In place of offset and duration.
    edges : {"context", "cut"}
        Whether windows at an edge see the audio beyond it, or zeros as if the part were a recording of its own.
    """

    offset: float = 0.0
    duration: float | None = None
    regions: tuple[Region, ...] | None = None
    edges: str = "context"

    @classmethod
    def of(
        cls, offset: object, duration: object, edges: object, regions: Sequence[Region] | None = None
    ) -> "Parts | None":
        """What arguments say, checked; None: the whole recording."""
        begin, length = finite(offset), None if duration is None else finite(duration)
        if begin is None or begin < 0:
            raise EdgeL3ArgumentError(f"offset must be a number of seconds from 0, got {offset!r}")
        if duration is not None and (length is None or length <= 0):
            raise EdgeL3ArgumentError(f"duration must be a positive number of seconds or None, got {duration!r}")
        chosen = check_choice("edges", edges, EDGES)
        if regions is not None and (begin or length is not None):
            raise EdgeL3ArgumentError("regions go without offset and duration, got both")
        for region in regions or ():
            times = finite(region.start), finite(region.end)
            if times[0] is None or times[1] is None or not 0 <= times[0] <= times[1]:
                raise EdgeL3ArgumentError(f"regions must have 0 <= start <= end, in seconds, got {region!r}")
        if regions is None and not begin and length is None:
            if chosen != EDGES[0]:
                raise EdgeL3ArgumentError(f"edges={chosen!r} has no effect without offset, duration or regions")
            return None
        return cls(begin, length, None if regions is None else tuple(regions), chosen)

    def record(self) -> dict[str, Any]:
        """What the record of an output says of it."""
        if self.regions is None:
            return {"offset": self.offset, "duration": self.duration, "edges": self.edges}
        rows = json.dumps([[region.start, region.end, region.label] for region in self.regions])
        digest = hashlib.sha256(rows.encode()).hexdigest()
        return {"regions": len(self.regions), "regions_sha256": digest, "edges": self.edges}


@dataclass(frozen=True)
class Stretch:
    """Windows that are embedded one after another.

    Attributes
    ----------
    begin, end : int, int or None
        The samples that they need, at the rate of the recording; None: to its end.
    first, stop : int, int or None
        The windows. None: all up to the end.
    is_cut : bool
        Whether the samples are a signal of their own, of which ``first`` is 0.
    """

    begin: int
    end: int | None
    first: int = 0
    stop: int | None = None
    is_cut: bool = False


@dataclass(frozen=True)
class Group:
    """The windows of one part.

    Attributes
    ----------
    stretch : int
        Its number in the plan.
    first, stop : int, int or None
        Windows, counted from the first of the stretch.
    start, end : float, float or None
        Seconds of the recording. None: its end, which is not known.
    """

    stretch: int
    first: int
    stop: int | None
    start: float
    end: float | None
    label: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is read of a recording, and which windows belong together.

    Attributes
    ----------
    stretches : sequence of Stretch
        Sorted by ``begin``.
    groups : sequence of Group
        In the order of the regions.
    done : Parts or None
        Those that lie in the recording, of which the groups are.
    outside : sequence of str
        What is wrong with the others.
    shortened : sequence of str
        Which regions end behind the recording, by more than a tenth of a second.
    """

    stretches: Sequence[Stretch] = (Stretch(0, None),)
    groups: Sequence[Group] = (Group(0, 0, None, 0.0, None),)
    done: Parts | None = None
    outside: Sequence[str] = ()
    shortened: Sequence[str] = ()

    @property
    def spans(self) -> list[tuple[int, int | None]]:
        """The samples that are read, sorted, without overlaps."""
        spans: list[tuple[int, int | None]] = []
        for stretch in self.stretches:
            last = spans[-1] if spans else None
            if last is None or (last[1] is not None and stretch.begin > last[1]):
                spans.append((stretch.begin, stretch.end))
            elif last[1] is not None and (stretch.end is None or stretch.end > last[1]):
                spans[-1] = (last[0], stretch.end)
        return spans


def plan(
    parts: Parts | None, frames: int | None, rate: float, model: EmbeddingModel, options: EmbeddingOptions
) -> Plan:
    """What to read of a recording for some parts of it.

    A part has the windows whose time, which is their centre or, without centring, their start, lies in it: from its
    start up to and without its end, to the nearest sample at the model's rate. A part too short for that has the
    window whose time is nearest to its middle.

    Parameters
    ----------
    frames : int or None
        Samples of the recording, per channel, at ``rate`` (Hz). Must be known where there are parts.
    """
    if parts is None:
        return Plan()
    assert frames is not None
    seconds = frames / rate
    regions = parts.regions
    if regions is None:
        end = seconds if parts.duration is None else parts.offset + parts.duration
        regions = (Region(None, parts.offset, end),)
    good, outside, shortened = [], [], []
    least = rate / model.sample_rate  # samples of which resampling leaves one
    for region in regions:
        begin, end = (round(min(time, seconds) * rate) for time in (region.start, region.end))
        if begin >= frames:
            outside.append(f"{_what(region, parts)} lies outside of the recording, which has {seconds:.3f} s")
        elif parts.edges == "cut" and int((end - begin) / least) < 1:
            outside.append(f"{_what(region, parts)} is too short to be a recording of its own")
        else:
            good.append(region)
            if parts.regions is not None and region.end > seconds + _NOTICEABLE:
                shortened.append(f"{_what(region, parts)} ends behind the recording, which has {seconds:.3f} s")
    make = _cut if parts.edges == "cut" else _in_context
    stretches, groups = make(good, frames, rate, model, options)
    done = parts if parts.regions is None else Parts(regions=tuple(good), edges=parts.edges)
    return Plan(stretches, groups, done, outside, shortened)


def _what(region: Region, parts: Parts) -> str:
    if parts.regions is None:
        return f"the part from {region.start:g} s on"
    label = "" if region.label is None else f" ({region.label})"
    where = f" of line {region.line}" if region.line else ""
    return f"the region{where}{label} from {region.start:g} to {region.end:g} s"


def _in_context(
    regions: Sequence[Region], frames: int, rate: float, model: EmbeddingModel, options: EmbeddingOptions
) -> tuple[list[Stretch], list[Group]]:
    """Windows of the recording; those that several regions have are in one stretch."""
    hop_length, new_rate = options.hop_length(model), model.sample_rate
    samples = frames if rate == new_rate else int(frames * (new_rate / rate))
    total = frontend.num_windows(max(samples, 1), model.spec, hop_length, options.center)
    total = min(total, max(samples - 1, 0) // hop_length + 1)  # with a long hop the last may lie behind the end
    wanted = []
    for region in regions:
        begin, end = (round(min(time, frames / rate) * new_rate) for time in (region.start, region.end))
        first, stop = min(-(-begin // hop_length), total), min(-(-end // hop_length), total)
        if stop <= first:
            first = min((begin + end + hop_length) // (2 * hop_length), total - 1)
            stop = first + 1
        wanted.append((first, stop))
    runs: list[tuple[int, int]] = []
    for first, stop in sorted(wanted):
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(runs[-1][1], stop))
        else:
            runs.append((first, stop))
    stretches = []
    for first, stop in runs:
        needed, until = _samples_for(first, stop, rate, model, options)
        stretches.append(Stretch(min(needed, frames), None if until is None else min(until, frames), first, stop))
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    groups: dict[int, Group] = {}
    number = 0
    for k in order:
        first, stop = wanted[k]
        while number + 1 < len(runs) and runs[number + 1][0] <= first:
            number += 1
        base = runs[number][0]
        region = regions[k]
        seconds = min(region.end, frames / rate)
        groups[k] = Group(number, first - base, stop - base, region.start, seconds, region.label)
    return stretches, [groups[k] for k in range(len(regions))]


def _samples_for(
    first: int, stop: int, rate: float, model: EmbeddingModel, options: EmbeddingOptions
) -> tuple[int, int | None]:
    """The samples at ``rate`` that windows need, as far as the recording has them."""
    hop_length, lead = options.hop_length(model), options.lead(model)
    begin = max(first * hop_length - lead, 0)
    end = (stop - 1) * hop_length - lead + model.spec.window_length
    if rate == model.sample_rate:
        return begin, end
    resampler = frontend.Resampler(rate, model.sample_rate, options.resampler, begin)
    return resampler.first_input, resampler.inputs_for(end)


def _cut(
    regions: Sequence[Region], frames: int, rate: float, model: EmbeddingModel, options: EmbeddingOptions
) -> tuple[list[Stretch], list[Group]]:
    """A recording of its own for each region."""
    spans = [(round(region.start * rate), round(min(region.end, frames / rate) * rate)) for region in regions]
    order = sorted(range(len(spans)), key=lambda k: spans[k])
    number_of = {k: number for number, k in enumerate(order)}
    groups = [
        Group(number_of[k], 0, None, spans[k][0] / rate, spans[k][1] / rate, region.label)
        for k, region in enumerate(regions)
    ]
    return [Stretch(*spans[k], is_cut=True) for k in order], groups
