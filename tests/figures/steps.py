"""Quality against the number of steps, a curve for each sampler.

`python -m tests.figures.steps --run runs/x --data.path DIR --output docs/steps.png`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from matplotlib.figure import Figure

from export.edge.choices import Sampler
from export.edge.disk.files import atomic_file, write_json
from export.edge.errors import UserError, run
from export.edge.pictures.kinds import check_output_picture
from export.edge.sampling.spacing import check_steps
from jax_impl.config.command import parse
from jax_impl.diffusion.sampling import SamplingOptions
from jax_impl.evaluate import EvaluationData, data_config
from jax_impl.evaluation.held_out import open_held_out
from jax_impl.evaluation.methods import Method, baselines, of_run
from jax_impl.evaluation.scoring import METRICS, Judge, Scores, make_judge, score
from jax_impl.evaluation.statistics import Estimate
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights
from tests.figures.ablation import FIGURES

CANDIDATE: tuple[Sampler, int] = ("dpmpp", 20)
REFERENCE: tuple[Sampler, int] = ("ddpm", 250)
"""The two that should agree; the reference is drawn a second time, from other noise, as a control."""
TITLES = {"ddpm": "DDPM", "ddim": "DDIM", "dpmpp": "DPM-Solver++(2M)", "heun": "Heun, two calls a step"}
STYLES = {"ddpm": ("#7a7a7a", "s"), "ddim": ("#1f4e8c", "o"), "dpmpp": ("#d1495b", "D"), "heun": ("#3a8f5c", "^")}
SHOWN = ("psnr", "ssim", "delta_e", "swd")
RIVALS = {"pixel_ridge": "ridge", "color_transfer": "Reinhard"}

Figures = Mapping[str, Mapping[str, float]]
"""{figure: {mean, low, high}}"""


@dataclass(frozen=True)
class StepsArgs:
    """Score a run with every sampler and number of steps, and draw the curves."""

    run: Path
    """Run folder, as given to training."""
    output: Path
    """Picture to write; the figures go beside it as JSON."""
    data: EvaluationData = field(default_factory=EvaluationData)
    samplers: tuple[Sampler, ...] = get_args(Sampler)
    steps: tuple[int, ...] = (1, 2, 4, 10, 20, 50, 250)
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, score, and write picture and figures. Raises UserError for what cannot be drawn."""
    args = parse(StepsArgs, argv, "python -m tests.figures.steps")
    check_output_picture(args.output, "--output")
    if not args.samplers or not args.steps:
        raise UserError("--samplers and --steps must each name at least one; leave them out for all")
    trained = open_run(args.run)
    for steps in args.steps:
        check_steps(trained.problem.process.timesteps, steps)
    weights = final_weights(trained)
    config = trained.config.data
    held_out = open_held_out(data_config(args.data, config.size, config.fit), "val")
    judge = make_judge(held_out, METRICS)

    def method(sampler: Sampler, steps: int) -> Method:
        return of_run("model", "model", trained, weights, SamplingOptions(sampler, steps))

    scored: dict[tuple[str, int], Scores] = {}
    for sampler in args.samplers:
        for steps in sorted(set(args.steps)):
            scored[sampler, steps] = scores = score(judge, method(sampler, steps), args.seed)
            print(f"{sampler}, {steps} steps: {_line(_figures(scores))}", flush=True)
    found: dict[str, Any] = {
        "pairs": len(held_out.pairs.names),
        "size": held_out.data.size,
        "images_seen": int(trained.state.step) * trained.config.train.batch_size,
        "curves": {
            sampler: [{"steps": steps, **_figures(scored[sampler, steps])} for steps in sorted(set(args.steps))]
            for sampler in args.samplers
        },
        "baselines": {one.name: _figures(score(judge, one)) for one in baselines(held_out)},
    }
    if CANDIDATE in scored and REFERENCE in scored:
        found["agreement"] = agreement(judge, scored, score(judge, method(*REFERENCE), args.seed + 10_000))
        for line in agreement_table(found["agreement"]):
            print(line)
    write_json(args.output.with_suffix(".json"), found)
    plot(found, args.output)
    print(args.output)


def agreement(judge: Judge, scored: Mapping[tuple[str, int], Scores], again: Scores) -> dict[str, dict[str, Any]]:
    """For each figure: both values, their difference, and the reference's from itself with other noise."""
    names = (*judge.metrics, *judge.sets)
    candidate, reference, control = scored[CANDIDATE].estimates, scored[REFERENCE].estimates, again.estimates
    return {
        name: {
            "candidate": candidate[name].value,
            "reference": reference[name].value,
            "difference": _apart(candidate[name], reference[name]),
            "control": _apart(control[name], reference[name]),
        }
        for name in names
    }


def agreement_table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown: the candidate, the reference, and how far they are apart, in percent of the reference."""

    def percent(apart: Mapping[str, float], of: float) -> str:
        mean, low, high = (100.0 * apart[name] / of for name in ("mean", "low", "high"))
        return f"{mean:+.1f} % ({min(low, high):+.1f} to {max(low, high):+.1f})"

    head = f"| | {CANDIDATE[0]}, {CANDIDATE[1]} steps | {REFERENCE[0]}, {REFERENCE[1]} steps | difference | "
    lines = [head + f"{REFERENCE[0]} from itself, other noise |", "| --- " * 5 + "|"]
    for name, (title, digits, scale) in FIGURES.items():
        one = found[name]
        values = f"{scale * one['candidate']:.{digits}f} | {scale * one['reference']:.{digits}f}"
        apart = f"{percent(one['difference'], one['reference'])} | {percent(one['control'], one['reference'])}"
        lines.append(f"| {title} | {values} | {apart} |")
    return lines


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Four panels, a curve for each sampler with its 95 % interval, baselines as dotted lines."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, SHOWN, strict=True):
        title, _, scale = FIGURES[name]
        for sampler, curve in found["curves"].items():
            steps = [point["steps"] for point in curve]
            mean, low, high = ([scale * point[name][bound] for point in curve] for bound in ("mean", "low", "high"))
            color, marker = STYLES[sampler]
            axes.plot(steps, mean, color=color, marker=marker, markersize=4, linewidth=1.6, label=TITLES[sampler])
            axes.fill_between(steps, low, high, color=color, alpha=0.12, linewidth=0)
        for rival, label in RIVALS.items():
            if rival in found["baselines"]:
                level = scale * found["baselines"][rival][name]["mean"]
                axes.axhline(level, color="#444444", linestyle=":", linewidth=1)
                axes.annotate(
                    label, (1.0, level), xycoords=("axes fraction", "data"), fontsize=8, va="bottom", ha="right"
                )
        ticks = sorted({point["steps"] for curve in found["curves"].values() for point in curve})
        axes.set_xscale("log")
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="steps", title=title)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.suptitle(
        f"{found['pairs']} held-out pairs at {found['size']} × {found['size']}, after {found['images_seen']:,} images"
    )
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.lstrip("."))


def _figures(scores: Scores) -> dict[str, dict[str, float]]:
    return {name: estimate.to_json() for name, estimate in scores.estimates.items()}


def _apart(one: Estimate, other: Estimate) -> dict[str, float]:
    return one.less(other).to_json()


def _line(figures: Figures) -> str:
    return ", ".join(f"{t} {s * figures[name]['mean']:.{d}f}" for name, (t, d, s) in FIGURES.items())


if __name__ == "__main__":
    run(main)
