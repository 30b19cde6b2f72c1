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
 * How colours changed between two small pictures, three planes each in [-1, 1]: {planes, height, width}. `planes` holds for
 * each row twelve lines, of which line 3 i + c says how much of channel i of the first goes into channel c of the second,
 * and line 9 + c what is added.
 */
export function changeOfColour(guide, result, height, width) {
  const planes = new Float32Array(12 * height * width);
  const pixels = height * width;
  for (let top = 0; top < height; top += BAND) {
    // Twice the radius more on each side: the windows of the windows that hold a pixel.
    const [first, last] = [Math.max(0, top - 2 * RADIUS), Math.min(height, top + BAND + 2 * RADIUS)];
    const lines = (from, c) => from.subarray(c * pixels + first * width, c * pixels + last * width);
    const [g, p] = [guide, result].map((from) => [0, 1, 2].map((c) => lines(from, c)));
    const slopes = slopesOf(g, p, last - first, width).map((map) => mean(map, last - first, width));
    for (let y = top; y < Math.min(top + BAND, height); y++) {
      for (let x = 0, i = (y - first) * width; x < width; x++, i++) {
        for (let c = 0, o = 12 * y * width + x; c < 3; c++, o += width) {
          const [a, b, d] = [slopes[c][i], slopes[3 + c][i], slopes[6 + c][i]];
          planes[o] = a;
          planes[o + 3 * width] = b;
          planes[o + 6 * width] = d;
          planes[o + 9 * width] = p[c][i] - a * g[0][i] - b * g[1][i] - d * g[2][i];
        }
      }
    }
  }
  return { planes, height, width };
}

/** The nine maps of A = (covariance of g + EPSILON)^-1 (covariance of g with p), number 3 i + c for row i, column c. */
function slopesOf(g, p, height, width) {
  const averaged = (map) => mean(map, height, width);
  const [meansOfG, meansOfP] = [g.map(averaged), p.map(averaged)];
  const covariance = (a, b, meanA, meanB) =>
    averaged(a.map((value, i) => value * b[i])).map((value, i) => value - meanA[i] * meanB[i]);
  const [rr, rg, rb, gg, gb, bb] = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([i, j]) =>
    covariance(g[i], g[j], meansOfG[i], meansOfG[j]),
  );
  const mixed = g.map((a, i) => p.map((b, c) => covariance(a, b, meansOfG[i], meansOfP[c])));
  const slopes = Array.from({ length: 9 }, () => new Float32Array(height * width));
  for (let i = 0; i < height * width; i++) {
    // The inverse of a symmetric 3 x 3 matrix, by its cofactors.
    const [a, b, c, d, e, f] = [rr[i] + EPSILON, rg[i], rb[i], gg[i] + EPSILON, gb[i], bb[i] + EPSILON];
    const [A, B, C] = [d * f - e * e, c * e - b * f, b * e - c * d];
    const [D, E, F] = [a * f - c * c, b * c - a * e, a * d - b * b];
    const determinant = a * A + b * B + c * C;
    for (let k = 0; k < 3; k++) {
      const [u, v, w] = [mixed[0][k][i], mixed[1][k][i], mixed[2][k][i]];
      slopes[k][i] = (A * u + B * v + C * w) / determinant;
      slopes[3 + k][i] = (B * u + D * v + E * w) / determinant;
      slopes[6 + k][i] = (C * u + E * v + F * w) / determinant;
    }
  }
  return slopes;
}

/** The mean over windows of (2 RADIUS + 1)^2 pixels; borders are repeated outwards. */
function mean(map, height, width) {
  const [down, across] = [new Float32Array(map.length), new Float32Array(map.length)];
  const inside = (value, size) => Math.min(Math.max(value, 0), size - 1);
  for (let y = 0, i = 0; y < height; y++) {
    const rows = Array.from({ length: 2 * RADIUS + 1 }, (_, k) => width * inside(y + k - RADIUS, height));
    for (let x = 0; x < width; x++, i++) {
      let sum = 0;
      for (const row of rows) sum += map[row + x];
      down[i] = sum / rows.length;
    }
  }
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let sum = 0;
      for (let k = -RADIUS; k <= RADIUS; k++) sum += down[y * width + inside(x + k, width)];
      across[i] = sum / (2 * RADIUS + 1);
    }
  }
  return across;
}

/** The colours of `photo` changed, by what `changeOfColour` gave for all of it, enlarged bilinearly. */
export function apply({ planes, height, width }, photo) {
  const changed = new Uint8ClampedArray(photo.data.length);
  const [down, across] = [between(photo.height, height), between(photo.width, width)];
  // In levels, not in [-1, 1], so that the photo's bytes are used as they are; and half a level more, for rounding.
  const inLevels = (row) => {
    const lines = planes.slice(12 * width * row, 12 * width * (row + 1));
    for (let i = 9 * width; i < lines.length; i++) {
      const sum = lines[i - 9 * width] + lines[i - 6 * width] + lines[i - 3 * width];
      lines[i] = 127.5 * (lines[i] - sum) + 128;
    }
    return widened(lines, width, across, photo.width);
  };
  let [current, upper, lower] = [-1, null, null];
  for (let y = 0, p = 0; y < photo.height; y++) {
    if (down.first[y] !== current) {
      upper = current >= 0 && down.first[y] === current + 1 ? lower : inLevels(down.first[y]);
      current = down.first[y];
      lower = inLevels(down.second[y]);
    }
    const share = down.share[y];
    for (let x = 0, o = 0; x < photo.width; x++, p += 3, o += 12) {
      const [r, g, b] = [photo.data[p], photo.data[p + 1], photo.data[p + 2]];
      for (let c = 0; c < 3; c++) {
        const at = (k) => upper[o + k] + (lower[o + k] - upper[o + k]) * share;
        const value = at(9 + c) + at(c) * r + at(3 + c) * g + at(6 + c) * b;
        changed[p + c] = value < 0 ? 0 : value > 255 ? 255 : Math.floor(value);
      }
    }
  }
  return { data: changed, width: photo.width, height: photo.height };
}

/** Twelve lines of `width` values as twelve values for each of `to` pixels. */
function widened(lines, width, { first, second, share }, to) {
  const wide = new Float32Array(12 * to);
  for (let x = 0, o = 0; x < to; x++) {
    for (let k = 0; k < 12 * width; k += width, o++) {
      wide[o] = lines[k + first[x]] * (1 - share[x]) + lines[k + second[x]] * share[x];
    }
  }
  return wide;
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
