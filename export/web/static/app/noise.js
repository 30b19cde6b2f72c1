// Gaussian noise from (seed, stream) alone, bit for bit that of export/edge/sampling/noise.py, whose docstring says how.
// Only +, -, *, / and the square root are used, which IEEE 754 defines to the last bit; a Math.log or Math.cos may
// differ between browsers.

/** The stream of the start noise; the noise of sampler step i is stream i + 1. */
export const START = 0;

const ROUNDS = 10;
const LOG = Array.from({ length: 12 }, (_, n) => 2 / (2 * n + 1));
const SIN = Array.from({ length: 9 }, (_, n) => (-1) ** n / factorial(2 * n + 1));
const COS = Array.from({ length: 10 }, (_, n) => (-1) ** n / factorial(2 * n));

/** The seed of a decimal text as two 32-bit words, the low one first; null for anything outside 0 ... 2^64 - 1. */
export function parseSeed(text) {
  if (!/^[0-9]{1,20}$/.test(text.trim())) return null;
  const seed = BigInt(text.trim());
  return seed < 2n ** 64n ? [Number(seed & 0xffffffffn), Number(seed >> 32n)] : null;
}

/** Philox4x32-10: four 32-bit words of `counter`, two of `key`, to four 32-bit words. */
export function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0);
    const low1 = Math.imul(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0];
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** `count` standard normal numbers, Float32Array. `seed` is two 32-bit words, `stream` and `count` are below 2^32. */
export function normal(seed, stream, count) {
  const values = new Float32Array(4 * Math.ceil(count / 4));
  for (let block = 0; 4 * block < count; block++) {
    const words = philox([block, 0, stream, 0], seed);
    for (const first of [0, 2]) {
      const radius = Math.sqrt(-2 * log((words[first] + 0.5) * 2 ** -32));
      const [cosine, sine] = turn(words[first + 1]);
      values[4 * block + first] = radius * cosine;
      values[4 * block + first + 1] = radius * sine;
    }
  }
  return values.subarray(0, count);
}

function factorial(n) {
  return n < 2 ? 1 : n * factorial(n - 1);
}

/** The upper 32 bits of a product of two 32-bit words. */
function multiplyHigh(a, b) {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const carry = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(carry / 65536)) | 0;
}

function polynomial(coefficients, x) {
  let total = coefficients[coefficients.length - 1];
  for (let n = coefficients.length - 2; n >= 0; n--) total = total * x + coefficients[n];
  return total;
}

const float = new Float64Array(1);
const bits = new Uint32Array(float.buffer); // Little-endian, as every machine with a browser is.

/** ln(u) for u in (0, 1), through 2 artanh((m - 1) / (m + 1)), m in [sqrt(1/2), sqrt(2)). */
function log(u) {
  float[0] = u;
  let exponent = ((bits[1] >>> 20) & 0x7ff) - 1022;
  bits[1] = (bits[1] & 0x800fffff) | (1022 << 20);
  let mantissa = float[0];
  if (mantissa < Math.SQRT1_2) {
    mantissa *= 2;
    exponent -= 1;
  }
  const s = (mantissa - 1) / (mantissa + 1);
  return exponent * Math.LN2 + s * polynomial(LOG, s * s);
}

/** cos and sin of 2 pi word / 2^32: the nearest quarter turn exactly, the rest by its Taylor series. */
function turn(word) {
  const quarter = Math.floor((word + 2 ** 29) / 2 ** 30);
  const angle = (word - quarter * 2 ** 30) * 2 ** -32 * (2 * Math.PI);
  const square = angle * angle;
  const [cosine, sine] = [polynomial(COS, square), angle * polynomial(SIN, square)];
  return [[cosine, sine], [-sine, cosine], [-cosine, -sine], [sine, -cosine]][quarter & 3];
}
