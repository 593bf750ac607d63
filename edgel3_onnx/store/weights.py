"""The weight store: the local ONNX graph of a variant or of a weight file of one's own, made on first use."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from edgel3_onnx.exceptions import EdgeL3ArgumentError, EdgeL3Error, WeightsUnavailableError
from edgel3_onnx.metadata import FORMAT, PRECISIONS
from edgel3_onnx.spec import NETWORKS
from edgel3_onnx.store import download
from edgel3_onnx.store.cache import cache_dir, fault, get_or_make, locate
from edgel3_onnx.store.registry import Variant, upstream_url
from edgel3_onnx.version import __version__

__all__ = ["cache_dir", "cached_path", "convert_file", "embedding_model_path"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_GZIP_MAGIC = b"\x1f\x8b"


def cached_path(variant: Variant, precision: str = "fp32") -> Path | None:
    """The local graph of ``variant`` if it can be used as it is, else None. Never writes or downloads."""
    _check_precision(precision)
    packaged = _packaged_path(variant, precision)
    if packaged is not None:
        return packaged
    graph = locate(_graph_name(variant.id, precision), _origin_of(variant))
    return graph if fault(graph, _origin_of(variant)) is None else None


def embedding_model_path(variant: Variant, *, precision: str = "fp32", verbose: bool = True) -> Path:
    """The local graph of ``variant``: from the package, the cache, or made now from published weights.

    Parameters
    ----------
    variant : Variant
    precision : {"fp32", "int8", "fp16"}
        The last two are made from the fp32 graph on first use, where the package does not hold them.
    verbose : bool
        Show the progress of a download on stderr, if that is a terminal.

    Raises
    ------
    EdgeL3Error
        If the graph is not at hand and cannot be made; the message says what was tried, why that failed, and
        the ways out.
    EdgeL3ArgumentError
        If there is no such precision.
    """
    _check_precision(precision)
    packaged = _packaged_path(variant, precision)
    if packaged is not None:
        return packaged

    def make() -> bytes:
        if precision != "fp32":
            return _quantize(embedding_model_path(variant, verbose=verbose).read_bytes(), precision)
        return _convert_published(variant, verbose)

    return get_or_make(_graph_name(variant.id, precision), _origin_of(variant), make)


def convert_file(path: str | os.PathLike[str], network_name: str, precision: str = "fp32") -> Path:
    """The graph of a weight file of the user's own, which need not be a published one.

    Parameters
    ----------
    path : path
        ``.h5`` or ``.h5.gz`` (converted into the cache, once per content), or ``.onnx`` (used where it is, and
        checked once per content as long as the cache remembers it).
    network_name : str
        Key of ``NETWORKS``: the architecture that the file must have.
    precision : {"fp32", "int8", "fp16"}
        "fp32" takes an ``.onnx`` file in the precision that it has.

    Raises
    ------
    EdgeL3Error
        If the file has another architecture (the message names the first layer that differs) or is damaged.
    EdgeL3ArgumentError
        If the file cannot be read or is of another type, or there is no such precision or network.
    """
    _check_precision(precision)
    if network_name not in NETWORKS:
        raise EdgeL3ArgumentError(f"network_name must be one of {', '.join(NETWORKS)}, got {network_name!r}")
    path = Path(path)
    data = _read_own_file(path)
    digest = hashlib.sha256(data).hexdigest()
    is_hdf5 = data.startswith((_HDF5_MAGIC, _GZIP_MAGIC)) or path.name.lower().endswith((".h5", ".h5.gz"))
    if not is_hdf5 and path.suffix.lower() != ".onnx":
        raise EdgeL3ArgumentError(f"weights: {path} is neither Keras HDF5 (.h5, .h5.gz) nor ONNX (.onnx)")

    def cached(precision: str, make: Callable[[], bytes]) -> Path:
        name = _graph_name(f"own-{digest[:16]}-{network_name}", precision)
        return get_or_make(name, _origin(digest), make)

    if is_hdf5:
        graph = cached("fp32", lambda: _convert(data, network_name, None, path.name))
        fits = precision == "fp32"
    else:
        graph = path
        fits = _checked_precision(data, digest, network_name, path.name) == precision or precision == "fp32"
    return graph if fits else cached(precision, lambda: _quantize(graph.read_bytes(), precision))


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise EdgeL3ArgumentError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


def _graph_name(stem: str, precision: str) -> str:
    return f"{stem}.mel.{precision}.onnx"


def _packaged_path(variant: Variant, precision: str = "fp32") -> Path | None:
    """The graph that this package holds, if it is that one."""
    if not variant.packaged:
        return None
    name = variant.file if precision == "fp32" else f"{variant.id}.{precision}.onnx"
    path = Path(str(resources.files("edgel3_onnx.onnx_models").joinpath(name)))
    return path if path.is_file() else None


def _origin_of(variant: Variant) -> dict[str, object]:
    if variant.git_blob_id is not None:
        return _origin(variant.git_blob_id)
    packaged = _packaged_path(variant)
    assert packaged is not None
    return _origin(hashlib.sha256(packaged.read_bytes()).hexdigest())


def _origin(source_digest: str) -> dict[str, object]:
    """What a cached graph is made from; one made from something else, or in another format, is made anew."""
    return {"format": FORMAT, "source": source_digest}


def _convert_published(variant: Variant, verbose: bool) -> bytes:
    assert variant.git_blob_id is not None and variant.network is not None  # else it would be a packaged one
    try:
        data = download.fetch(variant.file, variant.git_blob_id, upstream_url(), verbose=verbose)
    except EdgeL3Error as error:
        raise _unavailable(variant, str(error)) from None
    return _convert(data, variant.network, variant.id, variant.file)


def _unavailable(variant: Variant, failures: str) -> WeightsUnavailableError:
    graph = locate(_graph_name(variant.id, "fp32"), _origin_of(variant))
    tried = [f"{graph}: {fault(graph, _origin_of(variant))}", *failures.splitlines()]
    return WeightsUnavailableError(
        "\n  ".join([f"Cannot get the weights of {variant.id} ({variant.file}). Tried:", *tried]),
        [
            "give a weight file: --weights FILE, in Python weights=FILE",
            "set EDGEL3_ONNX_MIRROR to a directory or an http(s) URL that has this file",
            f"copy {graph.parent} from a machine that has this model (EDGEL3_ONNX_CACHE sets the place)",
        ],
    )


def _convert(data: bytes, network_name: str, variant_id: str | None, source_file: str) -> bytes:
    with _export_packages("Converting weights"):
        from edgel3_onnx.export.convert.compact import compact
        from edgel3_onnx.export.convert.h5_to_onnx import convert
        from edgel3_onnx.export.convert.source import decompress

        graph = convert(
            decompress(data, source_file),
            NETWORKS[network_name],
            variant=variant_id,
            source_file=source_file,
            source_sha256=hashlib.sha256(data).hexdigest(),
        )
        return compact(graph)


def _quantize(graph: bytes, precision: str) -> bytes:
    with _export_packages(f"Making an {precision} graph"):
        from edgel3_onnx.export.convert.quantize import quantize

        return quantize(graph, precision)


def _checked_precision(graph: bytes, digest: str, network_name: str, source_file: str) -> str:
    """Refuse a graph of another architecture; return the precision that it has."""
    name, origin = f"own-{digest[:16]}-{network_name}.checked", {**_origin(digest), "checked by": __version__}
    checked = locate(name, origin)
    if fault(checked, origin) is None:
        return checked.read_text("ascii")
    with _export_packages("Checking a graph"):
        from edgel3_onnx.export.convert.check import check_file

        precision = check_file(graph, NETWORKS[network_name], source_file)
    with suppress(EdgeL3Error):  # where the cache cannot be written to, it is checked every time
        get_or_make(name, origin, precision.encode)
    return precision


@contextmanager
def _export_packages(what: str) -> Iterator[None]:
    """Say which package is missing on a device that has only what running a converted graph takes."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise EdgeL3Error(
            f"{what} needs the Python package {error.name!r}: install it (pip install onnx h5py), or copy "
            f"{cache_dir()} from a machine that has converted this model"
        ) from error


def _read_own_file(path: Path) -> bytes:
    from edgel3_onnx.export.convert.source import read_file

    try:
        data = read_file(path)
    except EdgeL3Error as error:
        raise EdgeL3ArgumentError(f"weights: {error}") from error
    if not data:
        raise EdgeL3ArgumentError(f"weights: {path} is empty")
    return data
