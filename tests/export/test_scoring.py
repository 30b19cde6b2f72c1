"""Scores of files say how far their pictures are apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from export.edge.model.artifact import open_artifact
from export.edge.translate import Options, translate
from export.probes import paint_probe
from export.scoring import Truth, draw, score_files, working_side


def test_a_drawing_is_what_the_edge_draws(exported: tuple[Path, Path]) -> None:
    model = open_artifact(exported[1])
    picture = paint_probe(1, working_side(model))
    drawing = draw(model, picture, 5, 3)
    np.testing.assert_array_equal(drawing.picture, translate(model, picture, Options(steps=3), seed=5))
    assert drawing.finite
    assert drawing.calls == 3
    assert 0.0 < drawing.network_seconds < drawing.seconds


def test_scores(exported: tuple[Path, Path]) -> None:
    model = open_artifact(exported[1])
    pictures = [paint_probe(seed, 24) for seed in range(2)]
    darker = replace(model, denoise=lambda x_t, cond, t: model.denoise(x_t, cond, t) + np.float32(0.05))
    broken = replace(model, denoise=lambda x_t, cond, t: np.full_like(x_t, np.nan))
    models = {"exact": (model, 2_000_000), "same": (model, 1), "darker": (darker, 1), "broken": (broken, 1)}
    exact, same, other, worst = score_files(models, pictures, targets=pictures, steps=2)
    assert (exact.name, exact.megabytes) == ("exact", 2.0)
    assert (same.worst_psnr, same.mean_psnr, same.delta_e) == (np.inf, np.inf, 0.0)
    drawn = [[draw(m, picture, seed, 2).picture for seed, picture in enumerate(pictures)] for m in (model, darker)]
    psnrs = [peak_signal_noise_ratio(*pair) for pair in zip(*drawn, strict=True)]
    assert other.worst_psnr == pytest.approx(min(psnrs))
    assert other.mean_psnr == pytest.approx(np.mean(psnrs))
    assert other.delta_e > 0.0
    assert worst.worst_psnr == -np.inf
    to_target = [peak_signal_noise_ratio(p, d) for p, d in zip(pictures, drawn[0], strict=True)]
    assert exact.to_target is not None
    assert exact.to_target.psnr == pytest.approx(np.mean(to_target))
    alike = [
        structural_similarity(
            p, d, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        for p, d in zip(pictures, drawn[0], strict=True)
    ]
    assert exact.to_target.ssim == pytest.approx(np.mean(alike), abs=1e-4)


def test_true_pictures_are_at_no_distance_from_themselves() -> None:
    scenes = [paint_probe(seed, 32) for seed in range(3)]
    truth = Truth.of(scenes)
    near = truth.nearness(np.stack(scenes))
    assert (near.psnr, near.ssim, near.delta_e, near.sharpness, near.swd) == (np.inf, 1.0, 0.0, 1.0, 0.0)
    dull = np.stack([np.full_like(scene, scene.mean()) for scene in scenes])
    far = truth.nearness(dull)
    assert far.swd > 0.0
    assert far.sharpness < 0.01
    assert far.ssim < 0.9
