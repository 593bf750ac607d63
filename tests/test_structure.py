"""Imports point one way, those inside of functions included."""

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

import edgel3_onnx

# From the ground up; a module may import what stands on a line above its own, and on its own line if that makes no
# circle. Packages stand for all their modules, but for those that have a line of their own.
FLOORS = """
    exceptions version terminal _frontend _engine onnx_models
    edgel3_exceptions edgel3_warnings checks spec metadata durable atomic cpu
    frontend audio labels
    export.convert
    store
    export
    engines
    models
    channels pooling
    options
    parts windows regions
    gathering
    embedding
    streaming
    recordings outputs
    pipeline
    files citing frames corpora
    core edgel3_onnx
    sklearn hear mteb hoplite ray
    command
    cli
    __main__
"""
FLOOR = {name: floor for floor, line in enumerate(FLOORS.splitlines()) for name in line.split()}
ROOT = Path(edgel3_onnx.__file__).parent
EXPORT = Path(find_spec("edgel3_onnx.export").origin).parent
MODULES = {
    ".".join(["edgel3_onnx", *prefix, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
    for folder, prefix in ((ROOT, ()), (EXPORT, ("export",)))
    for path in folder.rglob("*.py")
}


def floor(module: str) -> int:
    name = module.removeprefix("edgel3_onnx.")
    while name not in FLOOR:
        assert "." in name, f"{module} has no floor: add it to FLOORS"
        name = name.rpartition(".")[0]
    return FLOOR[name]


def imports(module: str) -> set[str]:
    """The modules of this package that ``module`` imports, wherever the statement stands."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            extensions = ("edgel3_onnx._frontend", "edgel3_onnx._engine")
            for alias in node.names:
                name = f"{base}.{alias.name}"
                found.add(name if name in MODULES or name in extensions else base)
    return {name for name in found if name.split(".")[0] == "edgel3_onnx"} - {module}


def test_a_module_imports_only_what_stands_below_it():
    assert {"edgel3_onnx", "edgel3_onnx.cli", "edgel3_onnx.store.cache", "edgel3_onnx.export.convert.graph"} <= {
        *MODULES
    }
    upwards = [(module, name) for module in MODULES for name in imports(module) if floor(name) > floor(module)]
    assert upwards == []


def test_no_circle():
    try:
        tuple(TopologicalSorter({module: imports(module) for module in MODULES}).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")
