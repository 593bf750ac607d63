"""What a wheel must be before it may be released; runs in the tools' virtual environment."""

import io
import re
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

import numpy as np
import toolbox
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

MAX_BYTES = 3_000_000
MAX_GLIBC = (2, 28)  # what ONNX Runtime's own wheels need at least
TOLERANCE = 1e-4  # of the largest embedding value: the processors' vector units add up in different orders
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
EXTENSIONS = {"edgel3_onnx/_frontend.abi3.so", "edgel3_onnx/_engine.abi3.so"}
# Graphs whose weights this project trained itself. An export of published weights is never shipped.
GRAPHS = {"edgel3_onnx/onnx_models/micro.onnx", "edgel3_onnx/onnx_models/micro.int8.onnx"}
SUFFIXES = {".py", ".pyi", ".typed", ".json", ".md"}


def find(folder: Path, arch: str) -> Path:
    """The one wheel for `arch` in `folder`."""
    wheels = sorted(folder.glob(f"edgel3_onnx-*_{arch}.whl"))
    if len(wheels) != 1:
        toolbox.fail(f"{len(wheels)} wheels for {arch} in {folder}; run tools/build_wheels first")
    return wheels[0]


def check(wheel: Path, arch: str) -> list[str]:
    """Check `wheel` for `arch`; return what was found, in lines, or end the script at the first fault."""
    return [
        check_tags(wheel, arch),
        check_size(wheel),
        check_content(wheel),
        check_code(wheel, arch),
        check_limited_api(wheel),
    ]


def check_tags(wheel: Path, arch: str) -> str:
    """The file name and the WHEEL file say cp311-abi3-manylinux_2_N_`arch`, the metadata Python 3.11 and later."""
    match = re.fullmatch(
        rf"edgel3_onnx-([^-]+)-cp311-abi3-(manylinux\w+_{arch}(\.manylinux\w+_{arch})*)\.whl", wheel.name
    )
    if not match:
        toolbox.fail(f"wrong tag: {wheel.name}, expected edgel3_onnx-*-cp311-abi3-manylinux_*_{arch}.whl")
    platforms = match[2].split(".")
    versions = [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)_", match[2])]
    if not versions or max(versions) > MAX_GLIBC:
        toolbox.fail(f"wrong tag: {wheel.name} needs a newer glibc than {MAX_GLIBC}")
    with zipfile.ZipFile(wheel) as archive:
        prefix = f"edgel3_onnx-{match[1]}.dist-info"
        tags = BytesParser().parsebytes(archive.read(f"{prefix}/WHEEL"))
        metadata = BytesParser().parsebytes(archive.read(f"{prefix}/METADATA"))
    inside, named = sorted(tags.get_all("Tag", [])), sorted(f"cp311-abi3-{platform}" for platform in platforms)
    if inside != named or tags["Root-Is-Purelib"] != "false":
        toolbox.fail(f"wrong tag: {wheel.name} says {inside} in its WHEEL file, expected {named}")
    if metadata["Requires-Python"] != ">=3.11":
        toolbox.fail(f"{wheel.name} requires Python {metadata['Requires-Python']}, expected >=3.11")
    return f"tag cp311-abi3-{match[2]}, Python {metadata['Requires-Python']}"


def check_size(wheel: Path) -> str:
    size = wheel.stat().st_size
    if size > MAX_BYTES:
        toolbox.fail(f"{wheel.name} has {size} bytes, at most {MAX_BYTES} are allowed")
    return f"{size} bytes"


def check_content(wheel: Path) -> str:
    """The package, its two extensions, its metadata: no source of an extension, no weights, no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    libraries = {name for name in names if ".so" in PurePosixPath(name).name}
    if libraries != EXTENSIONS:
        toolbox.fail(f"{wheel.name} holds the libraries {sorted(libraries)}, expected {sorted(EXTENSIONS)}")
    for name in names - libraries - GRAPHS:
        folder = PurePosixPath(name).parts[0]
        if folder.startswith("edgel3_onnx-") and folder.endswith(".dist-info"):
            continue
        if folder != "edgel3_onnx" or PurePosixPath(name).suffix not in SUFFIXES:
            toolbox.fail(f"{wheel.name} holds {name}, which it need not")
    return f"{len(names)} files, {len(libraries)} extensions, graphs: {sorted(names & GRAPHS) or 'none'}"


def check_code(wheel: Path, arch: str) -> str:
    """The extensions are for `arch`; those for aarch64 have no instruction that a Cortex-A72 lacks by its encoding."""
    words = 0
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(EXTENSIONS):
            elf = ELFFile(io.BytesIO(archive.read(name)))
            if elf["e_machine"] != MACHINES[arch]:
                toolbox.fail(f"{wheel.name}: {name} is for {elf['e_machine']}, expected {MACHINES[arch]}")
            if arch == "aarch64":
                words += scan_for_sve(elf, f"{wheel.name}: {name}")
    return f"extensions are for {arch}" + (f", no SVE in {words} instructions" if words else "")


def scan_for_sve(elf: ELFFile, name: str) -> int:
    """Look at every instruction of `elf` for one of the Scalable Vector Extension; return how many there are.

    Bits 28-25 are 0010 in the SVE instructions and in no others (Arm Architecture Reference Manual, C4.1 "A64
    instruction set encoding"). The compiler keeps constants out of the executable sections on this processor.
    """
    words = 0
    for section in elf.iter_sections():
        if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR:
            code = memoryview(section.data()).cast("I")
            words += len(code)
            for index, word in enumerate(code):
                if word >> 25 & 0xF == 0b0010:
                    address = section["sh_addr"] + 4 * index
                    toolbox.fail(f"{name} has an SVE instruction, {word:08x} at {address:#x}; a Cortex-A72 has none")
    return words


def check_limited_api(wheel: Path) -> str:
    """abi3audit finds no symbol outside the limited API of Python 3.11."""
    result = subprocess.run(
        [sys.executable, "-m", "abi3audit", "--strict", "--summary", wheel], capture_output=True, text=True
    )
    lines = (result.stdout + result.stderr).split("\n")
    if result.returncode:
        print("\n".join(lines), file=sys.stderr)
        toolbox.fail(f"abi3audit: {wheel.name} is not of the limited API that its tag promises")
    return "abi3audit: " + " ".join(" ".join(lines).split()).rpartition(": ")[2]


def compare(expected: Path, actual: dict[str, Path]) -> None:
    """Print how far each embedding of `actual` is from `expected`; fail where it is beyond the tolerance."""
    wanted = np.load(expected)
    for level, path in actual.items():
        given = np.load(path)
        if given["embedding"].shape != wanted["embedding"].shape or (given["timestamps"] != wanted["timestamps"]).any():
            toolbox.fail(
                f"{level}: the embedding has the shape {given['embedding'].shape} or other timestamps than on x86-64"
            )
        difference = np.abs(given["embedding"] - wanted["embedding"]).max() / np.abs(wanted["embedding"]).max()
        print(f"   {level}: {difference:.1e} of the largest value from x86-64, {len(given['timestamps'])} windows")
        if not difference <= TOLERANCE:
            toolbox.fail(
                f"{level}: embeddings differ from those on x86-64 by more than {TOLERANCE} of the largest value"
            )
