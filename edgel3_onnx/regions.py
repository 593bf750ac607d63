"""Which regions belong to which recording."""

import os
from collections import defaultdict
from collections.abc import Sequence

from edgel3_onnx.exceptions import EdgeL3ArgumentError
from edgel3_onnx.labels import Region, read_regions

Regions = dict[str, tuple[Region, ...]]


def regions_by_path(regions: str | os.PathLike[str] | Sequence[Region], paths: Sequence[str]) -> Regions:
    """The regions of each recording of ``paths``; one that has none is left out.

    Parameters
    ----------
    regions : path, list of Region, or str
        As of :func:`edgel3_onnx.process_file`.

    Raises
    ------
    EdgeL3ArgumentError
        If no recording has regions, a region does not say of which of several recordings it is, or it might be of
        more than one.
    EdgeL3Error
        If a file of regions cannot be read.
    """
    if isinstance(regions, str) and regions.startswith(".") and not os.path.exists(regions):
        beside = {path: os.path.splitext(path)[0] + regions for path in paths}
        found = {path: tuple(read_regions(name)) for path, name in beside.items() if os.path.exists(name)}
        source = f"files beside the recordings that end with {regions}"
    elif isinstance(regions, str | os.PathLike):
        source = os.fspath(regions)
        found = _assigned(read_regions(source), paths, source)
    else:
        source = "regions"
        if not all(isinstance(region, Region) for region in regions):
            raise EdgeL3ArgumentError(f"regions must be a path or a list of edgel3_onnx.labels.Region, got {regions!r}")
        found = _assigned(regions, paths, source)
    found = {path: these for path, these in found.items() if these}
    if not found:
        raise EdgeL3ArgumentError(f"{source}: no regions of any of the recordings")
    return found


def _assigned(regions: Sequence[Region], paths: Sequence[str], source: str) -> Regions:
    """By the last components of the path of each region, as many as it has."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[os.path.basename(path)].append(path)
    owner: dict[str, list[str]] = {}
    found: dict[str, list[Region]] = defaultdict(list)
    for region in regions:
        where = f"{source}, line {region.line}" if region.line else source
        if region.path is None:
            if len(paths) > 1:
                raise EdgeL3ArgumentError(f"{where}: does not say of which of {len(paths)} recordings it is")
            found[paths[0]].append(region)
            continue
        if region.path not in owner:
            wanted = _components(region.path)
            candidates = by_name.get(wanted[-1], []) if wanted else []
            owner[region.path] = [
                path for path in candidates if _components(os.path.abspath(path))[-len(wanted) :] == wanted
            ]
        if len(owner[region.path]) > 1:
            several = ", ".join(owner[region.path][:2])
            raise EdgeL3ArgumentError(f"{where}: {region.path} may be {several}: write more of its path")
        for path in owner[region.path]:
            found[path].append(region)
    return {path: tuple(these) for path, these in found.items()}


def _components(path: str) -> list[str]:
    return [part for part in os.path.normpath(path.replace("\\", "/")).split("/") if part not in ("", ".", "..")]
