"""Translate a photo on an emulated 64-bit ARM processor, and say how far the pictures are from those made here.

`python -m tests.figures.arm artifact docs/photo.jpg --work DIR` puts Debian's qemu, and Debian's Python and C libraries
for ARM, into DIR, without installing any of them, and wheels for ARM from the package index. Then `export.edge` makes
the same picture twice, here and emulated, with each precision of the artifact. It needs `dpkg-deb` and a network.
Versions of qemu before 8 fail inside onnxruntime.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from export.edge.errors import UserError, run
from export.edge.markdown import table
from export.edge.model.layout import model_file, variants
from export.edge.pictures.files import open_picture

ROOT = Path(__file__).resolve().parents[2]
MIRROR = "http://deb.debian.org/debian"
RELEASE = "trixie"
PYTHON = "3.13"
"""Of that release."""
EMULATOR = ("amd64", ("qemu-user",))
LIBRARIES = (
    "arm64",
    (
        "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libbz2-1.0", "liblzma5", "libffi8", "libssl3t64",
        f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib",
    ),
)  # fmt: skip
"""Architecture and packages: what onnxruntime, numpy, Pillow and Python need."""
WHEELS = ("numpy", "pillow", "onnxruntime")
PATIENCE = 1800
"""Seconds before a picture that does not come is given up."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table of the artifact's precisions."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.figures.arm", description="Compare pictures of an emulated ARM processor with ours."
    )
    parser.add_argument("artifact", type=Path, help="folder that export.to_onnx wrote, or a model of it")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is downloaded, and for the pictures")
    args = parser.parse_args(argv)
    if shutil.which("dpkg-deb") is None:
        raise UserError("dpkg-deb is not installed, which unpacks Debian's packages; run this under Debian or Ubuntu")
    photo = open_picture(args.photo)
    names = variants(args.artifact) if args.artifact.is_dir() else [None]
    files = {name or args.artifact.name: model_file(args.artifact, name) for name in names}
    emulated = emulator(args.work)
    rows = []
    for name, file in files.items():
        ours, theirs = (args.work / f"{name}_{where}.png" for where in ("here", "arm"))
        translate([sys.executable], file, args.photo, ours, {})
        seconds = translate(emulated, file, args.photo, theirs, {"PYTHONPATH": str(args.work / "wheels")})
        rows.append([name, *difference(open_picture(ours), open_picture(theirs)), f"{seconds:.0f}"])
    height, width = photo.shape[:2]
    print(f"{args.photo.name}, {width} × {height}, {shown(emulated)}")
    print(
        "\n".join(table(["precision", "values that differ", "largest difference, levels", "seconds, emulated"], rows))
    )


def emulator(work: Path) -> list[str]:
    """The command that starts Python for ARM, all that it needs below `work`; what is there already is kept."""
    system, here, wheels = work / "arm64", work / "here", work / "wheels"
    for (architecture, packages), place in ((LIBRARIES, system), (EMULATOR, here)):
        if not place.exists():
            unpack(architecture, packages, place)
    if not wheels.exists():
        words = [
            *("download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps"),
            *(
                "--python-version",
                PYTHON,
                "--platform",
                "manylinux_2_28_aarch64",
                "--platform",
                "manylinux_2_27_aarch64",
            ),
            *("--platform", "manylinux2014_aarch64", "--dest", str(work / "downloads"), *WHEELS),
        ]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)
        for path in sorted((work / "downloads").glob("*aarch64*.whl")):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(wheels)
    program = here / "usr/bin/qemu-aarch64"
    return [str(program.resolve()), "-L", str(system.resolve()), str(system.resolve() / f"usr/bin/python{PYTHON}")]


def unpack(architecture: str, packages: Sequence[str], place: Path) -> None:
    """Put the files of Debian's packages below a folder. Raises UserError for one that the release does not have."""
    index = lzma.decompress(fetch(f"dists/{RELEASE}/main/binary-{architecture}/Packages.xz"))
    known = dict(paragraphs(index.decode("utf-8"), packages))
    if missing := [name for name in packages if name not in known]:
        raise UserError(
            f"Debian {RELEASE} has no package {missing[0]} for {architecture}; correct the list of packages"
        )
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in packages:
        archive = unfinished / f"{name}.deb"
        unfinished.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(fetch(known[name]["Filename"], known[name]["SHA256"]))
        subprocess.run(["dpkg-deb", "-x", str(archive), str(unfinished)], check=True)
        archive.unlink()
    # In the release /lib is a link to /usr/lib, which another package makes; programs name their loader by it.
    for name in ("lib", "lib64"):
        if not (unfinished / name).exists() and (unfinished / "usr" / name).exists():
            (unfinished / name).symlink_to(f"usr/{name}")
    unfinished.rename(place)


def fetch(path: str, digest: str | None = None) -> bytes:
    """A file of the mirror. Raises UserError where its SHA-256 is another."""
    with urllib.request.urlopen(f"{MIRROR}/{path}", timeout=60) as answer:
        data = answer.read()
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f"{MIRROR}/{path} arrived damaged; try again")
    return data


def paragraphs(index: str, names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and fields of those of the packages that an index of Debian holds."""
    for text in index.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Package") in names:
            yield fields["Package"], fields


def translate(python: Sequence[str], model: Path, photo: Path, output: Path, extra: Mapping[str, str]) -> float:
    """One picture by `export.edge`, with one thread: the seconds it took. Raises UserError where it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *extra.values()])}
    words = ["-m", "export.edge", *(str(path.resolve()) for path in (model, photo, output)), "--threads", "1"]
    begun = time.monotonic()
    done = subprocess.run(
        [*python, *words], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"{model.name} on {shown(python)}: {said[-1]}")
    return time.monotonic() - begun


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[str, str]:
    """How many values of two uint8 pictures differ, of how many, and by how much at most."""
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    return f"{np.count_nonzero(apart):,} of {apart.size:,}", str(apart.max())


def shown(python: Sequence[str]) -> str:
    """The first line that a program says of its version."""
    done = subprocess.run([python[0], "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


if __name__ == "__main__":
    run(main)
