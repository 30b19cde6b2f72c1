// The codec around the network, `export.edge.model.codec`: the page knows the identity, with its statistics.

/** Planes of a picture as the state that the network works on: (picture - mean) / std, plane by plane. */
export function toState(planes, { mean, std }) {
  return changes(mean, std) ? eachPlane(planes, mean.length, (value, i) => (value - mean[i]) / std[i]) : planes;
}

/** The inverse of `toState`. */
export function fromState(planes, { mean, std }) {
  return changes(mean, std) ? eachPlane(planes, mean.length, (value, i) => value * std[i] + mean[i]) : planes;
}

function changes(mean, std) {
  return mean.some((value) => value !== 0) || std.some((value) => value !== 1);
}

function eachPlane(planes, count, change) {
  const length = planes.length / count;
  return planes.map((value, i) => change(value, Math.floor(i / length)));
}
