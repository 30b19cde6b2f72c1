// Pictures resized and laid out as export/edge/pictures.py does it, Pillow's resampling included.
// A picture is {data, width, height}: RGB bytes, row by row.

export const MAX_PIXELS = 100_000_000;
export const FITS = ['crop', 'letterbox', 'stretch'];

const PAD = 128;
const LOBES = 3;
const PRECISION = 22; // Bits behind the point of a weight, as in Pillow's Resample.c for 8-bit samples.

/**
 * `picture` at another size: Lanczos over three lobes, antialiased when it shrinks; first along rows and then along
 * columns, or the other way round, each rounded to 8 bits, in Pillow 13's own order and by its integer weights.
 */
export function resize(picture, height, width) {
  const alongRows = (p) => (width === p.width ? p : resampleRows(p, width));
  const alongColumns = (p) => (height === p.height ? p : resampleColumns(p, height));
  const lost = picture.height - height;
  const columnsFirst = lost > 0 && lost > 2 * (picture.width - width);
  return columnsFirst ? alongRows(alongColumns(picture)) : alongColumns(alongRows(picture));
}

/** For each of `to` samples out of `from`: where its window begins, how long it is, and its integer weights. */
function windows(from, to) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = LOBES * stretch;
  const size = Math.ceil(support) * 2 + 1;
  const [starts, lengths, weights] = [new Int32Array(to), new Int32Array(to), new Int32Array(to * size)];
  const real = new Float64Array(size);
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const length = Math.min(Math.trunc(center + support + 0.5), from) - start;
    let sum = 0;
    for (let k = 0; k < length; k++) {
      real[k] = lanczos((k + start - center + 0.5) * (1 / stretch));
      sum += real[k];
    }
    for (let k = 0; k < length; k++) {
      const weight = (sum === 0 ? real[k] : real[k] / sum) * 2 ** PRECISION;
      weights[i * size + k] = Math.trunc(weight + (weight < 0 ? -0.5 : 0.5));
    }
    starts[i] = start;
    lengths[i] = length;
  }
  return { starts, lengths, weights, size };
}

function lanczos(x) {
  return -LOBES <= x && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

function resampleRows({ data, width, height }, to) {
  const { starts, lengths, weights, size } = windows(width, to);
  const result = new Uint8ClampedArray(3 * to * height);
  for (let y = 0, o = 0; y < height; y++) {
    for (let i = 0; i < to; i++, o += 3) {
      let [r, g, b] = [1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)];
      for (let k = 0, w = i * size, p = 3 * (y * width + starts[i]); k < lengths[i]; k++, w++, p += 3) {
        r += data[p] * weights[w];
        g += data[p + 1] * weights[w];
        b += data[p + 2] * weights[w];
      }
      result[o] = r >> PRECISION;
      result[o + 1] = g >> PRECISION;
      result[o + 2] = b >> PRECISION;
    }
  }
  return { data: result, width: to, height };
}

function resampleColumns({ data, width, height }, to) {
  const { starts, lengths, weights, size } = windows(height, to);
  const row = 3 * width;
  const result = new Uint8ClampedArray(row * to);
  const sums = new Int32Array(row);
  for (let i = 0; i < to; i++) {
    sums.fill(1 << (PRECISION - 1));
    for (let k = 0; k < lengths[i]; k++) {
      const weight = weights[i * size + k];
      for (let x = 0, p = row * (starts[i] + k); x < row; x++, p++) sums[x] += data[p] * weight;
    }
    for (let x = 0, o = row * i; x < row; x++, o++) result[o] = sums[x] >> PRECISION;
  }
  return { data: result, width, height: to };
}

/**
 * `picture` as a network trained on squares of `size` by `fit` should see it, and the way back.
 *
 * Returns {inner, trim, restore}: `inner` has sides in multiples of `multiple`; `trim` takes a result of that size and
 * cuts letterbox bars away; `restore` brings it to the photo's own height and width.
 */
export function working(picture, size, fit, multiple) {
  const { height, width } = picture;
  if (fit === 'crop') {
    const inner = resize(picture, ...workingSides(height, width, size, multiple));
    return { inner, trim: (result) => result, restore: (result) => resize(result, height, width) };
  }
  const side = roundTo(size, multiple);
  if (fit === 'stretch') {
    const restore = (result) => resize(result, height, width);
    return { inner: resize(picture, side, side), trim: (result) => result, restore };
  }
  if (fit !== 'letterbox') throw new RangeError(`Fit ${fit} is unknown.`);
  const box = letterbox(height, width, side);
  const trim = (result) => cut(result, box);
  return { inner: barred(picture, side, box), trim, restore: (result) => resize(trim(result), height, width) };
}

function workingSides(height, width, size, multiple) {
  const limit = 8 * size * size;
  const [least, most] = [Math.min(height, width), Math.max(height, width)];
  const scale = Math.min(size / least, Math.sqrt(limit / (height * width)));
  const short = roundTo(least * scale, multiple);
  // A very thin picture is held at one `multiple` across, so its length must give way to keep the limit.
  const longest = Math.max(multiple, Math.floor(Math.floor(limit / short) / multiple) * multiple);
  const long = Math.min(roundTo((most * short) / least, multiple), longest);
  return height <= width ? [short, long] : [long, short];
}

function letterbox(height, width, size) {
  const scale = size / Math.max(height, width);
  const [h, w] = [Math.max(1, roundHalfEven(height * scale)), Math.max(1, roundHalfEven(width * scale))];
  return { height: h, width: w, top: Math.floor((size - h) / 2), left: Math.floor((size - w) / 2) };
}

function barred(picture, side, { height, width, top, left }) {
  const data = new Uint8ClampedArray(3 * side * side).fill(PAD);
  const inside = resize(picture, height, width).data;
  for (let y = 0; y < height; y++) {
    data.set(inside.subarray(3 * width * y, 3 * width * (y + 1)), 3 * (side * (top + y) + left));
  }
  return { data, width: side, height: side };
}

function cut(picture, { height, width, top, left }) {
  const data = new Uint8ClampedArray(3 * width * height);
  for (let y = 0; y < height; y++) {
    const from = 3 * (picture.width * (top + y) + left);
    data.set(picture.data.subarray(from, from + 3 * width), 3 * width * y);
  }
  return { data, width, height };
}

function roundTo(value, multiple) {
  return Math.max(1, Math.floor(value / multiple + 0.5)) * multiple;
}

function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** RGB bytes to the three planes of a network's input, Float32Array in [-1, 1]. */
export function toPlanes({ data }) {
  return planar(data, (value) => (value - 127.5) / 127.5);
}

/** Interleaved values, three to a pixel, as three planes, Float32Array. */
export function planar(values, change = (value) => value) {
  const pixels = values.length / 3;
  const planes = new Float32Array(values.length);
  for (let i = 0, p = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++, p++) planes[c * pixels + i] = change(values[p]);
  }
  return planes;
}

/** Three planes in [-1, 1] to a picture: clipped, then rounded to the nearest, half up. */
export function fromPlanes(planes, height, width) {
  const pixels = height * width;
  const data = new Uint8ClampedArray(3 * pixels);
  for (let i = 0, p = 0; i < pixels; i++) {
    for (let c = 0; c < 3; c++, p++) {
      data[p] = Math.floor(Math.min(Math.max(planes[c * pixels + i], -1), 1) * 127.5 + 128);
    }
  }
  return { data, width, height };
}

/** A picture as the browser's ImageData, and an opaque ImageData as a picture. */
export function toImageData({ data, width, height }) {
  const image = new ImageData(width, height);
  for (let i = 0, p = 0; i < image.data.length; i += 4, p += 3) {
    image.data[i] = data[p];
    image.data[i + 1] = data[p + 1];
    image.data[i + 2] = data[p + 2];
    image.data[i + 3] = 255;
  }
  return image;
}

export function fromImageData({ data: rgba, width, height }) {
  const data = new Uint8ClampedArray(3 * width * height);
  for (let i = 0, p = 0; p < data.length; i += 4, p += 3) {
    data[p] = rgba[i];
    data[p + 1] = rgba[i + 1];
    data[p + 2] = rgba[i + 2];
  }
  return { data, width, height };
}
