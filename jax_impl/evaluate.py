"""Score a model on held-out pairs, and next to it baselines without a network.

`python -m jax_impl.evaluate --artifact artifact/onnx/model.onnx --data.path DIR --output-dir evaluation`;
`--run runs/x` scores a run's weights, `--pictures DIR` what any other program made of the held-out inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from export.edge.choices import Spacing
from export.edge.disk.files import check_output_folder, write_json, write_text
from export.edge.errors import UserError, run
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import DENOISER
from export.edge.pictures.arrays import Fit
from export.edge.pictures.files import save_picture
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig, DirectionConfig, PlaceConfig, SceneConfig, TfdsConfig, part_of
from jax_impl.data.splits import Split
from jax_impl.devices import memory_errors, start_devices
from jax_impl.diffusion.sampling import SamplingOptions, resolve
from jax_impl.evaluation.frechet import open_inception
from jax_impl.evaluation.frontier import Curve, plot
from jax_impl.evaluation.held_out import HeldOut, open_held_out
from jax_impl.evaluation.methods import Method, baselines, of_artifact, of_codec, of_pictures, of_run
from jax_impl.evaluation.perceptual import clip_metric, lpips_metric
from jax_impl.evaluation.report import CEILING, RIVAL, baselines_of, contact_sheet, report_json, to_markdown
from jax_impl.evaluation.scoring import METRICS, make_judge, score
from jax_impl.model.codec import Codec
from jax_impl.runs.bundles import digest_of_weights
from jax_impl.runs.folder import open_run, trained_names
from jax_impl.runs.publishing import final_weights, published
from jax_impl.training.checkpoint import NEWEST


@dataclass(frozen=True)
class EvaluationData(TfdsConfig, SceneConfig, DirectionConfig, PlaceConfig):
    """The pairs to score on, and in train those that baselines learn from: as in training."""

    size: int | None = None
    """Side of the squares that are compared, pixels, 8 to 4096; default: the model's own, for --pictures 128."""
    fit: Fit | None = None
    """How pictures become square: `crop`, `letterbox` or `stretch`; default: the model's own, for --pictures crop."""


@dataclass(frozen=True)
class EvaluateArgs:
    """Score a model on held-out pairs, and next to it baselines without a network."""

    output_dir: Path
    """Folder for evaluation.json, evaluation.md, frontier.png and contact_sheet.png; made if it does not exist."""
    artifact: Path | None = None
    """Score this artifact, an .onnx file, with export.edge. Name one of --artifact, --run and --pictures."""
    run: Path | None = None
    """Score the weights of this run folder, with JAX. Name one of --artifact, --run and --pictures."""
    checkpoint: str = NEWEST
    """Which checkpoint of --run: `newest`, `best` (lowest validation loss) or the number of a step."""
    pictures: Path | None = None
    """Score the pictures in this folder, which any program made of the held-out inputs, each named like its pair.
    Name one of --artifact, --run and --pictures."""
    baseline_run: Path | None = None
    """Run folder to compare with, such as one of the preset `seed` trained on the same data."""
    data: EvaluationData = field(default_factory=EvaluationData)
    split: Split = "val"
    """Which split of the data is scored."""
    steps: int | None = None
    """Sampling steps of the scored model, 1 to its number of timesteps; more take longer. Default: its own."""
    sampler: str | None = None
    """Sampler of the scored model; default: its own."""
    spacing: Spacing | None = None
    """Which timesteps the sampling steps visit; default: as the scored model recommends."""
    guidance: float | None = None
    """Scale of classifier-free guidance of the scored model; 1 is none. Default: its own."""
    realism: float | None = None
    """Realism of the scored model, 0 to 1, if it was trained with diffusion.slider; default: 1."""
    realism_curve: tuple[float, ...] = ()
    """Realisms to score the model at in addition, such as 0 0.25 0.5 0.75 1: the line of its slider."""
    seed: int = 0
    """Seed of the start noise, 0 to 2^62 - 1; the same seed gives the same scores."""
    seeds: int = 1
    """Samples for each input, at least 1; from two on, their diversity and the best of them are reported too."""
    steps_curve: tuple[int, ...] = ()
    """Numbers of sampling steps to score the model with in addition, such as 1 2 4 10 20."""
    lpips: Path | None = None
    """Also report LPIPS, with the weights in this safetensors file; `python -m torch_ref.perceptual lpips` makes it."""
    clip: Path | None = None
    """Also report the distance of CLIP's embeddings, with the weights in this safetensors file of `python -m
    torch_ref.perceptual clip`."""
    fid: Path | None = None
    """Also report FID and KID, with the weights in this safetensors file of `python -m torch_ref.perceptual fid`."""
    shown: int = 6
    """Number of pairs on the contact sheet, at least 1."""


@memory_errors("choose a smaller --data.size, or set JAX_PLATFORMS=cpu")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, score, and write the four files."""
    evaluate(parse(EvaluateArgs, argv, "python -m jax_impl.evaluate"))


def evaluate(args: EvaluateArgs) -> dict[str, Any]:
    """Score what the settings name, print the tables and write the four files; returns what evaluation.json holds.

    Raises UserError for settings that do not go together, and for what cannot be opened.
    """
    check(args)
    start_devices()
    metrics, features = dict(METRICS), None if args.fid is None else open_inception(args.fid)
    if args.lpips is not None:
        metrics["lpips"] = lpips_metric(args.lpips)
    if args.clip is not None:
        metrics["clip"] = clip_metric(args.clip)
    subject = open_subject(args)
    rival = None if args.baseline_run is None else open_rival(args.baseline_run)
    held_out = open_held_out(subject.data, args.split)
    warnings = [*held_out.warnings, *other_data(held_out, (args.run, args.baseline_run))]
    for line in (*held_out.notes, *(f"WARNING: {warning}" for warning in warnings)):
        print(line, flush=True)

    model = subject.make(held_out, options(args))
    methods = [model]
    if rival is not None:
        methods.append(rival)
    if subject.codec is not None:
        methods.append(of_codec(CEILING, subject.codec, held_out))
    judge = make_judge(held_out, metrics, features)
    scored = [score(judge, method, args.seed, args.seeds) for method in (*methods, *baselines(held_out))]
    settings = [("steps", steps, options(args, steps=steps)) for steps in args.steps_curve]
    settings += [("realism", realism, options(args, realism=realism)) for realism in args.realism_curve]
    curves = dict[str, Curve]()
    for name, value, how in settings:
        found = score(judge, subject.make(held_out, how), args.seed)
        curves.setdefault(name, Curve(name, [])).points.append((value, found))

    notes = [images_seen(method) for method in methods]
    facts = {**subject.facts, "steps": model.steps, "sampler": model.sampler, "seed": args.seed}
    table = to_markdown(judge, scored, warnings, list(curves.values()), notes)
    args.output_dir.mkdir(exist_ok=True)
    report = report_json(judge, scored, warnings, list(curves.values()), facts)
    write_json(args.output_dir / "evaluation.json", report)
    write_text(args.output_dir / "evaluation.md", table)
    plot(scored, list(curves.values()), baselines_of(scored), args.output_dir / "frontier.png")
    sheet = args.output_dir / "contact_sheet.png"
    save_picture(sheet, contact_sheet(held_out, scored, args.shown))
    print(table)
    print(f"contact sheet: {sheet}")
    return report


def check(args: EvaluateArgs) -> None:
    """Raise UserError for what cannot go together, before anything is opened."""
    named = [f"--{name}" for name in ("artifact", "run", "pictures") if getattr(args, name) is not None]
    if len(named) != 1:
        what = " and ".join(named) or "nothing to score"
        raise UserError(f"{what} given; name exactly one of --artifact, --run and --pictures")
    if args.shown < 1:
        raise UserError(f"--shown is {args.shown}: choose at least 1")
    if args.seeds < 1:
        raise UserError(f"--seeds is {args.seeds}: choose at least 1")
    if not 0 <= args.seed < 2**62:
        raise UserError(f"--seed {args.seed} is out of range; choose 0 to {2**62 - 1}")
    drawn = (
        ("--steps", args.steps),
        ("--sampler", args.sampler),
        ("--spacing", args.spacing),
        ("--guidance", args.guidance),
        ("--realism", args.realism),
        ("--steps-curve", args.steps_curve or None),
        ("--realism-curve", args.realism_curve or None),
    )
    for name, value in drawn:
        if args.pictures is not None and value is not None:
            raise UserError(f"{name} says how to draw, and the pictures of --pictures are drawn already; leave it out")
    for name, values in (("--steps-curve", args.steps_curve), ("--realism-curve", args.realism_curve)):
        if len(set(values)) < len(values):
            raise UserError(f"{name} names {' '.join(map(str, values))}: name each value once")
    if args.run is None and args.checkpoint != NEWEST:
        raise UserError(f"--checkpoint {args.checkpoint} chooses among those of --run; name one, or leave it out")
    if args.pictures is not None and args.seeds > 1:
        raise UserError(f"--seeds is {args.seeds}, and --pictures holds one draw for each input; leave --seeds out")
    check_output_folder(args.output_dir, "--output-dir")


@dataclass(frozen=True)
class Subject:
    """What is scored, opened."""

    data: DataConfig
    make: Callable[[HeldOut, SamplingOptions], Method]
    """(pairs, how to sample) to a method."""
    facts: dict[str, object]
    """What to note about it in the report."""
    codec: Codec | None = None
    """Its codec, where that has learned what it does."""


def open_subject(args: EvaluateArgs) -> Subject:
    """Open the one thing that is named; raises UserError where that cannot be, or for impossible ways to sample."""
    wanted = [options(args), *(options(args, steps=steps) for steps in args.steps_curve)]
    wanted += [options(args, realism=realism) for realism in args.realism_curve]
    if args.artifact is not None:
        model = open_artifact(args.artifact)
        for how in wanted:
            model.plan(how.steps, how.sampler, spacing=how.spacing, realism=how.realism)
        return Subject(
            data_config(args.data, model.size, cast(Fit, model.fit)),
            lambda _, how: of_artifact(model, how),
            {"artifact": args.artifact.name, "weights_digest": model.weights_digest},
        )
    if args.run is not None:
        trained = open_run(args.run, args.checkpoint)
        for how in wanted:
            resolve(trained.problem, how)
        networks = published(trained)
        digest = digest_of_weights(networks, trained.problem.process.published())
        return Subject(
            data_config(args.data, trained.config.data.size, trained.config.data.fit),
            lambda _, how: of_run("model", "model", trained, networks[DENOISER], how),
            {"run": str(args.run), "run_step": int(trained.state.step), "weights_digest": digest},
            trained.problem.codec if trained.config.codec.learned else None,
        )
    folder = cast(Path, args.pictures)
    return Subject(
        data_config(args.data, 128, "crop"),
        lambda held_out, _: of_pictures(folder, held_out),
        {"pictures": str(folder)},
    )


def options(args: EvaluateArgs, steps: int | None = None, realism: float | None = None) -> SamplingOptions:
    """How to sample what is scored; steps and realism in place of those of the command line."""
    steps, realism = args.steps if steps is None else steps, args.realism if realism is None else realism
    return SamplingOptions(args.sampler, steps, args.spacing, args.guidance, realism=realism)


def open_rival(folder: Path) -> Method:
    """The run to compare with, drawn as it recommends."""
    trained = open_run(folder)
    return of_run(RIVAL, f"baseline run {folder.resolve().name}", trained, final_weights(trained))


def data_config(data: EvaluationData, size: int, fit: Fit) -> DataConfig:
    """The settings of the pairs, where size and fit that are not named are the model's."""
    return part_of(DataConfig, data, size=data.size or size, fit=data.fit or fit)


def other_data(held_out: HeldOut, runs: Sequence[Path | None]) -> list[str]:
    """A warning for each run that was trained on other pairs than those of train here."""
    if held_out.train is None:
        return []
    return [
        f"run {folder} was trained on other pairs than train of {held_out.place}, perhaps on those scored here; "
        "score with the data and the --data.val-share it was trained with"
        for folder in runs
        if folder is not None and trained_names(folder) not in (None, held_out.train.names)
    ]


def images_seen(method: Method) -> str:
    """How much training went into a method."""
    count = "not known" if method.images_seen is None else f"{method.images_seen:,}"
    return f"Training pictures seen by {method.title}, repeats counted: {count}."


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
