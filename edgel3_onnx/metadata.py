"""What a graph says about itself: which network it is, made from what, for which front end."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgel3_onnx.exceptions import EdgeL3Error
from edgel3_onnx.spec import FrontEndSpec, NetworkSpec

KEY = "edgel3_onnx"  # of the graph's custom metadata; its value is a JSON object
FORMAT = 1
PRECISIONS = ("fp32", "int8", "fp16")


@dataclass(frozen=True)
class GraphMetadata:
    """The metadata of a graph that this package exported."""

    variant: str | None  # id in the registry; None for weights of one's own
    kind: str  # "mel" or "waveform": what the graph takes
    precision: str  # one of PRECISIONS
    frontend: dict[str, Any]
    network: dict[str, Any]
    filters: list[int] | None  # output channels of each convolution, where dead ones may have been removed
    source_sha256: str  # hex, of the weight file

    @classmethod
    def read(cls, custom_metadata: Mapping[str, str], path: object) -> "GraphMetadata | None":
        """Parse a graph's custom metadata; None if the graph was not exported by this package.

        Raises
        ------
        EdgeL3Error
            If the metadata is of another format or damaged.
        """
        if KEY not in custom_metadata:
            return None
        try:
            data = json.loads(custom_metadata[KEY])
            if data["format"] != FORMAT:
                raise EdgeL3Error(
                    f"{path}: graph metadata has format {data['format']}, this version reads {FORMAT}; "
                    "export the graph anew"
                )
            return cls(
                data["variant"],
                data["kind"],
                data["precision"],
                dict(data["frontend"]),
                dict(data["network"]),
                data.get("filters"),
                data["source"]["sha256"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise EdgeL3Error(f"{path}: graph metadata is damaged ({error!r}); export the graph anew") from error

    def check(self, frontend: FrontEndSpec, network: NetworkSpec | None, path: object) -> None:
        """Refuse a graph that was made for another front end or, unless it is None, another network.

        Raises
        ------
        EdgeL3Error
            Names the first number that differs.
        """
        if network is not None:
            _compare("network", self.network, dataclasses.asdict(network), path)
        _compare("frontend", self.frontend, dataclasses.asdict(frontend), path)


def _compare(section: str, found: dict[str, Any], expected: dict[str, Any], path: object) -> None:
    for name, value in json.loads(json.dumps(expected)).items():
        if found.get(name) != value:
            raise EdgeL3Error(f"{path}: metadata, {section}.{name}: expected {value}, found {found.get(name)}")
