// From noise to a picture: export/edge/sampling/table.py and loop.py in JavaScript, where each formula has its source.
//
//     start  = startFromSource * source + startFromNoise * z
//     x0_raw = x0FromX * x + x0FromOutput * out + x0FromStart * start
//     x0     = bounded(x0_raw)
//     x_next = nextFromX0 * x0 + nextFromPrevious * previous + nextFromX * x + nextFromStart * start + noise * z
//
// A sampler is the table of these numbers and t, one row for each call of the network.

import { timesteps } from './spacing.js';

const SAMPLERS = ['ddim', 'ddpm', 'dpmpp', 'heun'];

/** Names in a model's tables, and in a row here; what a table leaves out is 0. */
const COLUMNS = {
  t: 't',
  x0_from_x: 'x0FromX',
  x0_from_output: 'x0FromOutput',
  x0_from_start: 'x0FromStart',
  next_from_x0: 'nextFromX0',
  next_from_previous: 'nextFromPrevious',
  next_from_x: 'nextFromX',
  next_from_start: 'nextFromStart',
  noise: 'noise',
};

/**
 * How to sample with a model: {rows, startFromSource, startFromNoise, source}.
 *
 * `model` is the content of model.json: with `tables`, {sampler: {steps: columns}}, it has these samplers and no others;
 * else they follow from its schedule. `realism`, 0 to 1, moves the timesteps of tables with a slider. Throws a RangeError,
 * naming what there is, for another sampler or number of steps.
 */
export function makePlan(model, steps, sampler, spacing, realism = 1) {
  if (!model.tables) {
    const rows = coefficients(model.alphas_cumprod, steps, sampler, model.prediction, spacing);
    return { rows, startFromSource: 0, startFromNoise: 1, source: 'cond' };
  }
  const plans = model.tables[sampler];
  if (!plans) throw new RangeError(`Sampler ${sampler} is unknown. Choose one of ${Object.keys(model.tables).join(', ')}.`);
  const table = plans[steps];
  if (!table) throw new RangeError(`${sampler} has no table of ${steps} steps. Choose one of ${Object.keys(plans).join(', ')}.`);
  const between = (t, mean) => Math.floor(mean + realism * (t - mean) + 0.5);
  const rows = table.t.map((t, i) => ({
    ...Object.fromEntries(Object.entries(COLUMNS).map(([name, ours]) => [ours, table[name] ? table[name][i] : 0])),
    t: table.mean_t ? between(t, table.mean_t[i]) : t,
  }));
  const { start_from_source: startFromSource, start_from_noise: startFromNoise, source } = table;
  return { rows, startFromSource, startFromNoise, source };
}

/** Whether a model takes a realism. */
export function hasSlider(model) {
  return Boolean(model.tables) && Object.values(model.tables).some((plans) => Object.values(plans).some((plan) => plan.mean_t));
}

/** The state that a plan begins with, Float32Array, from standard normal `noise` and, where the plan has one, `source`. */
export function startState(plan, source, noise) {
  const f = Math.fround;
  const [a, b] = [f(plan.startFromSource), f(plan.startFromNoise)];
  if (a === 0) return noise.map((z) => b * z);
  return noise.map((z, i) => (b === 0 ? a * source[i] : f(f(a * source[i]) + f(b * z))));
}

/** The rows {t, x0FromX, x0FromOutput, nextFromX0, nextFromPrevious, nextFromX, noise}; eta is 0. */
export function coefficients(alphasCumprod, steps, sampler, prediction, spacing) {
  if (!SAMPLERS.includes(sampler)) throw new RangeError(`Sampler ${sampler} is unknown.`);
  const t = timesteps(alphasCumprod, steps, spacing);
  const now = t.map((i) => alphasCumprod[i]);
  const plan = t.map((_, i) => ({
    t: t[i],
    ...x0Weights(prediction, now[i]),
    ...transition(sampler, now[i], i + 1 < steps ? now[i + 1] : 1),
    nextFromPrevious: 0,
  }));
  if (sampler === 'dpmpp') return multistep(plan, now);
  return sampler === 'heun' ? corrected(plan, now) : plan;
}

function transition(sampler, now, after) {
  const ratio = now / after;
  const left = (1 - after) / (1 - now);
  if (sampler === 'ddpm') {
    return {
      noise: Math.sqrt((1 - ratio) * left),
      nextFromX: Math.sqrt(ratio) * left,
      nextFromX0: (Math.sqrt(after) * (1 - ratio)) / (1 - now),
    };
  }
  const nextFromX = Math.sqrt(Math.max(1 - after, 0)) / Math.sqrt(1 - now);
  return { noise: 0, nextFromX, nextFromX0: Math.sqrt(after) - nextFromX * Math.sqrt(now) };
}

function x0Weights(prediction, a) {
  const [signal, noise] = [Math.sqrt(a), Math.sqrt(1 - a)];
  switch (prediction) {
    case 'eps':
      return { x0FromX: 1 / signal, x0FromOutput: -noise / signal };
    case 'x0':
      return { x0FromX: 0, x0FromOutput: 1 };
    case 'v':
      return { x0FromX: signal, x0FromOutput: -noise };
    default:
      throw new RangeError(`Prediction ${prediction} is unknown.`);
  }
}

/** DPM-Solver++(2M): between the first step and the last, (1 + w) x0 - w previous takes the place of x0. */
function multistep(plan, now) {
  const lambda = now.map((a) => (Math.log(a) - Math.log1p(-a)) / 2);
  return plan.map((row, i) => {
    if (i === 0 || i === plan.length - 1) return row;
    const weight = (lambda[i + 1] - lambda[i]) / (lambda[i] - lambda[i - 1]) / 2;
    return { ...row, nextFromX0: (1 + weight) * row.nextFromX0, nextFromPrevious: -weight * row.nextFromX0 };
  });
}

/** Heun: after every step but the first and the last a second call, which corrects it. */
function corrected(plan, now) {
  const sigma = now.map((a) => Math.sqrt((1 - a) / a));
  return plan.flatMap((row, i) => {
    if (i === 0 || i === plan.length - 1) return [row];
    const gain = (Math.sqrt(now[i + 1]) * (sigma[i] / sigma[i + 1] - 1)) / 2;
    const { t, x0FromX, x0FromOutput } = plan[i + 1];
    const second = { nextFromX0: gain, nextFromPrevious: -gain, nextFromX: 1, noise: 0 };
    return [row, { t, x0FromX, x0FromOutput, ...second }];
  });
}

/** x0_hat, Float32Array, brought into [-clamp, clamp] in place; a clamp of null leaves it alone. */
export function bounded(x0, clamp, threshold) {
  if (clamp === null) return x0;
  const s = threshold === 0 ? clamp : Math.fround(Math.max(quantileOfMagnitude(x0, threshold), clamp));
  const shrink = Math.fround(clamp / s);
  for (let i = 0; i < x0.length; i++) x0[i] = Math.min(Math.max(x0[i], -s), s) * shrink;
  return x0;
}

/** The q-quantile of |values|, linear between neighbours, as numpy's. */
function quantileOfMagnitude(values, q) {
  const sorted = values.map(Math.abs).sort();
  const place = (sorted.length - 1) * q;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/**
 * Run the rows of a plan from the state x, a Float32Array of any layout; yields {index, x} for each call of the network.
 *
 * `denoise(x, t)` returns a promise of the network's output; `stepNoise(i)` gives the standard normal noise of call i
 * and is asked only where the plan adds noise. Every operation is rounded to float32, as numpy's are.
 */
export async function* iterate(denoise, x, rows, clamp, threshold, stepNoise) {
  const f = Math.fround;
  const start = x;
  let x0 = new Float32Array(x.length);
  for (const [index, row] of rows.entries()) {
    const out = await denoise(x, row.t);
    const [fromX, fromOutput, fromStart] = [row.x0FromX, row.x0FromOutput, row.x0FromStart ?? 0].map(f);
    const raw = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      let value = f(fromOutput * out[i]);
      if (fromX !== 0) value = f(value + f(fromX * x[i]));
      raw[i] = fromStart === 0 ? value : value + f(fromStart * start[i]);
    }
    const previous = x0;
    x0 = bounded(raw, clamp, threshold);
    const [a, b, c, d, n] = [row.nextFromX0, row.nextFromX, row.nextFromPrevious, row.nextFromStart ?? 0, row.noise].map(f);
    const z = n === 0 ? null : stepNoise(index);
    const next = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      let value = f(f(a * x0[i]) + f(b * x[i]));
      if (c !== 0) value = f(value + f(c * previous[i]));
      if (d !== 0) value = f(value + f(d * start[i]));
      if (z !== null) value = f(value + f(n * z[i]));
      next[i] = value;
    }
    x = next;
    yield { index, x };
  }
}

/** `denoise(x, t, shown)` moved to hidden + scale * (shown - hidden), Ho and Salimans 2022; a scale of 1 asks once. */
export function guided(denoise, scale) {
  if (scale === 1) return (x, t) => denoise(x, t, true);
  return async (x, t) => {
    const shown = await denoise(x, t, true);
    const hidden = await denoise(x, t, false);
    return shown.map((value, i) => hidden[i] + Math.fround(Math.fround(scale) * Math.fround(value - hidden[i])));
  };
}
