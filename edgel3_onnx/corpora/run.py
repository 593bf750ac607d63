"""A run over a dataset: what is to be done is planned, then done by an engine; every input gets its record."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import compress

from edgel3_onnx.corpora.cutting import Cutter
from edgel3_onnx.corpora.inputs import Input
from edgel3_onnx.corpora.keys import absolutes
from edgel3_onnx.corpora.ledger import Ledger, Standing
from edgel3_onnx.corpora.place import PLANS, Folder, Place
from edgel3_onnx.corpora.plan import Chunk, PlanFile, PlanWriter
from edgel3_onnx.corpora.records import Record
from edgel3_onnx.corpora.replacing import recover, replaceable, roll_back, roll_forward
from edgel3_onnx.corpora.selection import WHOLE, Selection
from edgel3_onnx.corpora.sorting import Sorter
from edgel3_onnx.corpora.worker import Result
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import dataset, rows
from edgel3_onnx.outputs.record import MANNER, Metadata
from edgel3_onnx.recordings import location
from edgel3_onnx.terminal import display

Engine = Callable[[Iterable[Chunk]], Iterator[Result]]


class CorpusRun:
    """A run over a dataset.

    Parameters
    ----------
    place : Place
    existing : {"replace", "skip"} or None
        What to do about a dataset that is there. None: refuse it.

    Raises
    ------
    EdgeL3Error
        If there is one that is neither to be continued nor to be replaced, or it has parts of other programs.
    """

    def __init__(self, place: Place, existing: str | None) -> None:
        self.total = 0  # records that there will be; final when planning has ended
        self._place = place
        self._skips = existing == "skip"
        place.sweep()
        recover(place)
        ledger = Ledger(place)
        for part in ledger.strangers:
            dataset.read_sources(place.shown(part))  # which refuses what is not ours
        if ledger.parts and existing is None:
            raise EdgeL3Error(
                f"{place.shown('')} holds a dataset already: go on with it by --skip-existing, replace it by "
                "--overwrite, or name another directory"
            )
        self._replaced = [] if self._skips else replaceable(place)
        self._ledger = ledger if self._skips else None
        self._plan: PlanFile | None = None

    def plan(
        self,
        inputs: Iterable[Input],
        common: Metadata,
        cutter: Cutter,
        selection: Selection = WHOLE,
        *,
        dry: bool = False,
        path: str | None = None,
    ) -> Iterator[Record]:
        """Settle what is to be done, and save it unless ``dry``.

        Parameters
        ----------
        inputs : iterable of Input
            Read once, in bounded memory.
        common : dict
            How embeddings are made, as records of outputs have it.
        selection : Selection
            Of what parts of the recordings.
        path : str or None
            Where a plan that is ``dry`` is saved nevertheless, for :meth:`adopt`.

        Yields
        ------
        Record
            Of each input that needs no work; when dry, of all.
        """
        recipe = _recipe(common)
        sorter = Sorter(self._ledger, self._check_recipe(recipe), dry, selection)
        folder, name = os.path.split(path or "")
        writer = (
            PlanWriter(Folder(folder), recipe, folder="") if path else PlanWriter(self._place, recipe, self._replaced)
        )
        try:
            for records, files in sorter.batches(inputs):
                self.total = sorter.total
                yield from records
                if path or not dry:
                    for chunk in cutter.add(files):
                        writer.add(chunk)
            for chunk in cutter.end():
                writer.add(chunk)
            if path:
                writer.commit(name)
            elif writer.chunks:
                self._plan = PlanFile(self._place, writer.commit())
        finally:
            writer.abandon()

    def adopt(self, path: str, common: Metadata, shard: tuple[int, int]) -> Iterator[Record]:
        """Take what is to be done from the plan in ``path``: every ``shard[1]``-th chunk from number ``shard[0]`` on.

        Yields
        ------
        Record
            Of each file of those that are done.

        Raises
        ------
        EdgeL3Error
            If it is none, was made for other embeddings, or has files that other plans of the dataset have too.
        """
        assert self._ledger is not None
        folder, name = os.path.split(path)
        plan = PlanFile(Folder(folder), name)
        recipe = _recipe(common)
        self._check_recipe(recipe)
        dataset.refuse_difference(path, plan.recipe, recipe)
        _refuse_other_parts(path, plan, recipe)
        if plan.own_name not in self._place.names(PLANS):
            self._refuse_overlap(plan)
            plan.adopt(self._place)
            self._ledger = Ledger(self._place)
        number, (first, step) = 0, shard
        for group in range(plan.groups):
            chunks = plan.group(group)
            mine = chunks[(first - number) % step :: step]
            number += len(chunks)
            self.total += sum(len(chunk.entries) for chunk in mine)
            numbers = self._ledger.numbers([chunk.id for chunk in mine])
            is_done = self._ledger.is_done[numbers]
            self._ledger.want(numbers[~is_done])
            entries = [entry for chunk in compress(mine, is_done.tolist()) for entry in chunk.entries]
            known_as = absolutes([location.joined(plan.folder, entry.path) for entry in entries])
            for entry, absolute, (standing, reason) in zip(
                entries, known_as, self._ledger.standings(entries), strict=True
            ):
                status, why = ("skipped", None) if standing == Standing.EMBEDDED else ("failed", reason)
                yield Record.of(entry.path, status, why, absolute_path=absolute)

    def _refuse_overlap(self, plan: PlanFile) -> None:
        assert self._ledger is not None
        for group in range(plan.groups):
            entries = [entry for chunk in plan.group(group) for entry in chunk.entries]
            for entry, (standing, _) in zip(entries, self._ledger.standings(entries), strict=True):
                if standing < Standing.KILLED:
                    raise EdgeL3Error(
                        f"{plan.name}: has {display(entry.path)}, which is in another plan of "
                        f"{self._place.shown('')}: make the plan anew"
                    )

    def work(self, engine: Engine) -> Generator[Record, None, None]:
        """Let ``engine`` do what was planned. Gives the records of each chunk when its part is whole."""
        plan = self._plan if self._plan is not None and self._plan.replaces else None  # until it has replaced them
        for result in engine(self._chunks()):
            if plan is not None and any(each.status == "done" for each in result.records):
                try:
                    roll_forward(self._place, plan)
                    plan = None
                except EdgeL3Error as error:
                    for each in result.records:
                        each.status, each.reason = "failed", str(error)
            yield from result.records
        if plan is not None:
            roll_back(self._place, plan)

    def _chunks(self) -> Iterator[Chunk]:
        if self._ledger is not None:
            yield from self._ledger.wanted()
        if self._plan is not None:
            for group in range(self._plan.groups):
                yield from self._plan.group(group)

    def _check_recipe(self, recipe: Metadata) -> dataset.FinishedSources | None:
        """Refuse a dataset that was made otherwise. Returns the recordings that are in none of its plans."""
        if self._ledger is None:
            return None
        root = self._place.shown("")
        for plan in self._ledger.plans:
            dataset.refuse_difference(root, plan.recipe, recipe)
            _refuse_other_parts(root, plan, recipe)
            if plan.recipe["columns"] != recipe["columns"]:
                raise EdgeL3Error(
                    f"{root} was made by another edgel3-onnx, whose rows have other columns: replace it by "
                    "--overwrite, or name another directory"
                )
        strangers = [self._place.shown(part) for part in self._ledger.strangers]
        return dataset.FinishedSources(root, strangers, recipe) if strangers else None


def _refuse_other_parts(name: str, plan: PlanFile, recipe: Metadata) -> None:
    if plan.recipe["part"] != recipe["part"]:
        raise EdgeL3Error(
            f"{name} was made of other parts of the recordings (offset, duration, edges or regions): give the same, "
            "replace it by --overwrite, or name another directory"
        )


def _recipe(common: Metadata) -> Metadata:
    """What the rows of a dataset have in common."""
    return {**{name: common[name] for name in (*MANNER, "raw", "part")}, "columns": rows.schema(1).names}
