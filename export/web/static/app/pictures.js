// Pictures laid out for a network and taken out of it, as export/edge/pictures/arrays.py does it.
// A picture is {data, width, height}: RGB bytes, row by row.

import { resize, shrink } from './resample.js';

export const MAX_PIXELS = 100_000_000;

const PAD = 128;

/**
 * `picture` as a network trained on squares of `size` by `fit` should see it; its sides are multiples of `multiple`.
 * detail.js has the way back.
 */
export function working(picture, size, fit, multiple) {
  const { height, width } = picture;
  if (fit === 'crop') return shrink(picture, ...workingSides(height, width, size, multiple));
  const side = roundTo(size, multiple);
  if (fit === 'stretch') return resize(picture, side, side);
  return barred(picture, side, letterbox(height, width, side));
}

/** Which part of a working picture {height, width} the photo covers: {height, width, top, left}. */
export function covered(photo, { height, width }, fit) {
  return fit === 'letterbox' ? letterbox(photo.height, photo.width, height) : { height, width, top: 0, left: 0 };
}

/** That part of a picture. */
export function cut(picture, { height, width, top, left }) {
  const data = new Uint8ClampedArray(3 * width * height);
  for (let y = 0; y < height; y++) {
    const from = 3 * (picture.width * (top + y) + left);
    data.set(picture.data.subarray(from, from + 3 * width), 3 * width * y);
  }
  return { data, width, height };
}

/** That part of three planes of a size {height, width}. */
export function cutPlanes(planes, size, { height, width, top, left }) {
  const part = new Float32Array(3 * height * width);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      const from = size.width * (c * size.height + top + y) + left;
      part.set(planes.subarray(from, from + width), width * (c * height + y));
    }
  }
  return part;
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

/** Interleaved values, so many channels to a pixel, as planes, Float32Array. */
export function planar(values, change = (value) => value, channels = 3) {
  const pixels = values.length / channels;
  const planes = new Float32Array(values.length);
  for (let i = 0, p = 0; i < pixels; i++) {
    for (let c = 0; c < channels; c++, p++) planes[c * pixels + i] = change(values[p]);
  }
  return planes;
}

/** Planes of a whole picture, and two more of each pixel's height and width in it, -1 to 1: export.edge.sampling.coordinates. */
export function withCoordinates(planes, height, width) {
  const pixels = height * width;
  const placed = new Float32Array(planes.length + 2 * pixels);
  placed.set(planes);
  for (let p = 0, o = planes.length; p < pixels; p++, o++) {
    placed[o] = (2 * Math.floor(p / width) + 1) / height - 1;
    placed[o + pixels] = (2 * (p % width) + 1) / width - 1;
  }
  return placed;
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
