"""What a person should know about a set of pairs before training on it: one finding per check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from export.edge.pictures.kinds import describe_unread
from jax_impl.config.data import DataConfig
from jax_impl.data.checkup import Inspected, near_duplicates
from jax_impl.data.loader import MIN_PICTURE_SIDE
from jax_impl.data.pairs import Pair, where
from jax_impl.data.sources.source import Source
from jax_impl.data.splits import MIN_SCENES_TO_HOLD_OUT

DARK = 31
"""Greatest sample of a picture that is called nearly black: 12-bit data in 16 bits reach 15 of 255."""
MAX_ASPECT = 3.0
"""Pictures with sides further apart than this are called extreme."""
_SAME_ASPECT = 0.02


@dataclass(frozen=True)
class Finding:
    """What one check says."""

    check: str
    level: str
    """`ok`, or `warn`."""
    message: str
    items: tuple[str, ...] = ()
    """Every case, a line each."""


def check_pairs(source: Source, seen: Sequence[Inspected], config: DataConfig) -> list[Finding]:
    """The result of every check, in the order of a person's questions."""
    good = [each for each in seen if each.looks is not None]
    return [
        _finding("partners", [str(path) for path in source.unmatched], "every picture has a partner",
                 "{} without a partner, left out", "picture"),
        _finding("file types", [str(path) for path in source.unread], "every picture is of a kind that can be read",
                 describe_unread(source.unread).replace("{", "{{").replace("}", "}}"), "file"),
        _finding("readable", _unreadable(seen), "every picture can be read",
                 "{} unreadable; training takes others for a few (data.max_bad_share), so mend or remove them", "pair"),
        _each("large enough", good, lambda each: smallest_side(each) < MIN_PICTURE_SIDE, _sizes,
              f"every side has at least {MIN_PICTURE_SIDE} pixels",
              f"{{}} with a side below {MIN_PICTURE_SIDE} pixels; training does not learn from them, so remove them"),
        _each("detail", good, lambda each: MIN_PICTURE_SIDE <= smallest_side(each) < config.size, _sizes,
              f"no picture is smaller than the training size {config.size}",
              f"{{}} smaller than the training size {config.size}, to be enlarged; a smaller --size may do"),
        _each("brightness", good, _is_dark, _brightest,
              f"no picture is nearly black (all samples at most {DARK} of 255)",
              "{} nearly black; 10- to 14-bit data in a 16-bit file comes out so: scale them to 16 bits first"),
        _finding("end marks", [str(path) for each in good for path in each.unended],
                 "no JPEG file lacks its end mark",
                 "{} of JPEG without an end mark, cut off behind the last pixel; they are read", "file"),
        _each("same shape", good, differs, _sizes, "both pictures of every pair have the same aspect ratio",
              "{} with two aspect ratios, so that one picture does not lie on the other; crop them alike"),
        _each("aspect", good, lambda each: _aspect(each) > MAX_ASPECT, _sizes,
              f"no picture is more than {MAX_ASPECT:.0f} times as long as wide",
              f"{{}} more than {MAX_ASPECT:.0f} times as long as wide; --fit {config.fit} "
              + ("cuts most of them away" if config.fit == "crop" else "leaves little of them")),
        _each("aligned", good, lambda each: each.shift is not None, _shift,
              "no pair is clearly shifted (where structure allows to tell)",
              "{} with pictures shifted against each other; align them (--align), or the result will be blurred"),
        _finding("one target each", _shared_inputs(good), "every input has one target",
                 "{} with several targets: pictures made in one or two steps show the mean of these, more sampling "
                 f"steps one of them ({_distinct(good)}); keep one target of each where one answer is right", "input"),
        _finding("splits apart", _leaks(good), "no picture of train comes back in val or test",
                 "{} of val or test also in train, or nearly so; scores would be too good", "picture"),
        _finding("new scenes", shared_scenes(source, "val", "test"),
                 "no scene of val or test is known by name from train",
                 "{} in train and also in val or test; scores would be too good", "scene"),
    ]  # fmt: skip


def _finding(check: str, items: Sequence[str], fine: str, bad: str, noun: str) -> Finding:
    if not items:
        return Finding(check, "ok", fine)
    count = f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"
    return Finding(check, "warn", bad.format(count), tuple(items))


def _each(
    check: str,
    seen: Sequence[Inspected],
    is_bad: Callable[[Inspected], bool],
    tell: Callable[[Inspected], str],
    fine: str,
    bad: str,
) -> Finding:
    return _finding(check, [f"{_name(each.pair)}: {tell(each)}" for each in seen if is_bad(each)], fine, bad, "pair")


def _name(pair: Pair) -> str:
    return f"{pair.split} {pair.name}"


def _unreadable(seen: Sequence[Inspected]) -> list[str]:
    return [f"{_name(each.pair)}: {each.problem}" for each in seen if each.problem is not None]


def boxes(each: Inspected) -> list[tuple[int, int]]:
    """(width, height) of cond and x0, pixels; empty where they could not be read."""
    return [(one.width, one.height) for one in each.looks or ()]


def _sizes(each: Inspected) -> str:
    return " and ".join(f"{width} × {height}" for width, height in dict.fromkeys(boxes(each)))


def _is_dark(each: Inspected) -> bool:
    return smallest_side(each) >= MIN_PICTURE_SIDE and min(one.brightest for one in each.looks or ()) <= DARK


def _brightest(each: Inspected) -> str:
    return " and ".join(f"at most {one.brightest} of 255" for one in each.looks or ())


def smallest_side(each: Inspected) -> int:
    """The shortest side of both pictures, pixels."""
    return min(min(box) for box in boxes(each))


def _aspect(each: Inspected) -> float:
    return max(max(box) / min(box) for box in boxes(each))


def differs(each: Inspected) -> bool:
    """Whether the two pictures have different aspect ratios."""
    (width, height), (other_width, other_height) = boxes(each)
    slack = 1.0 / min(width, height, other_width, other_height)  # rounding to whole pixels is no difference
    return abs(np.log(width / height * other_height / other_width)) > _SAME_ASPECT + slack


def _shift(each: Inspected) -> str:
    assert each.shift is not None
    right, down = each.shift.right, each.shift.down
    across = f"{abs(right):.0f} px {'right' if right > 0 else 'left'}"
    along = f"{abs(down):.0f} px {'down' if down > 0 else 'up'}"
    return f"target lies {across}, {along} (confidence {each.shift.confidence:.1f})"


def _shared_inputs(seen: Sequence[Inspected]) -> list[str]:
    """A line for each guiding picture, known by its pixels, that has several different targets."""
    items = []
    for members in _by_input(seen).values():
        targets = {each.looks[1].digest: each for each in members if each.looks}
        if len(targets) > 1:
            shown = ", ".join(where(each.pair, 1) for each in list(targets.values())[:2])
            items.append(f"{where(members[0].pair, 0)}: {len(targets)} targets, such as {shown}")
    return items


def _distinct(seen: Sequence[Inspected]) -> str:
    return f"{len(seen)} pairs have {len(_by_input(seen))} different inputs"


def _by_input(seen: Sequence[Inspected]) -> dict[bytes, list[Inspected]]:
    groups: dict[bytes, list[Inspected]] = {}
    for each in seen:
        if each.looks:
            groups.setdefault(each.looks[0].digest, []).append(each)
    return groups


def _leaks(seen: Sequence[Inspected]) -> list[str]:
    """Pictures of val and test that training knows, cond and x0 apart."""
    train = [each for each in seen if each.pair.split == "train"]
    others = [each for each in seen if each.pair.split != "train"]
    items: dict[str, str] = {}
    for side in (0, 1):
        kept = [[each.looks[side] for each in group if each.looks] for group in (others, train)]
        for i, j in near_duplicates(kept[0], kept[1]):
            ours, theirs = (where(each.pair, side) for each in (others[i], train[j]))
            items.setdefault(ours, f"{ours} is like {theirs}")
    return list(items.values())


def shared_scenes(source: Source, *others: str) -> list[str]:
    """Scenes of train that the `others` splits show too, by name; none where names do not tell scenes apart."""
    scenes = {split: {pair.scene for pair in members} for split, members in source.splits.items()}
    if len(set().union(*scenes.values())) < MIN_SCENES_TO_HOLD_OUT:
        return []  # names such as frame_0001 say nothing about scenes
    return sorted(scenes["train"] & set().union(*(scenes[split] for split in others)) - {""})
