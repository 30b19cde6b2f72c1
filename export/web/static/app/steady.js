// Frames of a film, translated without flicker: export/edge/steady.py in JavaScript, which says how and why.

import { changeOfColour, mean } from './detail.js';
import { prepare } from './drawing.js';
import { normal } from './noise.js';
import { PhotoError } from './photos.js';
import { covered, cut, fromPlanes, toPlanes, working } from './pictures.js';

const STILL = 0.03;
const MOVED = 0.12;
/** Seconds. */
const SMOOTHING = 0.4;

/** The noise of a film, which is the same for each of its frames: made once. */
export function keptNoise() {
  const kept = new Map();
  return (seed, stream, count) => {
    const name = [...seed, stream, count].join();
    if (!kept.has(name)) kept.set(name, normal(seed, stream, count));
    return kept.get(name);
  };
}

/**
 * How the colours of a frame, a picture shown at `time`, seconds, change; `before` is what this gave for the frame before,
 * or null: a promise of {guide, change, time}.
 *
 * `plan` and `settings` are of drawing.js's prepare; `size` is the working size, pixels, and `noiseOf` comes from
 * keptNoise. Throws PhotoError where the network returns values that are no numbers.
 */
export async function nextFrame({ network, model, size, plan, settings, noiseOf }, picture, time, before) {
  const inner = working(picture, size, model.fit, model.size_multiple);
  const { walk, drawn } = await prepare(network, model, inner, plan, settings, noiseOf);
  let x;
  for await (const step of walk(plan.rows)) x = step.x;
  const planes = await drawn(x);
  if (!planes.every(Number.isFinite)) {
    throw new PhotoError('The model returned values that are not numbers. Choose another precision.');
  }
  const part = covered(picture, inner, model.fit);
  const [guide, made] = [inner, fromPlanes(planes, inner.height, inner.width)].map((whole) => toPlanes(cut(whole, part)));
  return smoothed(guide, made, part, time, before);
}

/** The change from `guide` to `made`, three planes each, of a frame of {height, width}, after that of the frame before. */
export function smoothed(guide, made, { height, width }, time, before) {
  const change = changeOfColour(guide, made, height, width);
  if (before?.change.height !== height || before.change.width !== width) return { guide, change, time };
  const share = Math.fround(1 - Math.exp(-Math.max(0, time - before.time) / SMOOTHING));
  const weights = moved(guide, before.guide, height, width);
  for (let i = 0, o = 0; i < weights.length; i++) {
    const weight = Math.max(share, weights[i]);
    for (const end = o + 12; o < end; o++) {
      const old = before.change.values[o];
      change.values[o] = old + weight * (change.values[o] - old);
    }
  }
  return { guide, change, time };
}

/** From 0, where a small picture is as before, to 1. */
function moved(guide, before, height, width) {
  const pixels = height * width;
  const difference = new Float32Array(pixels);
  for (let i = 0; i < pixels; i++) {
    for (let o = i; o < guide.length; o += pixels) difference[i] += Math.abs(guide[o] - before[o]) / 3;
  }
  return mean(difference, height, width).map((value) => Math.min(Math.max((value - STILL) / (MOVED - STILL), 0), 1));
}
