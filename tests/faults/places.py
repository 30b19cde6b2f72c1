"""File systems to fill up or to forbid: small ones in memory, mounted for the purpose."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = 4
"""KiB: what a file system in memory gives out at once."""
BALLAST = ".ballast"
_INSIDE = "FAULTS_INSIDE_A_NAMESPACE"


@contextlib.contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Path]:
    """Mount `kib` KiB of memory at the new folder `place`. Raises PermissionError where that is not allowed."""
    place.mkdir(parents=True)
    if not _run("mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)):
        place.rmdir()
        raise PermissionError("mounting a small file system needs privileges that this user lacks")
    try:
        yield place
    finally:
        # What a killed process was about to write may hold it for a moment longer.
        _run("umount", str(place)) or _run("umount", "--lazy", str(place))
        place.rmdir()


@contextlib.contextmanager
def forbidden(place: Path) -> Iterator[None]:
    """Let a small disk be read-only for a while; root, too, may then not write."""
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether small disks can be mounted."""
    try:
        with small_disk(folder / "try", 64):
            return True
    except PermissionError:
        return False


def enter_namespace() -> None:
    """Begin this command again in name spaces of its own, where mounting is allowed; returns where it is not."""
    if _INSIDE not in os.environ and _run("unshare", "-m", "-r", "true"):
        os.environ[_INSIDE] = "1"
        words = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "-m", "-r", *words])


def fill(disk: Path, free: int) -> None:
    """Fill a small disk until `free` KiB, rounded down to pages, are left."""
    (disk / BALLAST).unlink(missing_ok=True)
    surplus = free_kib(disk) - free
    if surplus > 0:
        with (disk / BALLAST).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, -(-surplus // PAGE) * PAGE * 1024)


def relieve(disk: Path) -> None:
    """Free what `fill` took."""
    (disk / BALLAST).unlink(missing_ok=True)


def empty(disk: Path) -> None:
    """Remove everything from a disk."""
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def free_kib(disk: Path) -> int:
    """KiB that are left."""
    facts = os.statvfs(disk)
    return facts.f_bavail * facts.f_frsize // 1024


def used_kib(disk: Path) -> int:
    """KiB that are taken."""
    facts = os.statvfs(disk)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize // 1024


def _run(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
