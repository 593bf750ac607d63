"""An aarch64 Python under QEMU's user mode, made from Debian packages without root, Docker or binfmt_misc."""

import os
import re
import shlex
import shutil
import zipfile
from email.parser import BytesParser
from pathlib import Path

import toolbox

SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # the Debian release that has each Python
# A Cortex-A72 is the Raspberry Pi 4's. `max` has all that QEMU knows, pointer authentication in its fast variant, and
# without SME: in emulation ONNX Runtime's convolutions take minutes with it.
CPUS = {"cortex-a72": "cortex-a72", "max": "max,pauth-impdef=on,sme=off"}
# ONNX Runtime reads the processor from this file; without it, it would see the host's and crash.
CPUINFO = """\
processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
# pip takes a platform by its exact name, and wheels are named after any of these.
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 24, 26, 27, 28, 31, 34)] + ["manylinux2014_aarch64"]


def debian_source(suite: str) -> str:
    """The apt source of Debian's release `suite`, at the mirror that this machine is configured for."""
    folder, plain = Path("/etc/apt/sources.list.d"), Path("/etc/apt/sources.list")
    for path in sorted(folder.glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and re.search(r"/debian/?$", fields.get("URIs", "")):
                signed = f"Signed-By: {fields['Signed-By']}\n" if fields.get("Signed-By") else ""
                return f"Types: deb\nURIs: {fields['URIs']}\nSuites: {suite}\nComponents: main\n{signed}"
    for path in [plain, *sorted(folder.glob("*.list"))]:
        text = path.read_text() if path.is_file() else ""
        for options, uri in re.findall(r"^deb\s+(?:\[(.*?)\]\s+)?(\S+/debian/?)\s", text, re.MULTILINE):
            signed = re.search(r"signed-by=(\S+)", options)
            by = f"Signed-By: {signed[1]}\n" if signed else ""
            return f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{by}"
    toolbox.fail("apt has no source of Debian's main archive, where the emulator and the aarch64 Python come from")


def private_apt(folder: Path, suite: str, architecture: str) -> dict[str, str]:
    """Make an apt in `folder` that knows nothing of this machine's packages; return its environment."""
    for name in ("lists/partial", "archives/partial", "sources"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources" / "debian.sources").write_text(debian_source(suite))
    (folder / "apt.conf").write_text(f"""\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/sources";
#clear DPkg::Post-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
""")
    return {"APT_CONFIG": str(folder / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}


def from_debian() -> tuple[Path, Path]:
    """QEMU's emulator of aarch64, a static program, and a recording of a voice (48 kHz); fetched on first use."""
    folder = toolbox.CACHE / "debian"
    files = {"qemu-user-static": "usr/bin/qemu-aarch64-static", "alsa-utils": "usr/share/sounds/alsa/Front_Center.wav"}
    with toolbox.rebuilt(folder, Path(__file__).read_text()) as stale:
        if stale:
            toolbox.say(f"fetching {' and '.join(files)} into {folder}")
            log = toolbox.CACHE / "debian.log"
            env = private_apt(folder / "apt", "bookworm", "amd64")
            toolbox.run(["apt-get", "update"], env=env, log=log)
            toolbox.run(["apt-get", "download", *files], cwd=folder, env=env, log=log)
            for package in folder.glob("*.deb"):
                toolbox.run(["dpkg-deb", "--extract", package, folder / "all"], log=log)
                package.unlink()
            for name in files.values():
                shutil.move(folder / "all" / name, folder)
            for rest in ("all", "apt"):
                shutil.rmtree(folder / rest)
    emulator, recording = (folder / Path(name).name for name in files.values())
    return emulator, recording


def root_folder(python: str) -> Path:
    """The root of an aarch64 Debian that has `python` and little else; fetched on first use."""
    folder = toolbox.CACHE / f"aarch64-{python}"
    with toolbox.rebuilt(folder, Path(__file__).read_text()) as stale:
        if stale:
            toolbox.say(f"fetching an aarch64 Python {python} into {folder}")
            root, log = folder / "root", toolbox.CACHE / f"aarch64-{python}.log"
            env = private_apt(folder / "apt", SUITES[python], "arm64")
            toolbox.run(["apt-get", "update"], env=env, log=log)
            packages = [f"python{python}", "libstdc++6", "libgomp1"]
            toolbox.run(["apt-get", "install", "--download-only", "--yes", *packages], env=env, log=log)
            (root / "usr" / "lib").mkdir(parents=True)
            if SUITES[python] != "bookworm":  # later packages have no /lib of their own
                (root / "lib").symlink_to("usr/lib")
            for package in sorted((folder / "apt" / "archives").glob("*.deb")):
                toolbox.run(["dpkg-deb", "--extract", package, root], log=log)
            shutil.rmtree(folder / "apt")
            (root / "proc").mkdir(exist_ok=True)
            cpus = range(os.cpu_count() or 1)
            (root / "proc" / "cpuinfo").write_text("".join(CPUINFO.format(index=index) for index in cpus))
    return folder / "root"


def virtual_environment(folder: Path, python: str) -> Path:
    """Make a virtual environment of the emulated `python` in `folder`; return its interpreter.

    The interpreter is a script that starts the emulator under its own name, so that a program that starts
    sys.executable again (pip, multiprocessing) stays in the emulation. QEMU_CPU chooses the processor.
    """
    root = root_folder(python)
    interpreter = folder / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    (folder / "lib" / f"python{python}" / "site-packages").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(
        f"home = {root}/usr/bin\ninclude-system-site-packages = false\nversion = {python}\n"
    )
    command = shlex.join([str(from_debian()[0]), "-L", str(root)])
    interpreter.write_text(
        "#!/bin/sh\n"
        f"export QEMU_CPU=${{QEMU_CPU:-{CPUS['cortex-a72']}}}\n"
        f'exec {command} -0 "$0" {shlex.quote(f"{root}/usr/bin/python{python}")} "$@"\n'
    )
    interpreter.chmod(0o755)
    return interpreter


def environment(python: str, wheel: Path, extra: list[str]) -> Path:
    """The interpreter of an emulated environment with what `wheel` depends on and `extra`, made on first use.

    The wheels are downloaded here and installed by a pip that runs in the emulation, which checks their tags.
    """
    wanted = requirements(wheel) + extra
    folder = toolbox.CACHE / f"env-aarch64-{python}"
    with toolbox.rebuilt(folder, "\n".join([*wanted, Path(__file__).read_text()])) as stale:
        if stale:
            toolbox.say(f"installing for the emulated Python {python}: {' '.join(wanted)}")
            interpreter = virtual_environment(folder / "env", python)
            platforms = [part for name in PLATFORMS for part in ("--platform", name)]
            log = toolbox.CACHE / f"env-aarch64-{python}.log"
            toolbox.run(
                [
                    *toolbox.PIP, "download", "-q", "--dest", folder / "wheels", "--only-binary=:all:",
                    "--python-version", python, "--implementation", "cp", *platforms, *wanted,
                ],
                log=log,
            )  # fmt: skip
            toolbox.run([*pip_inside(interpreter), "--find-links", folder / "wheels", *wanted], log=log)
            shutil.rmtree(folder / "wheels")
    return folder / "env" / "bin" / "python"


def pip_inside(interpreter: Path) -> list[str | Path]:
    """The command that installs into an environment from local files alone, run by its own Python."""
    return [*toolbox.PIP, "--python", interpreter, "install", "-q", "--no-index", "--no-compile"]


def requirements(wheel: Path) -> list[str]:
    """What `wheel` requires without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist", [])
    return sorted(line for line in lines if "extra ==" not in line)
