"""The pairs to score on, those to learn baselines from, and whether the two were really kept apart."""

from __future__ import annotations

from dataclasses import dataclass

from export.edge.disk.names import as_text
from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.findings import shared_scenes
from jax_impl.data.loader import Pairs, decode, lazy_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.data.sources.source import Source
from jax_impl.data.splits import MIN_SCENES_TO_HOLD_OUT, Split


@dataclass(frozen=True)
class HeldOut:
    """What an evaluation works with."""

    data: DataConfig
    place: str
    """What the settings call the place of the pairs."""
    split: Split
    pairs: Pairs
    """Those to score on."""
    train: Pairs | None
    """Those that baselines learn from, and that a model may have memorised; None where there are none."""
    scenes: tuple[str, ...]
    """The scene of each scored pair; its own name where names do not tell scenes apart."""
    scenes_known: bool
    sources: tuple[str, ...]
    """Stem of each scored pair's guiding picture."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    """One line for each reason why scores may be too good."""


def open_held_out(data: DataConfig, split: Split) -> HeldOut:
    """Decode the pairs of a split and of train. Raises UserError where the split has none."""
    source = open_source(data)
    pairs = decode(lazy_pairs(source, data, split))
    if not pairs.names:
        raise UserError(f"--split {split} of {source.place} has no pairs; name another split")
    warnings = _shared(source, split)
    train = pairs if split == "train" else None
    if train is None and source.splits["train"]:
        train = decode(lazy_pairs(source, data, "train"))
        same = _same_pictures(pairs, train)
        if same:
            warnings.append(
                f"{len(same)} of {len(pairs.names)} {split} pairs have a picture that is also in train, such as "
                f"{same[0]}; scores are too good"
            )
    members = source.splits[split]
    known = all(pair.scene for pair in members) and _count_scenes(source) >= MIN_SCENES_TO_HOLD_OUT
    return HeldOut(
        data=data,
        place=source.place,
        split=split,
        pairs=pairs,
        train=train,
        scenes=tuple(pair.scene for pair in members) if known else pairs.names,
        scenes_known=known,
        sources=tuple(pair.name if pair.cond is None else as_text(pair.cond.path.stem) for pair in members),
        notes=source.remarks(),
        warnings=tuple(warnings),
    )


def _shared(source: Source, split: Split) -> list[str]:
    if split == "train":
        return ["these are the pairs of train itself; the scores say nothing about unseen pictures"]
    shared = shared_scenes(source, split)
    if not shared:
        return []
    shown = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
    return [f"{len(shared)} scenes of {split} are also in train ({shown}); scores are too good"]


def _same_pictures(pairs: Pairs, train: Pairs) -> list[str]:
    """Names of scored pairs of which a picture is, byte for byte, one that training saw on that side."""
    known = [{picture.tobytes() for picture in side} for side in (train.cond, train.x0)]
    sides = ((pairs.cond, known[0]), (pairs.x0, known[1]))
    return [name for i, name in enumerate(pairs.names) if any(side[i].tobytes() in seen for side, seen in sides)]


def _count_scenes(source: Source) -> int:
    return len({pair.scene for pair in source.pairs})
