"""How near generated pictures are to true ones: pixels, structure, colour and texture, in numpy alone."""

from export.edge.metrics.color import color_drift, delta_e
from export.edge.metrics.fidelity import LUMA, psnr, sharpness_ratio, ssim
from export.edge.metrics.texture import Yardstick, cumulative, distances, make_yardstick

__all__ = [
    "LUMA", "Yardstick", "color_drift", "cumulative", "delta_e", "distances", "make_yardstick", "psnr",
    "sharpness_ratio", "ssim",
]  # fmt: skip
