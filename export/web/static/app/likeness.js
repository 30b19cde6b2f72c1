// Whether a photo is like those that the model was trained on: export/edge/model/likeness.py, which says how and why.
// A picture is {data, width, height}: RGB bytes, row by row.

const GRID = 4;
const FLOOR = 1 / 64;

/** What likeness is judged by: five numbers for each of 4 x 4 blocks of the central square of `picture`. */
export function features({ data, width, height }) {
  const side = Math.min(height, width);
  const [top, left] = [Math.floor((height - side) / 2), Math.floor((width - side) / 2)];
  const edge = (i) => Math.floor((i * side) / GRID);
  const [colours, spreads, changes] = [[], [], []];
  const light = (x, y) => {
    const p = 3 * (width * (top + y) + left + x);
    return (data[p] / 255 + data[p + 1] / 255 + data[p + 2] / 255) / 3;
  };
  for (let i = 0; i < GRID * GRID; i++) {
    const [row, column] = [Math.floor(i / GRID), i % GRID];
    const [up, down] = [edge(row), Math.max(edge(row + 1), edge(row) + 1)];
    const [first, last] = [edge(column), Math.max(edge(column + 1), edge(column) + 1)];
    const sums = [0, 0, 0, 0, 0];
    for (let y = up; y < down; y++) {
      for (let x = first; x < last; x++) {
        const p = 3 * (width * (top + y) + left + x);
        const [r, g, b] = [data[p] / 255, data[p + 1] / 255, data[p + 2] / 255];
        const here = light(x, y);
        sums[0] += here;
        sums[1] += r - b;
        sums[2] += (r + b) / 2 - g;
        sums[3] += here * here;
        if (y + 1 < side) sums[4] += Math.abs(light(x, y + 1) - here);
        if (x + 1 < side) sums[4] += Math.abs(light(x + 1, y) - here);
      }
    }
    const [l, rb, mg, square, change] = sums.map((sum) => sum / ((down - up) * (last - first)));
    colours.push(l, rb, mg);
    spreads.push(Math.log(Math.sqrt(Math.max(square - l * l, 0)) + FLOOR));
    changes.push(Math.log(change + FLOOR));
  }
  return [...colours, ...spreads, ...changes];
}

/** How far `picture`, of the model's own size, is from those of training: up to 1 is like them, more is unlike. */
export function distance({ mean, scale, components, reach, rest }, picture) {
  const away = features(picture).map((value, i) => (value - mean[i]) / scale[i]);
  const along = components.map((row) => row.reduce((sum, value, i) => sum + value * away[i], 0));
  const left = away.map((value, i) => value - components.reduce((sum, row, k) => sum + row[i] * along[k], 0));
  return Math.max(Math.hypot(...along.map((value, k) => value / reach[k])), Math.hypot(...left) / rest);
}
