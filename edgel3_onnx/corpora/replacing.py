"""A dataset that gives way to another in the same place: old files go when the first new part has rows, not before.

A plan says which files it replaces. So whoever finds such a plan and such files can tell what a killed run left undone.
"""

from edgel3_onnx.corpora.parts import part_name
from edgel3_onnx.corpora.place import ERRORS, PLANS, Place
from edgel3_onnx.corpora.plan import PlanFile, plans
from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.outputs import dataset


def replaceable(place: Place) -> list[str]:
    """The files of a dataset."""
    parts = [name for name in place.names() if dataset.is_part(name)]
    kept = [f"{folder}/{name}" for folder in (ERRORS, PLANS) for name in place.names(folder) if name[0] != "."]
    return parts + kept


def roll_forward(place: Place, plan: PlanFile) -> None:
    """Remove what a plan replaces. EdgeL3Error if something stays."""
    for name in plan.replaces:
        try:
            place.remove(name)
        except OSError as error:
            reason = error.strerror or error
            raise EdgeL3Error(f"{place.shown(name)}: cannot be removed ({reason}), whose rows are replaced") from error


def roll_back(place: Place, plan: PlanFile) -> None:
    """Remove a plan of which nothing came. EdgeL3Error if something stays."""
    for name in (*_parts(plan), *(f"{ERRORS}/{part}" for part in _parts(plan)), plan.name):
        try:
            place.remove(name)
        except OSError as error:
            raise EdgeL3Error(f"{place.shown(name)}: cannot be removed ({error.strerror or error})") from error


def recover(place: Place) -> None:
    """Finish what a run that was killed began: forward where it had rows of its own, else back."""
    for plan in plans(place):
        if not plan.replaces or not set(plan.replaces).intersection(replaceable(place)):
            continue
        if any(_has_rows(place, part) for part in set(_parts(plan)).intersection(place.names())):
            roll_forward(place, plan)
        else:
            roll_back(place, plan)


def _parts(plan: PlanFile) -> list[str]:
    chunks: dict[str, None] = {}
    for names in plan.chunk_names():
        chunks |= dict.fromkeys(names)
    return [part_name(chunk) for chunk in chunks]


def _has_rows(place: Place, part: str) -> bool:
    from pyarrow import parquet

    with place.reading(part) as file:
        return bool(parquet.read_metadata(file).num_rows)
