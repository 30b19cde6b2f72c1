"""Random changes shared by both pictures of a pair, inside the jitted train step.

The seed's list, with torchvision's meaning of every number: horizontal flip, colour
jitter, rotation, perspective; and a random crop. All geometry becomes one homography per
pair and one bilinear warp, so a picture is resampled once however many changes it gets.

Positions are (x, y) with the centres of the corner pixels at -1 and 1. A homography maps
a position in the result to the position in the input that it shows.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jax_impl.config.data import AugmentConfig

_GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in torchvision's `rgb_to_grayscale` (ITU-R BT.601 luma)."""
_DRAWS = 19


def augment(key: jax.Array, cond: jax.Array, x0: jax.Array, config: AugmentConfig) -> tuple[jax.Array, jax.Array]:
    """Change each pair of a batch by a draw of its own, the same for both of its pictures.

    Args:
        key: a PRNG key; the result is a pure function of it and the pictures.
        cond: float32 (batch, size, size, 3) in [-1, 1].
        x0: the same.
        config: what may change; a config that changes nothing returns the input as it is.

    Returns:
        cond and x0, same shapes and range.
    """
    pair_keys = jax.random.split(key, cond.shape[0])
    draws = jax.vmap(lambda pair_key: jax.random.uniform(pair_key, (_DRAWS,), jnp.float32))(pair_keys)
    draws = draws.astype(cond.dtype)
    flip, geometry, colour = draws[:, 0], draws[:, 1:14], draws[:, 14:]
    both = jnp.concatenate([cond, x0], axis=-1)
    if _warps(config):
        both = warp(both, homographies(flip, geometry, config))
    elif config.flip > 0.0:
        both = jnp.where((flip < config.flip)[:, None, None, None], both[:, :, ::-1], both)
    if config.jitter_probability > 0.0 and any((config.brightness, config.contrast, config.saturation, config.hue)):
        both = _jitter(both, colour, config)
    return both[..., :3], both[..., 3:]


def _warps(config: AugmentConfig) -> bool:
    perspective = config.perspective > 0.0 and config.perspective_probability > 0.0
    return perspective or config.rotation > 0.0 or config.crop > 0.0


def homographies(flip: jax.Array, draws: jax.Array, config: AugmentConfig) -> jax.Array:
    """One homography per pair, (batch, 3, 3): flip, then crop, rotation and perspective.

    Args:
        flip: (batch,) in [0, 1).
        draws: (batch, 13) in [0, 1).
    """
    centred = 2.0 * draws - 1.0
    result = _rows((jnp.where(flip < config.flip, -jnp.ones_like(flip), 1.0), 0, 0), (0, 1, 0), (0, 0, 1))
    if config.crop > 0.0:
        cut = config.crop * draws[:, 0]
        window = _rows((1 - cut, 0, cut * centred[:, 1]), (0, 1 - cut, cut * centred[:, 2]), (0, 0, 1))
        result = _compose(result, window)
    if config.rotation > 0.0:
        result = _compose(result, rotation(math.radians(config.rotation) * centred[:, 3]))
    if config.perspective > 0.0 and config.perspective_probability > 0.0:
        inward = config.perspective * draws[:, 4:12].reshape(-1, 4, 2)
        inward = jnp.where((draws[:, 12] < config.perspective_probability)[:, None, None], inward, 0.0)
        result = _compose(result, perspective(inward))
    return result


def rotation(angle: jax.Array) -> jax.Array:
    """Homographies (batch, 3, 3) that turn the picture counter-clockwise by `angle` (batch,) radians."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _rows((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def perspective(inward: jax.Array) -> jax.Array:
    """Homographies (batch, 3, 3) that move the corners of the picture inward.

    As torchvision's RandomPerspective. The corners' map is the inverse of the projective
    map from a square to a quadrilateral, in closed form after Heckbert, "Fundamentals of
    Texture Mapping and Image Warping" (1989), section 2.2.3.

    Args:
        inward: (batch, 4, 2) shifts in x and y as shares of half a side, each 0 to 1, of the
            top left, top right, bottom right and bottom left corner.
    """
    corners = jnp.array([[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]], inward.dtype)
    quad = corners * (1.0 - inward)
    (xa, ya), (xb, yb), (xc, yc), (xd, yd) = ((quad[:, i, 0], quad[:, i, 1]) for i in range(4))
    dx1, dx2, sx = xb - xc, xd - xc, xa - xb + xc - xd
    dy1, dy2, sy = yb - yc, yd - yc, ya - yb + yc - yd
    area = dx1 * dy2 - dx2 * dy1
    g = (sx * dy2 - dx2 * sy) / area
    h = (dx1 * sy - sx * dy1) / area
    from_unit = _rows((xb - xa + g * xb, xd - xa + h * xd, xa), (yb - ya + g * yb, yd - ya + h * yd, ya), (g, h, 1))
    to_unit = jnp.array([[[0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]], inward.dtype)
    result = _inverse(_compose(from_unit, to_unit))
    return result / result[:, 2:, 2:]


def _rows(*rows: tuple[jax.Array | float, ...]) -> jax.Array:
    """Matrices (batch, 3, 3) from rows of numbers and arrays (batch,)."""
    like = next(value for row in rows for value in row if isinstance(value, jax.Array))
    return jnp.stack([jnp.stack([jnp.full_like(like, 1.0) * value for value in row], -1) for row in rows], -2)


def _compose(outer: jax.Array, inner: jax.Array) -> jax.Array:
    """outer @ inner, written out: a matrix unit may round to bfloat16, which is pixels here."""
    return jnp.sum(outer[..., :, :, None] * inner[..., None, :, :], axis=-2)


def _inverse(matrix: jax.Array) -> jax.Array:
    """The inverse of (batch, 3, 3) up to a factor, which a homography does not feel."""
    a, b, c = matrix[..., 0, :], matrix[..., 1, :], matrix[..., 2, :]
    return jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=-1)


def warp(pictures: jax.Array, homography: jax.Array) -> jax.Array:
    """Pictures seen through a homography each: bilinear, borders reflected about the outermost pixels.

    Args:
        pictures: (batch, height, width, channels).
        homography: (batch, 3, 3).
    """
    batch, height, width, channels = pictures.shape
    half_x, half_y = (width - 1) / 2.0, (height - 1) / 2.0
    x = (jnp.arange(width, dtype=homography.dtype) / half_x - 1.0)[None, None, :]
    y = (jnp.arange(height, dtype=homography.dtype) / half_y - 1.0)[None, :, None]
    m = homography[:, :, :, None, None]
    depth = m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2]
    depth = jnp.where(jnp.abs(depth) < 1e-6, 1e-6, depth)
    column = _reflect(((m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]) / depth + 1.0) * half_x, width - 1)
    row = _reflect(((m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]) / depth + 1.0) * half_y, height - 1)
    left = jnp.clip(jnp.floor(column), 0, width - 2)
    top = jnp.clip(jnp.floor(row), 0, height - 2)
    fx, fy = (column - left)[..., None], (row - top)[..., None]
    corner = (top * width + left).astype(jnp.int32).reshape(batch, -1)
    flat = pictures.reshape(batch, height * width, channels)

    def at(offset: int) -> jax.Array:
        # The indices are inside by construction; saying so spares a test per value.
        values = jax.vmap(lambda picture, index: picture.at[index].get(mode="promise_in_bounds"))(flat, corner + offset)
        return values.reshape(batch, height, width, channels)

    upper = at(0) * (1.0 - fx) + at(1) * fx
    lower = at(width) * (1.0 - fx) + at(width + 1) * fx
    return upper * (1.0 - fy) + lower * fy


def _reflect(position: jax.Array, last: int) -> jax.Array:
    """A position folded back into 0..last as between two mirrors."""
    period = 2.0 * last
    folded = jnp.abs(position) % period
    return jnp.minimum(folded, period - folded)


def _jitter(pictures: jax.Array, draws: jax.Array, config: AugmentConfig) -> jax.Array:
    """Colour changes on (batch, height, width, 3 k) in [-1, 1]; draws is (batch, 5) in [0, 1).

    As torchvision's ColorJitter, in the fixed order brightness, contrast, saturation, hue.
    """
    batch, height, width, channels = pictures.shape
    centred = 2.0 * draws - 1.0
    rgb = (pictures.reshape(batch, height, width, channels // 3, 3) + 1.0) / 2.0
    if config.brightness > 0.0:
        rgb = adjust_brightness(rgb, 1.0 + config.brightness * centred[:, 0])
    if config.contrast > 0.0:
        rgb = adjust_contrast(rgb, 1.0 + config.contrast * centred[:, 1])
    if config.saturation > 0.0:
        rgb = adjust_saturation(rgb, 1.0 + config.saturation * centred[:, 2])
    if config.hue > 0.0:
        rgb = adjust_hue(rgb, config.hue * centred[:, 3])
    changed = (2.0 * rgb - 1.0).reshape(pictures.shape)
    return jnp.where((draws[:, 4] < config.jitter_probability)[:, None, None, None], changed, pictures)


def adjust_brightness(rgb: jax.Array, factor: jax.Array) -> jax.Array:
    """Colours times a factor (batch,), kept in [0, 1]; rgb is (batch, height, width, pictures, 3) in [0, 1]."""
    return jnp.clip(rgb * _per_pair(factor), 0.0, 1.0)


def adjust_contrast(rgb: jax.Array, factor: jax.Array) -> jax.Array:
    """Colours away from, or towards, the mean grey of each picture; shapes as for brightness."""
    return _blend(rgb, jnp.mean(_grey(rgb), axis=(1, 2), keepdims=True), factor)


def adjust_saturation(rgb: jax.Array, factor: jax.Array) -> jax.Array:
    """Colours away from, or towards, their own grey; shapes as for brightness."""
    return _blend(rgb, _grey(rgb), factor)


def adjust_hue(rgb: jax.Array, turn: jax.Array) -> jax.Array:
    """The hue of the HSV hexcone (Smith 1978) turned by `turn` (batch,), a share of the full circle.

    Back to RGB by the closed form value - chroma * clip(min(k, 4 - k), 0, 1) with
    k = (n + 6 hue) mod 6 and n = 5, 3, 1 for red, green and blue.
    """
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    scale = 1.0 / jnp.where(chroma > 0.0, chroma, 1.0)
    # By order, not by `value == red`: a compiler may compute a channel twice and round it in two ways.
    sixths = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) * scale,
        jnp.where(green >= blue, (blue - red) * scale + 2.0, (red - green) * scale + 4.0),
    )
    sixths = sixths + 6.0 * turn[:, None, None, None]
    channels = []
    for n in (5.0, 3.0, 1.0):
        k = sixths + n
        k = k - 6.0 * jnp.floor(k / 6.0)
        channels.append(value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0))
    return jnp.stack(channels, axis=-1)


def _grey(rgb: jax.Array) -> jax.Array:
    return _GREY[0] * rgb[..., :1] + _GREY[1] * rgb[..., 1:2] + _GREY[2] * rgb[..., 2:]


def _blend(rgb: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    share = _per_pair(factor)
    return jnp.clip(rgb * share + other * (1.0 - share), 0.0, 1.0)


def _per_pair(factor: jax.Array) -> jax.Array:
    return factor[:, None, None, None, None]
