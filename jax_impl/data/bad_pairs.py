"""Training pairs that cannot be learned from: recognised, counted, named, and replaced by others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from export.edge.errors import UserError
from jax_impl.data.pairs import Pair

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""cond and x0 at a position, each uint8 (size, size, 3)."""
SHOWN = 10
"""Bad pairs that are named one by one."""


def is_bad(pair: Pair, error: UserError) -> bool:
    """Whether `error`, met in reading a pair, lies in what its pictures are.

    It does not where a file is missing, may not be read, or where the disk or the memory
    gave out: such a pair may well be a good one.
    """
    if isinstance(error.__cause__, MemoryError) or getattr(error.__cause__, "errno", None) is not None:
        return False
    try:
        for locator in pair.locators:
            if locator is None:
                continue
            with locator.path.open("rb") as file:
                file.read(1)
    except OSError:
        return False
    return True


def check_share(names: Sequence[str], bad: Mapping[int, UserError], most: float) -> None:
    """Raise UserError when the bad ones among the pairs, by position, are a larger share than `most`, or all."""
    if not bad:
        return
    first = next(iter(bad.values()))
    if 1 / len(names) > most:
        raise first
    if len(bad) / len(names) > most or len(bad) == len(names):
        raise UserError(
            f"{len(bad)} or more of {len(names)} training pairs cannot be used, over data.max_bad_share ({most:g}): "
            f"mend or remove them, `python -m jax_impl.doctor` lists all; the first: {first}"
        )


def replace_bad(
    names: Sequence[str], cond: np.ndarray, x0: np.ndarray, bad: Mapping[int, UserError]
) -> tuple[str, ...]:
    """Put the next good pair, in order and around the end, in the place of each bad one; say so on stderr.

    Which one follows from the positions alone: it is the same on every resume and machine.

    Args:
        names: of all pairs, at least one of which is good.
        cond, x0: uint8 (pairs, size, size, 3), changed in place.
        bad: why, by position.

    Returns:
        Names of the pairs whose pictures the arrays now hold.
    """
    held = list(names)
    for position in sorted(bad):
        other = position
        while other in bad:
            other = (other + 1) % len(names)
        cond[position], x0[position], held[position] = cond[other], x0[other], names[other]
    for position in sorted(bad)[:SHOWN]:
        print(f"warning: {held[position]} replaces {names[position]}: {bad[position]}", file=sys.stderr)
    if len(bad) > SHOWN:
        print(f"warning: and {len(bad) - SHOWN} more pairs are replaced", file=sys.stderr)
    return tuple(held)


def replacing_bad(names: Sequence[str], read: Read, is_bad_at: Callable[[int, UserError], bool], most: float) -> Read:
    """`read`, but that at a bad position it reads the next good one, in order and around the end; from any thread.

    The first ones are named on stderr when they are met. Raises UserError as `check_share`
    does once too many were, and what `read` raises elsewhere.
    """
    bad: dict[int, UserError] = {}
    lock = threading.Lock()

    def note(position: int, error: UserError) -> None:
        with lock:
            if position not in bad:
                bad[position] = error
                check_share(names, bad, most)
                if len(bad) <= SHOWN:
                    print(f"warning: the next pair replaces {names[position]}: {error}", file=sys.stderr)

    def read_good(position: int) -> tuple[np.ndarray, np.ndarray]:
        while True:
            if position not in bad:
                try:
                    return read(position)
                except UserError as error:
                    if not is_bad_at(position, error):
                        raise
                    note(position, error)
            position = (position + 1) % len(names)

    return read_good
