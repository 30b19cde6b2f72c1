// All the work, off the page's own thread: open the network, decode the photo, draw, encode.
//
// In:  {kind: 'open', model, variant, backend, attempt} · {kind: 'draw', id, photo, settings} · {kind: 'cancel', id}
// Out: {kind: 'loading', done, total} · {kind: 'ready', backend, threads} · {kind: 'start', id, steps, width, height}
//      {kind: 'step', id, index, image} · {kind: 'cancelled', id}
//      {kind: 'done', id, blob, width, height, seconds, reduced, unlike}: whether the photo has lost pixels, and
//       how far it is from the training inputs, above 1 where it is unlike them, null where nobody knows
//      {kind: 'error', id, message} · {kind: 'full', id, message, memory}: the next of TRIES may do, in a worker of its own

import { fromState, stateSize, toState } from './codec.js';
import { toPhotoSize } from './detail.js';
import { distance } from './likeness.js';
import { TRIES, isMemory, threadsFor } from './limits.js';
import { DENOISER, openNetwork } from './network.js';
import { START, normal } from './noise.js';
import { LargePhotoError, PhotoError, decode, encode } from './photos.js';
import { covered, cut, fromPlanes, planar, toImageData, toPlanes, working } from './pictures.js';
import { guided, iterate, makePlan, startState } from './sampler.js';

let model;
let opening = null; // The network last asked for: a promise.
let current = 0; // The run that may go on.
let limits = TRIES[0];

self.onmessage = ({ data }) => {
  if (data.kind === 'cancel') current = 0;
  if (data.kind === 'open') open(data);
  if (data.kind === 'draw') draw(data);
};

async function open({ model: received, variant, backend, attempt }) {
  model = received;
  limits = TRIES[attempt];
  const before = opening;
  opening = (async () => {
    await before?.then((network) => network.close()).catch(() => {});
    return openNetwork(model, variant, backend, limits, (done, total) => self.postMessage({ kind: 'loading', done, total }));
  })();
  const mine = opening;
  try {
    const { backend: used, threads } = await mine;
    if (mine === opening) self.postMessage({ kind: 'ready', backend: used, threads });
  } catch (error) {
    if (mine === opening) self.postMessage(failure(0, error));
  }
}

async function draw({ id, photo, settings }) {
  current = id;
  try {
    await drawOn(await opening, id, photo, settings);
  } catch (error) {
    self.postMessage(error === CANCELLED ? { kind: 'cancelled', id } : failure(id, error));
  }
}

const CANCELLED = new Error('cancelled');

/** Let messages in, and stop here when one of them was to cancel run `id`. */
async function breathe(id) {
  await new Promise((resolve) => setTimeout(resolve));
  if (id !== current) throw CANCELLED;
}

async function drawOn(network, id, photo, { seed, steps, sampler, spacing, guidance }) {
  const { picture, reduced } = await decode(photo, limits.pixels);
  const started = performance.now();
  const plan = makePlan(model, steps, sampler, spacing);
  const sized = (share) => working(picture, Math.round(model.size * share), model.fit, model.size_multiple);
  const inner = sized(limits.share);
  const { width, height } = inner;
  const unlike = model.likeness && distance(model.likeness, limits.share === 1 ? inner : sized(1));
  const { codec } = model;
  const size = stateSize(codec, inner);
  const cond = await toState(toPlanes(inner), codec, inner, network);
  const hidden = new Float32Array(size.count);
  const noise = (stream) => planar(normal(seed, stream, size.count), undefined, codec.channels);
  const ask = (x, given, t, name) => network.denoise(x, given, t, size.rows, size.columns, name);
  const denoise = guided((x, t, shown) => ask(x, shown ? cond : hidden, t, DENOISER), guidance);

  // A source that is not the photo is what the network of that name makes of zeros.
  const bySource = plan.startFromSource !== 0 && plan.source !== 'cond';
  const source = bySource ? await ask(new Float32Array(size.count), cond, plan.rows[0].t, plan.source) : cond;
  let x = startState(plan, source, noise(START));
  const drawn = () => fromState(x, codec, size, network);
  const show = async (index) => {
    const image = toImageData(cut(fromPlanes(await drawn(), height, width), covered(picture, inner, model.fit)));
    self.postMessage({ kind: 'step', id, index, image }, [image.data.buffer]);
  };
  self.postMessage({ kind: 'start', id, steps: plan.rows.length });
  await show(0);
  await breathe(id);
  // Where the start takes no noise, the first call has that of the start.
  const added = (index) => noise(index === 0 && plan.startFromNoise === 0 ? START : index + 1);
  for await (const step of iterate(denoise, x, plan.rows, model.clamp, model.threshold, added)) {
    x = step.x;
    await show(step.index + 1);
    await breathe(id);
  }
  const planes = await drawn();
  if (!planes.every(Number.isFinite)) {
    throw new PhotoError('The model returned values that are not numbers. Choose another precision.');
  }
  const result = toPhotoSize(picture, inner, planes, model.fit);
  await breathe(id);
  const blob = await encode(result);
  await breathe(id);
  const seconds = (performance.now() - started) / 1000;
  self.postMessage({ kind: 'done', id, blob, width: result.width, height: result.height, seconds, reduced, unlike });
}

function failure(id, error) {
  const memory = isMemory(error) || error instanceof LargePhotoError;
  // Threads fail in ways of their own, such as a memory that Safari cannot hand from one to another.
  const threads = id === 0 && threadsFor(limits) > 1 && !(error instanceof PhotoError);
  return { kind: memory || threads ? 'full' : 'error', id, message: describe(error), memory };
}

function describe(error) {
  if (error instanceof PhotoError) return error.message;
  console.error(error);
  if (isMemory(error)) return 'This device has too little memory for this picture. Close other tabs, or choose a smaller one.';
  return `This device could not draw the picture (${error?.message ?? error}). Reload the page, or try fewer pixels.`;
}
