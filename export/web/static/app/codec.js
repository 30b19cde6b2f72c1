// The codec around the network, `export.edge.model.codec`: whatever it is, the network's files run it; here are its sizes
// and its statistics.

/** The sides of the state of a picture {height, width}, and how many values it has. */
export function stateSize({ factor, channels }, { height, width }) {
  const [rows, columns] = [height / factor, width / factor];
  return { rows, columns, count: channels * rows * columns };
}

/** Planes of a picture {height, width} as the state that the network works on: (encoded - mean) / std, plane by plane. */
export async function toState(planes, { mean, std }, { height, width }, network) {
  const encoded = await network.encode(planes, height, width);
  return changes(mean, std) ? eachPlane(encoded, mean.length, (value, i) => (value - mean[i]) / std[i]) : encoded;
}

/** The inverse of `toState`. */
export function fromState(planes, { mean, std }, { rows, columns }, network) {
  const encoded = changes(mean, std) ? eachPlane(planes, mean.length, (value, i) => value * std[i] + mean[i]) : planes;
  return network.decode(encoded, rows, columns);
}

function changes(mean, std) {
  return mean.some((value) => value !== 0) || std.some((value) => value !== 1);
}

function eachPlane(planes, count, change) {
  const length = planes.length / count;
  return planes.map((value, i) => change(value, Math.floor(i / length)));
}
