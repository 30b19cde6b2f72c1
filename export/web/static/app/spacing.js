// Which of the T timesteps a sampler visits: export/edge/sampling/spacing.py in JavaScript.

const LEAST_LOG_SNR = -10.2;

/** `steps` strictly falling timesteps out of 0 ... T-1, for the T numbers of alphasCumprod. */
export function timesteps(alphasCumprod, steps, spacing) {
  const total = alphasCumprod.length;
  if (!(Number.isInteger(steps) && steps >= 1 && steps <= total)) {
    throw new RangeError(`Steps must be a whole number from 1 to ${total}.`);
  }
  const left = Array.from({ length: steps }, (_, i) => steps - i);
  switch (spacing) {
    case 'trailing':
      return left.map((n) => roundedQuotient(n * total, steps) - 1);
    case 'linspace':
      return steps === 1 ? [total - 1] : left.map((n) => roundedQuotient((n - 1) * (total - 1), steps - 1));
    case 'leading':
      return left.map((n) => (n - 1) * Math.floor(total / steps));
    case 'logsnr':
      return evenInLogSnr(alphasCumprod, steps);
    default:
      throw new RangeError(`Spacing ${spacing} is unknown.`);
  }
}

/** numerator / divisor, halves to the even side; in whole numbers, so that no half falls to either side by rounding. */
function roundedQuotient(numerator, divisor) {
  const rest = numerator % divisor;
  const whole = (numerator - rest) / divisor;
  return whole + (2 * rest > divisor || (2 * rest === divisor && whole % 2 === 1) ? 1 : 0);
}

function evenInLogSnr(alphasCumprod, steps) {
  const logSnr = alphasCumprod.map((a) => Math.log(a) - Math.log1p(-a));
  const last = logSnr.length - 1;
  const start = Math.min(Math.max(logSnr[last], LEAST_LOG_SNR), logSnr[0]);
  const found = [];
  let lowest = Infinity;
  for (let i = 0; i < steps; i++) {
    const nearest = i === 0 ? last : indexOfNearest(logSnr, start + ((logSnr[0] - start) * i) / steps);
    // t falls strictly where t + i does not rise; and step i leaves a timestep for each of those behind it.
    lowest = Math.min(lowest, nearest + i);
    found.push(Math.max(lowest, steps - 1) - i);
  }
  return found;
}

function indexOfNearest(values, wanted) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i;
  });
  return best;
}
