"""Samplers as tables: for every call of the network the weights of what it is given, of what it says, and of noise.

Every call of the network forms x0_hat, bounds it and moves on from the bounded x0_hat. All samplers are linear in it,
in the one of the call before, in the state and in the state at the beginning:

    start  = start_from_source * source + start_from_noise * z
    x0_raw = x0_from_x * x + x0_from_output * out + x0_from_start * start
    x0     = bounded(x0_raw)
    x_next = next_from_x0 * x0 + next_from_previous * previous + next_from_x * x + next_from_start * start + noise * z

where `previous` is the x0 of the call before, z standard normal noise, new in every call (where the start takes none,
the first call has that of the start), and `source` the guiding picture or what a network of the model makes of it. A
sampler is the table of these numbers and t for each call, in float64. Whoever can read the table can sample
(`export.edge.sampling.loop`), whatever the process: JAX does, and so can any other language.

Those of gaussian diffusion are made here, for any number of steps: DDIM, re-spaced DDPM, DPM-Solver++(2M) and Heun.
There x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps with a = alphas_cumprod, a network says eps, x0 or v = sqrt(a_t) eps -
sqrt(1 - a_t) x0 (Salimans and Ho 2022), the start is noise alone, and the last call lands on a = 1, that is on the
bounded x0_hat. A step is one call, with "heun" two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.edge.choices import PREDICTIONS, SAMPLERS
from export.edge.errors import UserError
from export.edge.sampling.spacing import timesteps

COND = "cond"
"""The source that is the guiding picture."""
COLUMNS = (
    "x0_from_x",
    "x0_from_output",
    "x0_from_start",
    "next_from_x0",
    "next_from_previous",
    "next_from_x",
    "next_from_start",
    "noise",
)
"""Of a Plan, beside t: the names of all numbers that each call has."""


@dataclass(frozen=True)
class Plan:
    """One row of numbers for each call of the network; all arrays are (calls,), float64 except t.

    There are as many calls as steps, except with "heun", which takes 2 steps - 2 (and 1 for 1).
    """

    t: np.ndarray
    """int64, the timestep that the network is given."""
    x0_from_x: np.ndarray
    x0_from_output: np.ndarray
    x0_from_start: np.ndarray
    next_from_x0: np.ndarray
    next_from_previous: np.ndarray
    """Weight of the bounded x0_hat of the call before; in the first call there is none, and it counts as zero."""
    next_from_x: np.ndarray
    next_from_start: np.ndarray
    noise: np.ndarray
    """Standard deviation of the noise added; zero in the last call."""
    start_from_source: float = 0.0
    start_from_noise: float = 1.0
    source: str = COND
    """What the start is made of beside noise: COND, or the name of a network of the model, see
    `export.edge.sampling.loop.source_picture`."""
    mean_t: np.ndarray | None = None
    """int64, of a network whose timestep says how realistic the picture is to be: the t of realism 0, the mean of all
    plausible pictures; `t` is that of realism 1. None where there is no such choice."""

    def __len__(self) -> int:
        return len(self.t)

    def at(self, realism: float | None) -> Plan:
        """The plan of a realism from 0 to 1, whose timesteps are between `mean_t` and `t`; None is 1.

        Raises UserError for a realism outside 0 ... 1, and for any where there is no choice of one.
        """
        check_realism(realism, self.mean_t is not None)
        if realism is None or self.mean_t is None:
            return self
        between = np.floor(self.mean_t + realism * (self.t - self.mean_t) + 0.5)
        return replace(self, t=between.astype(np.int64))

    @staticmethod
    def from_columns(columns: Mapping[str, Any]) -> Plan:
        """A plan from arrays, lists or JSON, by the names of its fields; `t` has to be there.

        Columns that are not there are zeros, a start that is not there is noise alone. Raises UserError for an unknown
        name, another length than that of t, a number that is not finite, and a t that is no whole number from 0 up.
        """
        if not isinstance(columns, Mapping) or "t" not in columns:
            raise UserError("it is no table of columns with a column t")
        names = ("t", *COLUMNS, "start_from_source", "start_from_noise", "source", "mean_t")
        if odd := sorted(str(name) for name in columns if name not in names):
            raise UserError(f"its column {odd[0][:40]!r} is unknown; update the program")
        t = _timesteps("t", columns["t"])
        mean_t = _timesteps("mean_t", columns["mean_t"]) if "mean_t" in columns else None
        if mean_t is not None and mean_t.shape != t.shape:
            raise UserError(f"its mean_t are not the {len(t)} numbers that t is")
        found = {name: _numbers(name, columns.get(name, np.zeros(len(t)))) for name in COLUMNS}
        if short := [name for name, column in found.items() if column.shape != t.shape]:
            raise UserError(f"its {short[0]} are not the {len(t)} numbers that t is")
        starts = [_numbers(name, columns.get(name, default)) for name, default in _START.items()]
        if any(start.ndim for start in starts):
            raise UserError("its start_from_source and start_from_noise are not single numbers")
        source = columns.get("source", COND)
        if not isinstance(source, str) or not source:
            raise UserError(f"its source is {source!r}, not a name")
        values: dict[str, Any] = {**found, **{name: float(start) for name, start in zip(_START, starts, strict=True)}}
        return Plan(t, source=source, mean_t=mean_t, **values)

    def to_columns(self) -> dict[str, Any]:
        """What `from_columns` takes, as JSON can hold it; columns of zeros are left out."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        held = {name: column.tolist() for name, column in columns.items() if column.any()}
        start = {name: getattr(self, name) for name in (*_START, "source")}
        mean = {} if self.mean_t is None else {"mean_t": self.mean_t.tolist()}
        return {"t": self.t.tolist(), **mean, **held, **start}


_START = {"start_from_source": 0.0, "start_from_noise": 1.0}


def _timesteps(name: str, value: Any) -> np.ndarray:
    """A list of timesteps as int64; UserError for anything else."""
    t = _numbers(name, value)
    if t.ndim != 1 or not len(t) or not ((t >= 0) & (t == np.floor(t)) & (t < 2**31)).all():
        raise UserError(f"its {name} are no list of whole numbers from 0 up")
    return t.astype(np.int64)


def _numbers(name: str, value: Any) -> np.ndarray:
    """A number or a list of them as float64; UserError for anything else, and for one that is not finite."""
    array = value if isinstance(value, np.ndarray) else None
    if array is None:
        items = value if isinstance(value, list | tuple) else [value]
        if all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in items):
            array = np.array(value, np.float64)
    if array is None or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise UserError(f"its {name} are not finite numbers")
    return array.astype(np.float64)


def coefficients(
    alphas_cumprod: np.ndarray,
    steps: int,
    sampler: str = "ddim",
    eta: float = 0.0,
    *,
    prediction: str,
    spacing: str = "trailing",
) -> Plan:
    """The Plan of a sampler, re-spaced from alphas_cumprod, float64 (T,) strictly falling inside (0, 1).

    - "ddim": Song, Meng, Ermon 2021, equations 12 and 16; `eta` in 0 ... 1 scales its noise.
    - "ddpm": the posterior of Ho, Jain, Abbeel 2020, equations 6 and 7, with
      alpha = a_t / a_s between the kept timesteps t and s.
    - "dpmpp": DPM-Solver++(2M) of Lu et al. 2022, algorithm 2; first order, which is ddim,
      in the first step and in the last.
    - "heun": Karras et al. 2022, algorithm 1 without its noise, over sigma =
      sqrt((1 - a) / a); Euler, which is ddim, in the first step and in the last. It asks
      the network twice in every other step.

    The last three add no noise; only "ddim" takes an `eta`. `prediction` is what the
    network says: "eps", "x0" or "v"; `spacing` is one of `timesteps`. Raises UserError for
    an unknown sampler, prediction or spacing, an eta or a number of steps out of range, a
    schedule that does not fall.
    """
    table = np.asarray(alphas_cumprod, np.float64)
    if table.ndim != 1 or table.size == 0 or not ((table > 0) & (table < 1)).all() or (np.diff(table) >= 0).any():
        raise UserError(
            "alphas_cumprod must be a list of numbers that fall strictly inside (0, 1); export the model again"
        )
    if sampler not in SAMPLERS:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    check_eta(sampler, eta)
    t = timesteps(table, steps, spacing)
    now = table[t]
    after = np.append(now[1:], 1.0)
    ratio = now / after
    left = (1.0 - after) / (1.0 - now)
    if sampler == "ddpm":
        noise = np.sqrt((1.0 - ratio) * left)
        next_from_x = np.sqrt(ratio) * left
        next_from_x0 = np.sqrt(after) * (1.0 - ratio) / (1.0 - now)
    else:
        noise = eta * np.sqrt(left * (1.0 - ratio))
        next_from_x = np.sqrt(np.maximum(1.0 - after - noise**2, 0.0)) / np.sqrt(1.0 - now)
        next_from_x0 = np.sqrt(after) - next_from_x * np.sqrt(now)
    x0_from_x, x0_from_output = x0_weights(prediction, now)
    zeros = np.zeros(steps)
    plan = Plan(t, x0_from_x, x0_from_output, zeros, next_from_x0, zeros, next_from_x, zeros, noise)
    if sampler == "dpmpp":
        return _multistep(plan, now)
    return _corrected(plan, now) if sampler == "heun" else plan


def check_realism(realism: float | None, slider: bool) -> None:
    """Raise UserError for a realism outside 0 ... 1, and for any but None where a model has no `slider`."""
    if realism is None:
        return
    if not slider:
        raise UserError(
            f"realism {realism:g} needs a model that was trained with diffusion.slider, and this one was not; leave it "
            "out"
        )
    if not 0.0 <= realism <= 1.0:
        raise UserError(f"realism {realism:g} is outside 0 ... 1; choose a number inside")


def check_eta(sampler: str, eta: float) -> None:
    """Raise UserError for an eta outside 0 ... 1, or with another sampler than "ddim"."""
    if not 0.0 <= eta <= 1.0:
        raise UserError(f"eta {eta} is outside 0 ... 1; choose a number inside")
    if sampler != "ddim" and eta != 0.0:
        raise UserError(f"eta {eta} belongs to ddim; leave it out or choose the sampler ddim")


def _multistep(ddim: Plan, now: np.ndarray) -> Plan:
    """Lu et al. 2022, algorithm 2: between the first step and the last, D = (1 + w) x0 - w previous takes x0's place.

    w = h / (2 h'), with h and h' the growth of lambda = log(sqrt(a) / sqrt(1 - a)) in this
    step and in the one before. sqrt(a_s) (1 - exp(-h)) is ddim's own next_from_x0.
    """
    growth = np.diff((np.log(now) - np.log1p(-now)) / 2.0)
    weight = np.zeros(len(now))
    weight[1:-1] = growth[1:] / growth[:-1] / 2.0
    return replace(
        ddim, next_from_x0=(1.0 + weight) * ddim.next_from_x0, next_from_previous=-weight * ddim.next_from_x0
    )


def _corrected(ddim: Plan, now: np.ndarray) -> Plan:
    """Karras et al. 2022, algorithm 1: after every step but the first and the last a second call, which corrects it.

    With y = x / sqrt(a) and d = (y - x0) / sigma, Euler goes from sigma_t to sigma_s by d;
    d' is the slope there, from the second call's x0'. Going by (d + d') / 2 instead adds
    (sigma_t / sigma_s - 1) / 2 * (x0' - x0) to y.

    The first step is left to Euler because a cosine schedule begins at a sigma of 64,000:
    that factor, which is 1/2 to 1/4 in the steps behind, would be thousands in this one.
    """
    sigma = np.sqrt((1.0 - now) / now)
    start, end = sigma[1:-1], sigma[2:]
    gain = np.sqrt(now[2:]) * (start / end - 1.0) / 2.0
    ones, zeros = np.ones_like(gain), np.zeros_like(gain)
    second = Plan(ddim.t[2:], ddim.x0_from_x[2:], ddim.x0_from_output[2:], zeros, gain, -gain, ones, zeros, zeros)
    places = np.arange(2, len(now))
    names = ("t", *COLUMNS)
    return Plan.from_columns({name: np.insert(getattr(ddim, name), places, getattr(second, name)) for name in names})


def x0_weights(prediction: str, alphas_cumprod: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of x_t and of the network's output in x0_hat where a is `alphas_cumprod`, both of its shape.

    Raises UserError for an unknown prediction.
    """
    signal, noise = np.sqrt(alphas_cumprod), np.sqrt(1.0 - alphas_cumprod)
    if prediction == "eps":
        return 1.0 / signal, -noise / signal
    if prediction == "x0":
        return np.zeros_like(signal), np.ones_like(signal)
    if prediction == "v":
        return signal, -noise
    raise UserError(f"prediction {prediction!r} is unknown; choose one of {', '.join(PREDICTIONS)}")
