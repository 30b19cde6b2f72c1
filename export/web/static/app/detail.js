// The network's small result carried to the photo's own pixels: export/edge/detail.py in JavaScript, which says why.

import { covered, cut, cutPlanes, fromPlanes, toPlanes } from './pictures.js';
import { resize } from './resample.js';

const RADIUS = 2;
const EPSILON = 1e-3;
const BAND = 64; // Rows that are fitted together; it bounds the memory and does not change the result.

/**
 * What the network made of `photo`, at the photo's own size: `inner` is the working picture that it saw by `fit`, `planes`
 * its result of that size. A photo of no more pixels than the network saw has no detail to add: its result is resized.
 */
export function toPhotoSize(photo, inner, planes, fit) {
  const part = covered(photo, inner, fit);
  const result = cutPlanes(planes, inner, part);
  const small = cut(inner, part);
  if (photo.height * photo.width <= small.height * small.width) {
    return resize(fromPlanes(result, small.height, small.width), photo.height, photo.width);
  }
  const bounded = result.map((value) => Math.min(Math.max(value, -1), 1));
  return apply(changeOfColour(toPlanes(small), bounded, small.height, small.width), photo);
}

/**
 * How colours changed between two small pictures, three planes each in [-1, 1]: {values, height, width}. `values` holds
 * twelve numbers for each pixel, as export.edge.detail's (h, w, 4, 3): number 3 i + c says how much of channel i of the
 * first goes into channel c of the second, and number 9 + c what is added.
 */
export function changeOfColour(guide, result, height, width) {
  const values = new Float32Array(12 * height * width);
  const pixels = height * width;
  for (let top = 0; top < height; top += BAND) {
    // Twice the radius more on each side: the windows of the windows that hold a pixel.
    const [first, last] = [Math.max(0, top - 2 * RADIUS), Math.min(height, top + BAND + 2 * RADIUS)];
    const lines = (from, c) => from.subarray(c * pixels + first * width, c * pixels + last * width);
    const [g, p] = [guide, result].map((from) => [0, 1, 2].map((c) => lines(from, c)));
    const slopes = slopesOf(g, p, last - first, width);
    for (const map of slopes) mean(map, last - first, width, map);
    const bottom = Math.min(top + BAND, height);
    const [begin, end] = [(top - first) * width, (bottom - first) * width];
    for (let c = 0; c < 3; c++) {
      const [r, g0, s, g1, t, g2, made] = [slopes[c], g[0], slopes[3 + c], g[1], slopes[6 + c], g[2], p[c]];
      for (let i = begin, o = 12 * top * width + c; i < end; i++, o += 12) {
        values[o] = r[i];
        values[o + 3] = s[i];
        values[o + 6] = t[i];
        values[o + 9] = made[i] - r[i] * g0[i] - s[i] * g1[i] - t[i] * g2[i];
      }
    }
  }
  return { values, height, width };
}

/** The nine maps of A = (covariance of g + EPSILON)^-1 (covariance of g with p), number 3 i + c for row i, column c. */
function slopesOf(g, p, height, width) {
  const product = new Float32Array(height * width);
  const [meansOfG, meansOfP] = [g, p].map((maps) => maps.map((map) => mean(map, height, width)));
  const covariance = (a, b, meanA, meanB) => {
    for (let i = 0; i < product.length; i++) product[i] = a[i] * b[i];
    const found = mean(product, height, width);
    for (let i = 0; i < found.length; i++) found[i] -= meanA[i] * meanB[i];
    return found;
  };
  const [rr, rg, rb, gg, gb, bb] = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([i, j]) =>
    covariance(g[i], g[j], meansOfG[i], meansOfG[j]),
  );
  const slopes = g.flatMap((a, i) => p.map((b, c) => covariance(a, b, meansOfG[i], meansOfP[c])));
  for (let i = 0; i < product.length; i++) {
    // The inverse of a symmetric 3 x 3 matrix, by its cofactors.
    const a = rr[i] + EPSILON, b = rg[i], c = rb[i], d = gg[i] + EPSILON, e = gb[i], f = bb[i] + EPSILON;
    const A = d * f - e * e, B = c * e - b * f, C = b * e - c * d;
    const D = a * f - c * c, E = b * c - a * e, F = a * d - b * b;
    const scale = 1 / (a * A + b * B + c * C);
    for (let k = 0; k < 3; k++) {
      const u = slopes[k][i], v = slopes[3 + k][i], w = slopes[6 + k][i];
      slopes[k][i] = (A * u + B * v + C * w) * scale;
      slopes[3 + k][i] = (B * u + D * v + E * w) * scale;
      slopes[6 + k][i] = (C * u + E * v + F * w) * scale;
    }
  }
  return slopes;
}

/** The mean of a map over windows of (2 RADIUS + 1)^2 pixels, borders repeated outwards; into `to`, which it returns. */
export function mean(map, height, width, to = new Float32Array(height * width)) {
  const size = 2 * RADIUS + 1;
  const inside = (value, most) => Math.min(Math.max(value, 0), most - 1);
  const row = (y) => width * inside(y, height);
  const down = new Float32Array(map.length);
  const sums = new Float64Array(width); // Of the rows of a window: one comes in, one goes out.
  for (let y = -RADIUS; y < RADIUS; y++) for (let x = 0, i = row(y); x < width; x++, i++) sums[x] += map[i];
  for (let y = 0, o = 0; y < height; y++) {
    for (let x = 0, i = row(y + RADIUS); x < width; x++, i++) sums[x] += map[i];
    for (let x = 0, i = row(y - RADIUS); x < width; x++, i++, o++) {
      down[o] = sums[x];
      sums[x] -= map[i];
    }
  }
  const share = 1 / (size * size);
  for (let y = 0, i = 0; y < height; y++, i += width) {
    let sum = 0;
    for (let x = -RADIUS; x < RADIUS; x++) sum += down[i + inside(x, width)];
    for (let x = 0; x < width; x++) {
      sum += down[i + inside(x + RADIUS, width)];
      to[i + x] = sum * share;
      sum -= down[i + inside(x - RADIUS, width)];
    }
  }
  return to;
}

/**
 * The colours of `photo` changed, by what `changeOfColour` gave for all of it, enlarged bilinearly.
 *
 * `photo` may hold RGB or RGBA bytes; the result holds the same, and is opaque.
 */
export function apply({ values, height, width }, photo) {
  const from = photo.data;
  const step = from.length / (photo.width * photo.height);
  const changed = new Uint8ClampedArray(from.length);
  const [down, across] = [between(photo.height, height), between(photo.width, width)];
  const length = 12 * width;
  // Of a row: the numbers, and what they grow by up to the next pixel.
  const [line, growth] = [new Float32Array(length), new Float32Array(length)];
  let [upper, lower, current] = [new Float32Array(length), new Float32Array(length), -1];
  for (let y = 0, p = 0; y < photo.height; y++) {
    if (down.first[y] !== current) {
      inLevels(values.subarray(length * down.first[y], length * (down.first[y] + 1)), upper);
      inLevels(values.subarray(length * down.second[y], length * (down.second[y] + 1)), lower);
      current = down.first[y];
    }
    const share = down.share[y];
    for (let i = 0; i < length; i++) line[i] = upper[i] + (lower[i] - upper[i]) * share;
    for (let i = 12; i < length; i++) growth[i - 12] = line[i] - line[i - 12];
    for (let x = 0; x < photo.width; x++, p += step) {
      const i = 12 * across.first[x];
      const s = across.share[x];
      const r = from[p], g = from[p + 1], b = from[p + 2];
      for (let c = 0; c < 3; c++) {
        const k = i + c;
        const here = line[k + 9] + line[k] * r + line[k + 3] * g + line[k + 6] * b;
        const value = here + s * (growth[k + 9] + growth[k] * r + growth[k + 3] * g + growth[k + 6] * b);
        changed[p + c] = value < 0 ? 0 : value > 255 ? 255 : value | 0;
      }
      if (step === 4) changed[p + 3] = 255;
    }
  }
  return { data: changed, width: photo.width, height: photo.height };
}

/** A row of a change for bytes, not for values in [-1, 1], so that the photo's are used as they are; plus half a level, for rounding. */
function inLevels(row, to) {
  to.set(row);
  for (let i = 0; i < row.length; i += 12) {
    for (let c = 0; c < 3; c++) {
      const k = i + c;
      to[k + 9] = 127.5 * (row[k + 9] - row[k] - row[k + 3] - row[k + 6]) + 128;
    }
  }
}

/** For each of `size` pixels the two of `small` around its middle, and how far it lies towards the second. */
function between(size, small) {
  const [first, second, share] = [new Int32Array(size), new Int32Array(size), new Float32Array(size)];
  for (let i = 0; i < size; i++) {
    const place = Math.min(Math.max(((i + 0.5) * small) / size - 0.5, 0), small - 1);
    first[i] = Math.floor(place);
    second[i] = Math.min(first[i] + 1, small - 1);
    share[i] = place - first[i];
  }
  return { first, second, share };
}
