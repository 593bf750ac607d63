"""Fixtures that several test files use; the tests run against the installed package."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path_factory, monkeypatch):
    """No test sees the user's cache or reaches the network."""
    for name in ("EDGEL3_ONNX_MIRROR", "EDGEL3_ONNX_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGEL3_ONNX_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("EDGEL3_ONNX_OFFLINE", "1")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The directory of embeddings made by the published code, or a visible skip."""
    folder = os.environ.get("EDGEL3_ONNX_REFERENCE")
    if not folder:
        pytest.skip("needs EDGEL3_ONNX_REFERENCE, a directory of embeddings made by the published edgel3")
    return Path(folder)
