// From a working picture to what the network makes of it, for a photo and for the frames of a film.

import { fromState, stateSize, toState } from './codec.js';
import { DENOISER } from './network.js';
import { START, normal } from './noise.js';
import { planar, toPlanes } from './pictures.js';
import { guided, iterate, startState } from './sampler.js';

/**
 * What sampling from the working picture `inner` by `plan` takes: {begun, walk, drawn}.
 *
 * `begun` is the state that it starts from, `walk(rows)` yields the states after each call of the network, as
 * sampler.js's iterate, and `drawn(x)` resolves to a state's three planes. `noiseOf(seed, stream, count)` has the place
 * of noise.js's normal.
 */
export async function prepare(network, model, inner, plan, { seed, guidance }, noiseOf = normal) {
  const { codec } = model;
  const size = stateSize(codec, inner);
  const cond = await toState(toPlanes(inner), codec, inner, network);
  const hidden = new Float32Array(size.count);
  const noise = (stream) => planar(noiseOf(seed, stream, size.count), undefined, codec.channels);
  const ask = (x, given, t, name) => network.denoise(x, given, t, size.rows, size.columns, name);
  const denoise = guided((x, t, shown) => ask(x, shown ? cond : hidden, t, DENOISER), guidance);

  // A source that is not the photo is what the network of that name makes of zeros.
  const bySource = plan.startFromSource !== 0 && plan.source !== 'cond';
  const source = bySource ? await ask(new Float32Array(size.count), cond, plan.rows[0].t, plan.source) : cond;
  const begun = startState(plan, source, noise(START));
  // Where the start takes no noise, the first call has that of the start.
  const added = (index) => noise(index === 0 && plan.startFromNoise === 0 ? START : index + 1);
  return {
    begun,
    walk: (rows) => iterate(denoise, begun, rows, model.clamp, model.threshold, added),
    drawn: (x) => fromState(x, codec, size, network),
  };
}
