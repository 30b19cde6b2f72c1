// Pictures at another size, as Pillow makes them, to the last bit.
// A picture is {data, width, height}: RGB bytes, row by row.

const LOBES = 3;
const GAP = 4;
const PRECISION = 22; // Bits behind the point of a weight, as in Pillow's Resample.c for 8-bit samples.

/**
 * `picture` at another size: Lanczos over three lobes, antialiased when it shrinks; first along rows and then along
 * columns, or the other way round, each rounded to 8 bits, in Pillow 13's own order and by its integer weights.
 * Of the last row and column only the part up to `down` and `across` counts.
 */
export function resize(picture, height, width, down = picture.height, across = picture.width) {
  const alongRows = (p) => (width === p.width && width === across ? p : resampleRows(p, width, across));
  const alongColumns = (p) => (height === p.height && height === down ? p : resampleColumns(p, height, down));
  const lost = picture.height - height;
  const columnsFirst = lost > 0 && lost > 2 * (picture.width - width);
  return columnsFirst ? alongRows(alongColumns(picture)) : alongColumns(alongRows(picture));
}

/**
 * `picture` at a smaller size: from eight times the size on it is first averaged over whole blocks of pixels, as
 * Pillow does with a reducing_gap of 4.
 */
export function shrink(picture, height, width) {
  const down = Math.trunc(picture.height / height / GAP) || 1;
  const across = Math.trunc(picture.width / width / GAP) || 1;
  if (down === 1 && across === 1) return resize(picture, height, width);
  return resize(averaged(picture, down, across), height, width, picture.height / down, picture.width / across);
}

/** The mean of each block of `down` x `across` pixels, and of what is left of one at the right and lower edges. */
function averaged({ data, width, height }, down, across) {
  const [rows, columns] = [Math.ceil(height / down), Math.ceil(width / across)];
  const result = new Uint8ClampedArray(3 * rows * columns);
  const sums = new Uint32Array(3 * columns);
  for (let y = 0; y < rows; y++) {
    const end = Math.min(down * (y + 1), height);
    sums.fill(0);
    for (let line = down * y, p = 3 * width * line; line < end; line++) {
      for (let x = 0; x < width; x++, p += 3) {
        const s = 3 * Math.trunc(x / across);
        sums[s] += data[p];
        sums[s + 1] += data[p + 1];
        sums[s + 2] += data[p + 2];
      }
    }
    for (let x = 0, s = 0; x < columns; x++) {
      const count = (end - down * y) * (Math.min(across * (x + 1), width) - across * x);
      const multiplier = Math.trunc(Math.fround(2 ** 24 / count)); // Instead of a division, and in float32, as there.
      for (let c = 0; c < 3; c++, s++) {
        result[3 * columns * y + s] = Math.floor(((sums[s] + Math.trunc(count / 2)) * multiplier) / 2 ** 24);
      }
    }
  }
  return { data: result, width: columns, height: rows };
}

/**
 * For each of `to` samples out of the first `extent` of `from`: where its window begins, how long it is, and its
 * integer weights.
 */
function windows(from, to, extent) {
  const scale = Math.fround(extent) / to;
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

function resampleRows({ data, width, height }, to, extent) {
  const { starts, lengths, weights, size } = windows(width, to, extent);
  const result = new Uint8ClampedArray(3 * to * height);
  for (let y = 0, o = 0; y < height; y++) {
    for (let i = 0; i < to; i++, o += 3) {
      let r = 1 << (PRECISION - 1), g = r, b = r;
      let p = 3 * (y * width + starts[i]);
      for (let w = i * size, end = w + lengths[i]; w < end; w++, p += 3) {
        // As 32-bit integers, in half the time.
        const weight = weights[w];
        r = (r + Math.imul(data[p], weight)) | 0;
        g = (g + Math.imul(data[p + 1], weight)) | 0;
        b = (b + Math.imul(data[p + 2], weight)) | 0;
      }
      result[o] = r >> PRECISION;
      result[o + 1] = g >> PRECISION;
      result[o + 2] = b >> PRECISION;
    }
  }
  return { data: result, width: to, height };
}

function resampleColumns({ data, width, height }, to, extent) {
  const { starts, lengths, weights, size } = windows(height, to, extent);
  const row = 3 * width;
  const result = new Uint8ClampedArray(row * to);
  const sums = new Int32Array(row);
  for (let i = 0; i < to; i++) {
    sums.fill(1 << (PRECISION - 1));
    for (let k = 0; k < lengths[i]; k++) {
      const weight = weights[i * size + k];
      for (let x = 0, p = row * (starts[i] + k); x < row; x++, p++) sums[x] = (sums[x] + Math.imul(data[p], weight)) | 0;
    }
    for (let x = 0, o = row * i; x < row; x++, o++) result[o] = sums[x] >> PRECISION;
  }
  return { data: result, width, height: to };
}
