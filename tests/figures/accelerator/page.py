"""The page of figures, from what was measured.

`python -m tests.figures.accelerator.page docs/accelerators.json docs/accelerators.md`; the record is the file
accelerator.json of the folder given to the measurements as --output.

Every figure says on which device and on which day it was measured, and by which command; what was not measured is named
as such.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_text
from export.edge.errors import UserError, run
from export.edge.markdown import table
from jax_impl.bench.table import Case as Timed
from jax_impl.bench.table import Way, case_table
from tests.figures.accelerator.cases import FULL, Case, Dataset, all_cases
from tests.figures.accelerator.runner import Record

DATASETS = tuple(Dataset(name, name) for name in ("facades", "sunrise", "day_night"))
HEAD = """# Accelerators

Measured by `python -m tests.figures.accelerator --minutes 12 --output DIR`. It runs its cases in order of value, each
in a process with a time limit, and keeps every figure at once. Started again, it goes on with what is missing. This
page is written from the record by `python -m tests.figures.accelerator.page docs/accelerators.json
docs/accelerators.md`. What the figures say is in [figures](figures.md#on-an-accelerator).
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page. Raises UserError for words that name no two places, and for a folder without a record."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 2:
        raise UserError(f"{len(words)} words are given; name the record, then the page to write")
    try:
        record: Record = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{words[0]} holds no record of measurements ({error}); name accelerator.json") from None
    write_text(Path(words[1]), "\n".join(page(record)) + "\n")


def page(record: Record) -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield from device(record)
    for title, begins, body in SECTIONS:
        cases = [case for case in all_cases(FULL, DATASETS) if case.name.startswith(begins)]
        yield f"## {title}"
        yield ""
        yield from body({case.name: record[case.name] for case in cases if "result" in record.get(case.name, {})})
        yield from missing(cases, record)
        yield ""


def device(record: Record) -> Iterator[str]:
    """What it ran on."""
    found = record.get("ceilings", {}).get("result")
    if found is None:
        yield "The device was not recorded."
        yield ""
        return
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    yield f"Device: {found['device']} (driver: {found['driver'] or 'none'}), Python {found['python']}, {versions}."
    yield (
        f"Ceilings by JAX: a matrix product {found['product_bfloat16_flops'] / 1e12:.0f} TFLOP/s in bfloat16 and "
        f"{found['product_float32_flops'] / 1e12:.0f} in float32 as JAX computes it by default; a copy "
        f"{found['copy_bytes_per_second'] / 1e12:.2f} TB/s, read and written. Measured on {record['ceilings']['date']}."
    )
    yield ""


def presets(found: Record) -> Iterator[str]:
    """Whether every preset works there."""
    rows = []
    for name, outcome in found.items():
        result, cells = outcome["result"], []
        for step in ("train", "sample", "evaluate"):
            each = result.get(step, {})
            cells.append(each.get("error") or (f"{each['seconds']:.0f} s" if each else "not measured"))
        rows.append([f"`{name.split('/')[-1]}`", *cells, outcome["date"]])
    if rows:
        yield "One epoch of 32 built-in scenes, one sample and one evaluation: seconds of each command, with"
        yield "compilation, while the other presets ran at the same time."
        yield ""
        yield from table(("preset", "`train`", "`sample`", "`evaluate`", "measured on"), rows)
        yield ""


def timings(found: Record) -> Iterator[str]:
    """The cases of `jax_impl.bench`, and the largest items of their profiles."""
    for name, outcome in found.items():
        cases = [as_timed(case) for case in outcome["result"]]
        yield f"`{name}`, measured on {outcome['date']} (`{outcome['command']}`{environment(outcome)}):"
        yield ""
        yield from case_table(cases)
        yield ""
        for case in cases:
            if case.top:
                items = "; ".join(f"{100 * share:.1f} % `{item}`" for item, share in case.top)
                yield f"Largest items of {case.title}: {items}."
                yield ""


def as_timed(case: Mapping[str, Any]) -> Timed:
    """A case as `jax_impl.bench` wrote it."""
    return Timed(**{**case, "ways": [Way(**way) for way in case["ways"]]})


def environment(outcome: Mapping[str, Any]) -> str:
    """The variables that were set for it, in words."""
    return "".join(f", {name}={value}" for name, value in outcome["environment"].items() if value)


def quality(found: Record) -> Iterator[str]:
    """What each method was trained for."""
    rows = []
    for name, outcome in found.items():
        result, (_, data, method) = outcome["result"], name.split("/")
        cells = [f"{result[key]:,.0f}" if key in result else "" for key in ("seconds", "images", "parameters")]
        rows.append([data, f"`{method}`", *cells, outcome["date"]])
    if rows:
        yield from table(("pairs", "method", "seconds", "images", "parameters", "measured on"), rows)
        yield ""


def scores(found: Record) -> Iterator[str]:
    """How near its pictures come."""
    columns = {"psnr": 2, "ssim": 3, "delta_e": 2, "swd": 4}
    rows = []
    for name, outcome in found.items():
        metrics, (_, data, method) = outcome["result"]["methods"]["model"]["metrics"], name.split("/")
        rows.append([data, f"`{method}`", *(f"{metrics[key]['mean']:.{digits}f}" for key, digits in columns.items())])
    if rows:
        yield from table(("pairs", "method", "PSNR, dB", "SSIM", "ΔE2000", "SWD"), rows)
        yield ""


def repeats(found: Record) -> Iterator[str]:
    """Whether deterministic training repeats, and its cost."""
    for outcome in found.values():
        result = outcome["result"]
        yield (
            f"{result['steps']} steps of `seed` in two processes with train.deterministic: the weights are "
            f"{'equal to the bit' if result['equal_bits'] else 'NOT equal'}; without it they "
            f"{'are equal too' if result['equal_bits_without'] else 'differ'}. A step takes {result['cost']:.2f} times "
            f"as long. Measured on {outcome['date']} (`{outcome['command']}`)."
        )
        yield ""


def loader(found: Record) -> Iterator[str]:
    """Pairs a second of each source."""
    for outcome in found.values():
        eaten = outcome["result"]["train step"]
        rows = [[name, f"{rate:.0f}", f"{rate / eaten:.2f}"] for name, rate in outcome["result"].items()]
        yield from table(("source", "pairs/s", "of the training step's"), rows)
        yield ""
        yield f"Measured on {outcome['date']} (`{outcome['command']}`)."
        yield ""


def missing(cases: Sequence[Case], record: Record) -> Iterator[str]:
    """What has no result, each with the reason."""
    for case in cases:
        outcome = record.get(case.name)
        if outcome is None or "result" not in outcome:
            why = "" if outcome is None else f" ({outcome['status']}{outcome.get('said', '')})"
            yield f"- `{case.name}`: not measured{why}"
        elif outcome["status"] != "measured":
            yield f"- `{case.name}`: {outcome['status']}{outcome.get('said', '')}; what is above was found by then"


SECTIONS = (
    ("Every preset works", "preset/", presets),
    ("Training throughput", "throughput/", timings),
    ("XLA's flags and formulations", ("flags/", "formulations/"), timings),
    ("Quality in equal time: trainings", "quality/", quality),
    ("Quality in equal time: scores", "scores/", scores),
    ("Repeatable training", "deterministic", repeats),
    ("Loading", "loader", loader),
)
"""Title, how the names of its cases begin, and what its results say."""


if __name__ == "__main__":
    run(main)
