"""What a graph says about itself: which network it is, made from what, for which front end."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.spec import FRONTENDS, FrontEndSpec, NetworkSpec

KEY = "edgel3_onnx"  # of the graph's custom metadata; its value is a JSON object
FORMAT = 1
KINDS = ("mel", "waveform")  # what a graph takes: log-mel images, or samples
PRECISIONS = ("fp32", "int8", "fp16")  # of graphs
COMPUTED = (*PRECISIONS, "bf16")  # in which a model can run: bf16 is made from an fp32 graph when that is opened


def graph_precision(computed: str) -> str:
    """The precision of the graph that a model computes from."""
    return "fp32" if computed == "bf16" else computed


@dataclass(frozen=True)
class GraphMetadata:
    """The metadata of a graph that this package exported."""

    variant: str | None  # id in the registry; None for weights of one's own
    kind: str  # one of KINDS
    precision: str  # one of PRECISIONS
    frontend: FrontEndSpec  # one of FRONTENDS
    network: dict[str, Any]
    filters: list[int] | None  # output channels of each convolution, where dead ones may have been removed
    source_file: str  # name of the weight file that the graph was made from; of a student, its teacher's
    source_sha256: str  # hex, of that file
    exporter: str  # version of this package
    calibration: str | None = None  # the sounds on which the ranges of an int8 graph were measured

    @classmethod
    def read(cls, custom_metadata: Mapping[str, str], path: object) -> "GraphMetadata | None":
        """Parse a graph's custom metadata; None if the graph was not exported by this package.

        Raises
        ------
        EdgeL3Error
            If the metadata is of another format, names a front end that this version does not have, or is
            damaged.
        """
        if KEY not in custom_metadata:
            return None
        try:
            data = json.loads(custom_metadata[KEY])
            if data["format"] != FORMAT:
                raise EdgeL3Error(
                    f"{path}: graph metadata has format {_show(data['format'])}, this version reads {FORMAT}; "
                    "export the graph anew"
                )
            frontend = FRONTENDS[data["frontend"]["name"]]
            _compare("frontend", data["frontend"], frontend, path)
            metadata = cls(
                data["variant"],
                data["kind"],
                data["precision"],
                frontend,
                dict(data["network"]),
                data.get("filters"),
                data["source"]["file"],
                data["source"]["sha256"],
                data["exporter"],
                data.get("calibration"),
            )
            metadata._check_types()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EdgeL3Error(
                f"{path}: graph metadata is damaged ({_show(repr(error))}); export the graph anew"
            ) from error
        return metadata

    def _check_types(self) -> None:
        for value, allowed in ((self.kind, KINDS), (self.precision, PRECISIONS)):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        for text in (self.variant or "", self.source_file, self.source_sha256, self.exporter, self.calibration or ""):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is not a text")
        if self.filters is not None and not (
            isinstance(self.filters, list) and all(type(count) is int and count > 0 for count in self.filters)
        ):
            raise TypeError(f"filters are {self.filters!r}")

    def write(self) -> dict[str, str]:
        """The custom metadata that ``read`` parses; sorted and compact, so that equal metadata are equal bytes."""
        data = dataclasses.asdict(self)
        data["format"] = FORMAT
        data["source"] = {"file": data.pop("source_file"), "sha256": data.pop("source_sha256")}
        if self.calibration is None:
            del data["calibration"]
        return {KEY: json.dumps(data, sort_keys=True, separators=(",", ":"))}

    def check(self, frontend: FrontEndSpec, network: NetworkSpec | None, path: object) -> None:
        """Refuse a graph that was made for another front end or, unless it is None, another network.

        Raises
        ------
        EdgeL3Error
            Names the first number that differs.
        """
        if network is not None:
            _compare("network", self.network, network, path)
        _compare("frontend", dataclasses.asdict(self.frontend), frontend, path)


def _compare(section: str, found: dict[str, Any], expected: FrontEndSpec | NetworkSpec, path: object) -> None:
    for name, value in json.loads(json.dumps(dataclasses.asdict(expected))).items():
        if found.get(name) != value:
            raise EdgeL3Error(f"{path}: metadata, {section}.{name}: expected {value}, found {_show(found.get(name))}")


def _show(value: object) -> str:
    """What a file says, for a message of one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:100]}..."
