"""The README.md of an artifact: what the model is, what it was trained on, how good it is, how to run it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import photo_card, sampler_card
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError
from export.edge.markdown import table
from export.edge.model.bundles import Training
from export.edge.model.layout import PHOTO, SAMPLER, UNROLLED
from export.edge.model.words import NO_WORDS, Words
from export.edge.version import __version__
from export.publish import Outcome
from export.scoring import STEPS
from torch_ref.weights import Bundle

NOT_STATED = "not stated"
FIGURES = {
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "delta_e": ("ΔE2000", 2),
    "swd": ("SWD × 10³", 1),
    "lpips": ("LPIPS", 3),
    "clip": ("CLIP distance", 4),
}
"""The figures of an evaluation.json that the card shows: title, digits."""


@dataclass(frozen=True)
class Facts:
    """What the card is filled with."""

    licence: str
    outcomes: Sequence[Outcome]
    difference: float
    """Largest difference of model.onnx from torch."""
    evaluation: Mapping[str, Any] | None
    parity: Mapping[str, Any] | None
    words: Words = NO_WORDS
    """What the model is called, and what it turns into what."""
    name: str = ""
    """Of its run: the title where it has no other."""


def read_report(
    path: Path, what: str, show: Callable[[Mapping[str, Any]], list[str]], weights_digest: str
) -> dict[str, Any]:
    """An evaluation.json or a parity.json, which `show` (`evaluation_lines`, `parity_lines`) can show.

    Raises UserError when it is missing, is not JSON, lacks what is shown, or names other weights.
    """
    try:
        report = parse_json(read_text(path, what))
    except ValueError as error:
        raise UserError(f"{what} {path} is not JSON ({error}); give the file that the command wrote") from error
    try:
        show(report)
        digest = report.get("weights_digest", weights_digest)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{what} {path} lacks {error}; give the file that the command wrote") from error
    if digest != weights_digest:
        raise UserError(
            f"{what} {path} is about other weights ({str(digest)[:12]}…) than the bundle ({weights_digest[:12]}…); "
            "make it again for these"
        )
    return report


def card(bundle: Bundle, facts: Facts) -> str:
    """The whole text, Markdown with the front matter that model hubs read."""
    model, data, diffusion = (bundle.config[section] for section in ("model", "data", "diffusion"))
    parameters = sum(parameter.numel() for parameter in bundle.model.parameters())
    known = {"license": facts.licence}
    if " " in facts.licence:  # None that a hub lists.
        known = {"license": "other", "license_name": licence_name(facts.licence)}
    front = {**known, "library_name": "onnxruntime", "pipeline_tag": "image-to-image"}
    published = {outcome.name for outcome in facts.outcomes if outcome.published}
    slider = any(plan.mean_t is not None for plans in (bundle.tables or {}).values() for plan in plans.values())
    evaluation = ["Not scored against held-out pairs."]
    if facts.evaluation is not None:
        evaluation = evaluation_lines(facts.evaluation)
    parity = [f"ONNX against PyTorch: largest difference {facts.difference:.1e} of a prediction of unit size."]
    if facts.parity is not None:
        parity = parity_lines(facts.parity)
    title = facts.words.title or facts.name
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
        "tags: [diffusion, image-to-image, onnx]",
        "---",
        f"# {f'{title}: paired' if title else 'Paired'} picture translation by diffusion",
        "",
        f"{_way(facts.words)} a picture into its counterpart by a conditional diffusion model "
        f"({model['architecture']}, {parameters:,} parameters, trained at {data['size']} × {data['size']}, predicts "
        f"{diffusion['prediction']}).",
        "",
        "| a painted picture | its translation |",
        "|---|---|",
        "| ![input](golden/input.png) | ![output](golden/output.png) |",
        "",
        f"**Licence:** {facts.licence}.",
        "",
        "## Run it",
        *_running(),
        "",
        f"Recommended: {diffusion['sample_steps']} steps of {diffusion['sampler']}; `sampler_config.json` has all that "
        "a sampler in another language needs.",
    ]
    if slider:
        lines[-1] += " `--realism` 0 gives the mean of all plausible pictures, 1 the sharpest one, the default."
    lines += _loops(published, slider)
    if photos := sorted(name for name in published if name.startswith(PHOTO)):
        lines += ["", *photo_card.lines(photos, slider)]
    if bundle.alphas_cumprod is not None:
        lines += ["", *sampler_card.lines(diffusion)]
    lines += ["", "## Training", *_training(bundle.config, bundle.training), "", "## Evaluation", *evaluation]
    lines += ["", "## Precision", *_precision(facts), "", "## Parity", *parity]
    lines += [
        "",
        "## Is it whole?",
        "`sha256sum -c SHA256SUMS` checks the files; `python -m export.verify .` also compares PyTorch with the ONNX "
        "files and draws `golden/output.png` again from `golden/input.png`.",
        "",
    ]
    return "\n".join(lines)


def licence_name(licence: str) -> str:
    """A licence in the letters that model hubs take for a name: small ones, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.") or "other"


def _loops(published: Collection[str], slider: bool) -> list[str]:
    """What to say of the sampling loops in one graph."""
    lines, realism = [], " A third input is `realism`, float32 (1), from 0 to 1." if slider else ""
    if SAMPLER in published:
        lines += [
            "",
            f"`onnx/{SAMPLER}` holds the whole loop: inputs `cond`, in [-1, 1], and `noise`, standard normal, both "
            f"float32 (batch, 3, height, width); output `picture`, of the same shape, in [0, 1].{realism}",
        ]
    if UNROLLED in published:
        lines += [
            "",
            f"`onnx/{UNROLLED}` is the same for one picture and without the operator Loop, which some engines lack.",
        ]
    return lines


def _way(words: Words) -> str:
    """What the model is for, as far as it is known: the beginning of a sentence."""
    if not (words.input_name and words.target_name):
        return "Turns"
    return f"From {words.input_name} to {words.target_name}: turns"


def _running() -> list[str]:
    """How to install what runs the model, and the command."""
    return [
        "The wheel of dawn2dusk with the extra `edge` needs onnxruntime, numpy and Pillow. In the source folder of "
        "dawn2dusk, `python -m hatchling build -t wheel` writes it into `dist`.",
        "",
        "```",
        f"pip install 'dawn2dusk-{__version__}-py3-none-any.whl[edge]'",
        "python -m export.edge onnx/model.onnx photo.jpg result.png",
        "```",
    ]


def _training(config: Mapping[str, Any], far: Training | None) -> list[str]:
    """What the bundle knows; of a folder its name alone, as the rest is about the machine."""
    data, train = config["data"], config.get("train", {})
    path = data.get("path")
    if path == "synthetic":
        what = f"{data.get('synthetic_pairs', 'some')} built-in scenes, painted by the trainer"
    elif path:
        what = f"pairs of pictures from a folder or list called `{Path(path).name}`"
    else:
        what = NOT_STATED
    known = [f"- Pairs: {what}.", f"- Squares of {data['size']} pixels, by `{data['fit']}`."]
    if "direction" in data:
        known.append(f"- Direction: {data['direction']}.")
    if {"epochs", "batch_size"} <= set(train):
        known.append(f"- At most {train['epochs']} epochs in batches of {train['batch_size']}.")
    if far is not None:
        known.append(f"- {far.steps:,} of {far.planned:,} planned steps; {far.pictures:,} pairs seen, repeats counted.")
    known.append(
        "- A checkpoint of the run can be read without this project: "
        '`orbax.checkpoint.StandardCheckpointer().restore(folder.absolute() / "state")`, where `folder` is '
        "`model_checkpoints/step_…`; the keys are texts such as `.params['stem']['kernel']`."
    )
    return known


def evaluation_lines(report: Mapping[str, Any]) -> list[str]:
    """The figures of every method, from an evaluation.json."""
    methods: Mapping[str, Any] = report["methods"]
    first, *_ = methods.values()
    names = [name for name in FIGURES if name in first["metrics"]]
    rows = []
    for method in methods.values():
        cells = []
        for name in names:
            _, digits = FIGURES[name]
            figure = method["metrics"][name]
            mean, low, high = (f"{figure[key]:.{digits}f}" for key in ("mean", "low", "high"))
            cells.append(f"{mean} ({low}–{high})")
        rows.append([method["title"], *cells])
    data = report["data"]
    return [
        *(f"**WARNING: {warning}**\n" for warning in report.get("warnings", ())),
        f"{data['pairs']} held-out pairs ({data['split']}), {data['size']} × {data['size']}; {report['interval']}.",
        "",
        *table(["", *(FIGURES[name][0] for name in names)], rows),
    ]


def _precision(facts: Facts) -> list[str]:
    scored = [outcome for outcome in facts.outcomes if outcome.score is not None and outcome.published]
    rows = []
    for outcome in scored:
        score = outcome.score
        assert score is not None
        figures = [f"{score.megabytes:.1f}", f"{score.worst_psnr:.1f}", f"{score.delta_e:.2f}"]
        rows.append([f"`{outcome.name}`", *figures, f"{outcome.description}; {outcome.note}"])
    rest = [outcome for outcome in facts.outcomes if outcome not in scored]
    others = [f"- `{outcome.name}`{'' if outcome.published else ' left out'}: {outcome.note}." for outcome in rest]
    if not rows:
        return others or ["Float32 alone."]
    head = ["", "MB", "PSNR of the worst picture, dB", "ΔE2000", ""]
    return [
        f"Final pictures of {STEPS} steps against those of `model.onnx`:",
        "",
        *table(head, rows),
        *(["", *others] if others else []),
    ]


def parity_lines(report: Mapping[str, Any]) -> list[str]:
    """The largest error of each kind, from a parity.json."""
    lines = report["lines"]
    worst: dict[tuple[str, str, str, str], float] = {}
    count: dict[tuple[str, str, str, str], int] = {}
    for line in lines:
        key = (line["level"], line["pair"], line["dtype"], line["measure"])
        worst[key] = max(worst.get(key, 0.0), float(line[line["measure"]]))
        count[key] = count.get(key, 0) + 1
    rows = [[*key, str(count[key]), f"{value:.1e}"] for key, value in sorted(worst.items())]
    passed = "all within their bounds" if report["passed"] else "**some outside their bounds**"
    return [
        f"{len(lines)} comparisons, {passed}; the largest error of each kind:",
        "",
        *table(["level", "pair", "dtype", "error", "comparisons", "largest"], rows),
    ]
