"""Recordings: which Debian packages they come from, on what terms, what each is used for, and how they are read.

A package has one role. What is learnt from (`train`), what decides between recipes (`validation`) and what is reported
on (`held-out`, `unseen`) never share a package. Figures on the held-out packages were known when the recipe was
changed, and chose between weights; those of an `unseen` package chose nothing.
"""

import io
import os
import re
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from edgel3_onnx.frontend import resample
from edgel3_onnx.spec import FRONTENDS

SAMPLE_RATE = FRONTENDS["sea"].sample_rate
MAX_SECONDS = 60  # of one file: a few long pieces of music must not outweigh thousands of short sounds
AUDIO_SUFFIXES = (".wav", ".ogg", ".oga", ".flac")


@dataclass(frozen=True)
class Source:
    """One Debian package of recordings."""

    package: str
    role: str  # "train" | "validation" | "held-out" | "unseen"
    licence: str  # of the files used, as the package's copyright file gives it
    content: str
    pattern: str = ""  # regular expression on the path inside the package; only matching files are used
    exclude: str = "$^"  # regular expression; matching files are left out

    @property
    def resampler(self) -> str:
        """The package's default where results are reported; for training, whose sounds are changed anyway, soxr."""
        return "soxr" if self.role == "train" else "kaiser_best"


_CC_KITS = r"circAfrique|BJA_Pacific|rumpf_kit_z01_h2|belofilms_GuitarStrums|Audiophob"
_CC_KART_LICENCES = "CC0, public domain, CC-BY-3.0, CC-BY-SA-3.0, CC-BY-SA-4.0"
_GPL_KART = r"/(anvil|ball_bounce|bowling_shoot|bzzt|shoot|ugh|wee)\."
_SPEECH = "spoken prompts"

SOURCES = (
    Source("fluid-soundfont-gm", "train", "MIT", "notes of some 190 instruments, drums, effects"),
    Source("hydrogen-drumkits", "train", "CC0, CC-BY-3.0, CC-BY-SA-3.0", "drums, guitar strums", _CC_KITS),
    Source("asterisk-core-sounds-en-wav", "train", "CC-BY-SA-3.0", _SPEECH + ", English"),
    Source("asterisk-core-sounds-es-wav", "train", "CC-BY-SA-3.0", _SPEECH + ", Spanish"),
    Source("asterisk-core-sounds-fr-wav", "train", "CC-BY-SA-3.0", _SPEECH + ", French"),
    Source("asterisk-core-sounds-it-wav", "train", "CC-BY-3.0", _SPEECH + ", Italian"),
    Source("asterisk-core-sounds-ru-wav", "train", "CC-BY-3.0", _SPEECH + ", Russian"),
    Source("asterisk-moh-opsound-wav", "train", "CC-BY-SA-3.0", "music"),
    Source(
        "megaglest-data",
        "train",
        "CC-BY-SA-3.0",
        "animals, weapons, machines, weather, voices, music",
        exclude="mudchute_cow_1",  # tuxpaint-stamps-default's cow_white
    ),
    Source("minetest-data", "train", "CC-BY-SA-3.0, CC-BY-3.0, CC0", "footsteps, digging, fire, doors"),
    Source("minetest-mod-homedecor", "train", "CC-BY-SA-4.0", "household"),
    Source("minetest-mod-mesecons", "train", "CC-BY-SA-3.0", "switches, pistons, note blocks"),
    Source("minetest-mod-nether", "train", "CC-BY-SA-4.0, CC-BY-3.0, CC0", "portals, ambience"),
    Source("lugaru-data", "train", "CC-BY-SA-3.0", "fights, footsteps, fire, wind, music"),
    Source("openttd-opensfx", "train", "CC-BY-SA-3.0", "vehicles, factories, horns"),
    Source("yaru-theme-sound", "train", "CC-BY-SA-4.0", "desktop signals"),
    Source("0ad-data", "train", "CC-BY-SA-3.0", "fights, crafts, animals, weather, crowds, voices, music"),
    Source(
        "redeclipse-data", "train", "CC-BY-SA-3.0, CC-BY-3.0", "ambience, weapons, machines, voices", "data/sounds/"
    ),
    Source("supertuxkart-data", "train", _CC_KART_LICENCES, "engines, weather, crashes", "data/sfx/", _GPL_KART),
    Source("hedgewars-data", "train", "GFDL-1.3, CC-BY-SA-3.0", "voices, weapons, comic effects", "Data/Sounds/"),
    Source("endless-sky-data", "train", "public domain, CC-BY-SA-3.0", "engines, weapons, explosions"),
    Source("lincity-ng-data", "train", "CC-BY-SA-2.0 or GPL-2+", "city, industry, traffic, farming", "/sounds/"),
    Source("caveexpress-data", "train", "CC-BY-SA-4.0", "cartoon animals, effects, music"),
    Source("bzflag-data", "train", "LGPL-2.1 or MPL", "shots, explosions, signals"),
    Source("simutrans-pak64", "train", "Artistic-1.0", "vehicles, industry"),
    Source("singularity-music", "train", "CC-BY-SA-3.0", "music"),
    Source("ardentryst", "train", "CC-BY-SA-3.0", "spells, fights, monsters, water, music", "/(Sounds|Music)/"),
    Source("hyperrogue-music", "train", "CC-BY-SA-4.0, CC-BY-3.0, CC0", "animals, steps, water, weapons", "/sounds/"),
    Source("marsshooter-data", "train", "CC-BY-3.0, CC-BY-SA-3.0, public domain", "weapons, explosions, music"),
    Source("cube2-data", "train", "CC-BY-3.0, CC-BY-SA-4.0, public domain", "weapons, machines, voices, signals"),
    Source("scorched3d-data", "train", "CC-BY-SA-3.0", "explosions, signals", "/apoc/"),
    Source("freecol", "train", "CC-BY-4.0", "orchestral music", "/music/default/"),
    Source("fretsonfire-songs-sectoid", "train", "MIT", "rock: guitar, drums and whole songs"),
    Source("musescore-general-soundfont-lossless", "train", "MIT", "notes of some 190 instruments, drums, effects"),
    Source("gunroar-data", "train", "BSD-2-Clause", "electronic music and effects"),
    Source("noiz2sa-data", "train", "BSD-2-Clause", "electronic music and effects"),
    Source("torus-trooper-data", "train", "BSD-2-Clause", "electronic music and effects"),
    Source("tumiki-fighters-data", "train", "BSD-2-Clause", "electronic music and effects"),
    Source("chromium-bsu-data", "train", "Clarified Artistic", "explosions, shots"),
    Source("colobot-common-sounds", "validation", "GPL-3+", "machines, explosions, signals, music"),
    Source("lomiri-sounds", "validation", "CC0, CC-BY, CC-BY-SA", "ring tones, signals"),
    Source("sonic-pi-samples", "held-out", "CC0", "ambience, drums, percussion, guitar, loops, tabla"),
    Source("tuxpaint-stamps-default", "held-out", "GPL-2", "animals, tools, instruments", exclude="_desc|symbols/"),
    Source("unknown-horizons", "held-out", "CC-BY-SA-3.0", "crafts, ambience, voices, music"),
    Source("widelands-data", "unseen", "GPL-2+, CC-BY-SA-3.0", "animals, crafts, water, voices, music"),
    Source("flare-game", "unseen", "CC-BY-SA-3.0", "fights, monsters, doors, weather, music"),
)


@dataclass(frozen=True)
class Recording:
    """One decoded file."""

    package: str
    name: str  # path inside the package
    audio: np.ndarray  # float32 (n,), mono, 8000 Hz


def cache_dir() -> Path:
    """Where packages, decoded audio, teacher targets and checkpoints are kept; none of it is committed."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(root) / "edgel3-onnx-training"
    path.mkdir(parents=True, exist_ok=True)
    return path


def recordings(role: str) -> list[Recording]:
    """All recordings of the packages with this role, fetched, decoded and cached on first use."""
    return [item for source in SOURCES if source.role == role for item in _package_recordings(source)]


def _package_recordings(source: Source) -> list[Recording]:
    cached = cache_dir() / f"{source.package}.npz"
    if not cached.exists():
        found = dict(_decoded_files(source))
        if not found:
            raise RuntimeError(f"package {source.package}: no recording found")
        temporary = cached.with_suffix(".tmp.npz")
        np.savez(temporary, **found)
        os.replace(temporary, cached)
        shutil.rmtree(cache_dir() / "packages" / source.package, ignore_errors=True)
    with np.load(cached) as arrays:
        return [Recording(source.package, name, arrays[name]) for name in arrays.files]


def _decoded_files(source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """Name and audio of each usable sound of a package, in sorted order."""
    root = _unpack(source.package)
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not path.is_file() or path.is_symlink() or not re.search(source.pattern, name):
            continue
        if re.search(source.exclude, name):
            continue
        if path.suffix.lower() in AUDIO_SUFFIXES:
            sounds: Iterable[tuple[str, bytes]] = [(name, path.read_bytes())]
        elif path.suffix == ".sf2":
            yield from _soundfont_samples(name, path.read_bytes(), source.resampler)
            continue
        elif path.suffix == ".cat":
            sounds = _embedded_wavs(name, path.read_bytes())
        elif path.suffix == ".zip":
            sounds = _zipped(path)
        else:
            continue
        for label, data in sounds:
            try:
                audio, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                continue  # MIDI and other things under a sound's name
            ready = _prepare(audio.mean(axis=1), rate, source.resampler)
            if ready is not None:
                yield label, ready


def _unpack(package: str) -> Path:
    """Fetches a package with apt and unpacks it without installing it."""
    root = cache_dir() / "packages" / package
    if not root.exists():
        debs = cache_dir() / "debs"
        debs.mkdir(exist_ok=True)
        if not list(debs.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=debs, check=True)
        (deb,) = debs.glob(f"{package}_*.deb")
        root.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)
    return root


def _prepare(audio: np.ndarray, rate: int, resampler: str) -> np.ndarray | None:
    """Mono audio at 8000 Hz, at most MAX_SECONDS; None for what is too short or silent to be a sound."""
    audio = np.ascontiguousarray(audio[: MAX_SECONDS * rate], np.float32)
    if len(audio) < rate // 20 or not np.abs(audio).max() > 1e-4:
        return None
    return audio if rate == SAMPLE_RATE else resample(audio, rate, SAMPLE_RATE, resampler)


def _zipped(path: Path) -> Iterator[tuple[str, bytes]]:
    """Sounds inside a ZIP archive, in sorted order."""
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.namelist()):
            if member.lower().endswith(AUDIO_SUFFIXES):
                yield f"{path.name}/{member}", archive.read(member)


def _embedded_wavs(name: str, data: bytes) -> list[tuple[str, bytes]]:
    """WAV files stored one after another in a container, found by their RIFF headers."""
    found = []
    for match in re.finditer(rb"RIFF(....)WAVE", data, re.DOTALL):
        size = struct.unpack("<I", match.group(1))[0] + 8
        found.append((f"{name}#{len(found)}", data[match.start() : match.start() + size]))
    return found


def _soundfont_samples(name: str, data: bytes, resampler: str) -> Iterator[tuple[str, np.ndarray]]:
    """Sounds of a SoundFont 2 file (SoundFont 2.01, chunks `smpl` and `shdr`); right halves of stereo pairs skipped."""
    start = data.index(b"smpl") + 8
    size = struct.unpack_from("<I", data, start - 4)[0]
    samples = np.frombuffer(data, "<i2", size // 2, start)
    headers = data.rindex(b"shdr") + 8
    count = struct.unpack_from("<I", data, headers - 4)[0] // 46
    right = 2
    for k in range(count - 1):  # the last header is a terminator
        label, begin, end, _, _, rate, _, _, _, kind = struct.unpack_from("<20sIIIIIBbHH", data, headers + 46 * k)
        if kind & right or not rate:
            continue
        ready = _prepare(samples[begin:end].astype(np.float32) / 32768, rate, resampler)
        if ready is not None:
            yield f"{name}#{k}-{label.split(bytes(1))[0].decode('latin-1').strip().replace('/', '_')}", ready
