// Which parts of a picture the model has invented: export/edge/invention.py in JavaScript, for a model with a slider.

/** The difference, as a share of the range from black to white, that has the strongest colour; more has it too. */
const STRONGEST = 0.125;

/**
 * A picture that is coloured where a translation differs from that of realism 0, and black where it does not.
 *
 * `planes`, `mean`: Float32Array of three planes each, in [-1, 1].
 */
export function invention(planes, mean, height, width) {
  const pixels = height * width;
  const data = new Uint8ClampedArray(3 * pixels);
  for (let i = 0; i < pixels; i++) {
    let apart = 0;
    for (let c = 0; c < 3; c++) apart += Math.abs(planes[c * pixels + i] - mean[c * pixels + i]) / 3;
    const level = Math.floor(Math.min(apart / (2 * STRONGEST), 1) * 255 + 0.5);
    data[3 * i] = data[3 * i + 2] = level;
  }
  return { data, width, height };
}
