"""How far the colours of two pictures lie apart, and the colour space in which that is judged.

CIELAB under D65 for the standard observer of 1931: L in 0 ... 100, a and b around 0.
"""

from __future__ import annotations

import numpy as np

from export.edge.metrics.fidelity import check_pair

_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
"""Linear sRGB to CIE XYZ, ITU-R BT.709 primaries."""
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LEVELS = np.arange(256) / 255.0
_LINEAR = np.where(_LEVELS > 0.04045, ((_LEVELS + 0.055) / 1.055) ** 2.4, _LEVELS / 12.92)
"""Linear light of each uint8 level, IEC 61966-2-1."""
_EPSILON, _KAPPA = (6.0 / 29.0) ** 3, (29.0 / 6.0) ** 2 / 3.0
_25_TO_7 = 25.0**7


def to_lab(picture: np.ndarray) -> np.ndarray:
    """sRGB uint8 (..., 3) to CIELAB, float64 of the same shape."""
    f = _LINEAR[picture] @ (_TO_XYZ / _WHITE[:, None]).T
    f = np.where(f > _EPSILON, np.cbrt(f), _KAPPA * f + 4.0 / 29.0)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def from_lab(lab: np.ndarray) -> np.ndarray:
    """CIELAB (..., 3) to sRGB uint8 of the same shape; colours outside sRGB are clipped channel by channel."""
    y = (lab[..., 0] + 16.0) / 116.0
    f = np.stack([y + lab[..., 1] / 500.0, y, y - lab[..., 2] / 200.0], axis=-1)
    xyz = np.where(f > 6.0 / 29.0, f**3, (f - 4.0 / 29.0) / _KAPPA) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_TO_XYZ).T, 0.0, 1.0)
    srgb = np.where(linear > 0.0031308, 1.055 * linear ** (1.0 / 2.4) - 0.055, 12.92 * linear)
    return np.floor(np.clip(srgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def delta_e(a: np.ndarray, b: np.ndarray) -> float:
    """Mean CIEDE2000 difference over the pixels of two sRGB uint8 pictures (height, width, 3); 0 for equal ones."""
    check_pair(a, b)
    return float(np.mean(ciede2000(to_lab(a), to_lab(b))))


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """CIEDE2000 between CIELAB colours (..., 3), float64 (...); about 1 is just noticeable.

    Sharma, Wu, Dalal 2005, "The CIEDE2000 color-difference formula: implementation notes,
    supplementary test data, and mathematical observations", equations 2 to 22, with
    k_L = k_C = k_H = 1.
    """
    l1, a1, b1 = np.moveaxis(first, -1, 0)
    l2, a2, b2 = np.moveaxis(second, -1, 0)
    g = 1.5 - 0.5 * _saturation(0.5 * (np.hypot(a1, b1) + np.hypot(a2, b2)))
    a1, a2 = g * a1, g * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1) % (2.0 * np.pi), np.arctan2(b2, a2) % (2.0 * np.pi)
    gap = h2 - h1
    # Grey has no hue: the mean is then the other colour's (equations 10 and 14).
    grey = c1 * c2 == 0.0
    turn = np.where(gap > np.pi, -2.0 * np.pi, np.where(gap < -np.pi, 2.0 * np.pi, 0.0))
    gap = np.where(grey, 0.0, gap + turn)
    hue = np.where(grey, h1 + h2, 0.5 * (h1 + h2 + turn))
    d_light, d_chroma = l2 - l1, c2 - c1
    d_hue = 2.0 * np.sqrt(c1 * c2) * np.sin(0.5 * gap)
    light, chroma = 0.5 * (l1 + l2) - 50.0, 0.5 * (c1 + c2)

    cos, sin = np.cos(hue), np.sin(hue)
    cos2, sin2 = cos * cos - sin * sin, 2.0 * sin * cos
    cos3, sin3 = cos2 * cos - sin2 * sin, sin2 * cos + cos2 * sin
    cos4, sin4 = cos2 * cos2 - sin2 * sin2, 2.0 * sin2 * cos2
    t = 1.0 + 0.24 * cos2
    for weight, (c, s), degrees in ((-0.17, (cos, sin), 30.0), (0.32, (cos3, sin3), -6.0), (-0.2, (cos4, sin4), 63.0)):
        t += weight * (np.cos(np.deg2rad(degrees)) * c + np.sin(np.deg2rad(degrees)) * s)
    weight_light = 1.0 + 0.015 * light**2 / np.sqrt(20.0 + light**2)
    term_chroma = d_chroma / (1.0 + 0.045 * chroma)
    term_hue = d_hue / (1.0 + 0.015 * chroma * t)
    away = (np.rad2deg(hue) % 360.0 - 275.0) / 25.0
    rotation = -2.0 * _saturation(chroma) * np.sin(np.deg2rad(60.0) * np.exp(-(away**2)))
    square = (d_light / weight_light) ** 2 + term_chroma**2 + term_hue**2 + rotation * term_chroma * term_hue
    return np.sqrt(np.maximum(square, 0.0))


def color_drift(generated: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    """Mean of each channel of one uint8 picture (height, width, 3) less that of another, in levels of 255."""
    check_pair(generated, target)
    red, green, blue = generated.mean(axis=(0, 1)) - target.mean(axis=(0, 1))
    return float(red), float(green), float(blue)


def _saturation(chroma: np.ndarray) -> np.ndarray:
    """sqrt(c^7 / (c^7 + 25^7)) of the formula's equations 4 and 21."""
    squared = chroma * chroma
    seventh = squared * squared * squared * chroma
    return np.sqrt(seventh / (seventh + _25_TO_7))
