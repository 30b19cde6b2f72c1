"""Everything that is scored draws through one kind of function, and draws what its own command would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import open_picture, save_picture
from jax_impl import sample
from jax_impl.diffusion.sampling import SamplingOptions
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.methods import BATCH, baselines, of_codec, of_pictures, of_run
from jax_impl.evaluation.scoring import Judge, score
from jax_impl.model.codec import PatchesCodecConfig, codec_of
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights


def test_a_baseline_passed_through_a_folder_gets_its_own_scores(
    judge: Judge, held_out: HeldOut, tmp_path: Path
) -> None:
    # A copy, a regression and a retrieved target: the folder does not know what drew its pictures.
    named = {method.name: method for method in baselines(held_out)}
    for method in (named[name] for name in ("copy_input", "pixel_ridge", "retrieval")):
        folder = tmp_path / method.name
        folder.mkdir()
        for name, picture in zip(held_out.pairs.names, method.draw(held_out.pairs.cond, range(6)), strict=True):
            save_picture(folder / f"{name}.png", picture)
        direct, through = score(judge, method), score(judge, of_pictures(folder, held_out))
        np.testing.assert_array_equal(direct.drawn, through.drawn)
        for name, values in direct.values.items():
            np.testing.assert_array_equal(values, through.values[name])
        assert {n: e.to_json() for n, e in direct.estimates.items()} == {
            n: e.to_json() for n, e in through.estimates.items()
        }


def test_pictures_are_found_by_the_guiding_pictures_name_too(held_out: HeldOut, tmp_path: Path) -> None:
    sources = tuple(f"photo_{i}" for i in range(6))
    renamed = HeldOut(**{**vars(held_out), "sources": sources})
    for source, picture in zip(sources, held_out.pairs.x0, strict=True):
        save_picture(tmp_path / f"{source}.png", picture)
    drawn = of_pictures(tmp_path, renamed).draw(held_out.pairs.cond, range(6))
    np.testing.assert_array_equal(drawn, held_out.pairs.x0)


def test_pictures_that_are_missing_or_there_twice(held_out: HeldOut, tmp_path: Path) -> None:
    for name in held_out.pairs.names[1:]:
        save_picture(tmp_path / f"{name}.png", held_out.pairs.x0[0])
    with pytest.raises(UserError, match=rf"lacks 1 of 6 pictures, such as {held_out.pairs.names[0]}\.png"):
        of_pictures(tmp_path, held_out)
    save_picture(tmp_path / f"{held_out.pairs.names[1]}.jpg", held_out.pairs.x0[0])
    with pytest.raises(UserError, match="holds both"):
        of_pictures(tmp_path, held_out)
    with pytest.raises(UserError, match="is no folder"):
        of_pictures(tmp_path / "none", held_out)


def test_a_run_draws_what_the_sample_command_draws(trained_run: Path, held_out: HeldOut, tmp_path: Path) -> None:
    pictures = held_out.pairs.cond[[0, 1, 2] * 3 + [3]]
    assert len(pictures) == BATCH + 2  # the second batch is filled up
    run = open_run(trained_run)
    method = of_run("model", "model", run, final_weights(run), SamplingOptions(steps=2))
    drawn = method.draw(pictures, list(range(10)))
    assert drawn.shape == pictures.shape
    for i in (1, 9):
        save_picture(tmp_path / "in.png", pictures[i])
        words = ["--run", str(trained_run), "--input", str(tmp_path / "in.png"), "--output", str(tmp_path / "out.png")]
        sample.main([*words, "--steps", "2", "--seed", str(i)])
        alone = open_picture(tmp_path / "out.png")
        assert np.abs(drawn[i].astype(int) - alone).max() <= 1
    assert method.images_seen == int(run.state.step) * 2 == 12
    assert (method.steps, method.sampler) == (2, "ddim")


def test_impossible_steps_are_found_out_before_drawing(trained_run: Path) -> None:
    run = open_run(trained_run)
    with pytest.raises(UserError, match="1001"):
        of_run("model", "model", run, final_weights(run), SamplingOptions(steps=1001))


def test_a_codec_draws_the_targets_that_passed_through_it(held_out: HeldOut) -> None:
    """Patches lose nothing but the last bit of a float."""
    method = of_codec("codec", codec_of(PatchesCodecConfig()), held_out)
    drawn = method.draw(held_out.pairs.cond, [0] * len(held_out.pairs.cond))
    np.testing.assert_array_equal(drawn, held_out.pairs.x0)


def test_without_training_pairs_only_the_copy_remains(held_out: HeldOut) -> None:
    alone = HeldOut(**{**vars(held_out), "train": None})
    assert [m.name for m in baselines(alone)] == ["copy_input"]
    assert [m.name for m in baselines(held_out)] == [
        "copy_input", "mean_target", "color_transfer", "pixel_ridge", "bilateral_grid", "ridge_grey_2", "ridge_grey_4",
        "ridge_colour_8", "retrieval",
    ]  # fmt: skip
