"""Ways in which files go bad: each changes a folder and says what it did."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

Mutation = Callable[[Path, str, Sequence[str], random.Random], str]
"""mutation(folder, name, names, rng): change `name`, one of `names`, in `folder`; returns what was done."""


def flip(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Flip one bit."""
    data = bytearray((folder / name).read_bytes())
    if not data:
        return add(folder, name, names, rng)
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    (folder / name).write_bytes(data)
    return f"{name}: bit {bit} of byte {place} flipped"


def truncate(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Cut to nothing, to half, or by a byte."""
    data = (folder / name).read_bytes()
    if not data:
        return delete(folder, name, names, rng)
    length = rng.choice((0, len(data) // 2, len(data) - 1))
    (folder / name).write_bytes(data[:length])
    return f"{name}: cut from {len(data)} to {length} bytes"


def delete(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Delete the file."""
    (folder / name).unlink()
    return f"{name}: deleted"


def swap_files(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Let the file and one of another content change places."""
    data = {other: (folder / other).read_bytes() for other in names}
    other = rng.choice([other for other in names if data[other] != data[name]])
    (folder / name).write_bytes(data[other])
    (folder / other).write_bytes(data[name])
    return f"{name}: changed places with {other}"


def swap_chunks(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Let two differing chunks of equal length within the file change places."""
    data = (folder / name).read_bytes()
    for _ in range(100):
        if len(data) < 4:
            break
        length = rng.randint(1, min(4096, len(data) // 2))
        a = rng.randrange(len(data) - 2 * length + 1)
        b = rng.randrange(a + length, len(data) - length + 1)
        if data[a : a + length] != data[b : b + length]:
            left, middle, right = data[a : a + length], data[a + length : b], data[b : b + length]
            (folder / name).write_bytes(data[:a] + right + middle + left + data[b + length :])
            return f"{name}: {length} bytes at {a} and {b} changed places"
    return swap_files(folder, name, names, rng)


def add(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Put another file beside it."""
    extra = (folder / name).with_name(f"extra_{Path(name).name}")
    shutil.copyfile(folder / name, extra)
    return f"{extra.relative_to(folder)}: added"


def grow(folder: Path, name: str, names: Sequence[str], rng: random.Random) -> str:
    """Append bytes to the file."""
    with (folder / name).open("ab") as file:
        file.write(rng.randbytes(length := rng.choice((1, 512, 4096))))
    return f"{name}: {length} bytes appended"


KINDS: dict[str, tuple[Mutation, ...]] = {
    "single bit flips": (flip,),
    "truncations": (truncate,),
    "deletions": (delete,),
    "reorderings": (swap_files, swap_chunks),
    "additions": (add, grow),
}
SHARES = {"single bit flips": 10, "truncations": 4, "deletions": 2, "reorderings": 3, "additions": 1}
"""Of 20 damages."""
IN_PLACE = (flip, truncate, swap_chunks, grow)
"""Those that leave the file where it is, as itself."""
