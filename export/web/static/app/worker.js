// All the work, off the page's own thread: open the network, decode the photo, draw, encode.
//
// In:  {kind: 'open', model, variant, backend, attempt} · {kind: 'draw', id, photo, settings} · {kind: 'cancel', id}
//      {kind: 'frame', film, image, time, settings}: one of a film; image is {data, width, height} with RGBA bytes
// Out: {kind: 'loading', done, total} · {kind: 'ready', backend, threads} · {kind: 'start', id, steps, width, height}
//      {kind: 'step', id, index, image} · {kind: 'cancelled', id}
//      {kind: 'done', id, blob, width, height, seconds, reduced, unlike, map}: whether the photo has lost pixels; how far
//       it is from the training inputs, above 1 where it is unlike them, null where nobody knows; and, where it was asked
//       for, a picture that is coloured where the model has invented something
//      {kind: 'frame', film, passes, change}: of the network, and how the frame's colours change
//      {kind: 'error', id, message} · {kind: 'full', id, message, memory}: the next of TRIES may do, in a worker of its own

import { toPhotoSize } from './detail.js';
import { prepare } from './drawing.js';
import { invention } from './invention.js';
import { distance } from './likeness.js';
import { FILM, TRIES, isMemory, threadsFor } from './limits.js';
import { openNetwork } from './network.js';
import { LargePhotoError, PhotoError, decode, encode } from './photos.js';
import { covered, cut, fromImageData, fromPlanes, toImageData, working } from './pictures.js';
import { hasSlider, makePlan } from './sampler.js';
import { keptNoise, nextFrame } from './steady.js';

let model;
let opening = null; // The network last asked for: a promise.
let current = 0; // The run that may go on.
let limits = TRIES[0];
let busy = null; // With a frame: a promise.

self.onmessage = ({ data }) => {
  if (data.kind === 'cancel') current = 0;
  if (data.kind === 'open') open(data);
  if (data.kind === 'draw') draw(data);
  if (data.kind === 'frame') busy = frame(data);
};

async function open({ model: received, variant, backend, attempt }) {
  model = received;
  limits = TRIES[attempt];
  const before = opening;
  opening = (async () => {
    await busy; // A frame, which needs the network before to its end.
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
    await busy; // The network has one picture at a time.
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

async function drawOn(network, id, photo, { seed, steps, sampler, spacing, guidance, realism, invented }) {
  const { picture, reduced } = await decode(photo, limits.pixels);
  const started = performance.now();
  const plan = makePlan(model, steps, sampler, spacing, realism);
  const sized = (share) => working(picture, Math.round(model.size * share), model.fit, model.size_multiple);
  const inner = sized(limits.share);
  const { width, height } = inner;
  const unlike = model.likeness && distance(model.likeness, limits.share === 1 ? inner : sized(1));
  const { begun, walk, drawn } = await prepare(network, model, inner, plan, { seed, guidance });
  let x = begun;
  const show = async (index) => {
    const image = toImageData(cut(fromPlanes(await drawn(x), height, width), covered(picture, inner, model.fit)));
    self.postMessage({ kind: 'step', id, index, image }, [image.data.buffer]);
  };
  self.postMessage({ kind: 'start', id, steps: plan.rows.length });
  await show(0);
  await breathe(id);
  for await (const step of walk(plan.rows)) {
    x = step.x;
    await show(step.index + 1);
    await breathe(id);
  }
  const planes = await drawn(x);
  if (!planes.every(Number.isFinite)) {
    throw new PhotoError('The model returned values that are not numbers. Choose another precision.');
  }
  let map = null;
  if (invented && hasSlider(model)) {
    for await (const step of walk(makePlan(model, steps, sampler, spacing, 0).rows)) x = step.x;
    map = invention(planes, await drawn(x), height, width);
    map = await encode(cut(map, covered(picture, inner, model.fit)));
    await breathe(id);
  }
  const result = toPhotoSize(picture, inner, planes, model.fit);
  await breathe(id);
  const blob = await encode(result);
  await breathe(id);
  const seconds = (performance.now() - started) / 1000;
  self.postMessage({ kind: 'done', id, blob, width: result.width, height: result.height, seconds, reduced, unlike, map });
}

let film = { id: null }; // The one that frames came of last: {id, before, noiseOf}

async function frame({ film: id, image, time, settings }) {
  try {
    const network = await opening;
    if (film.id !== id) film = { id, before: null, noiseOf: keptNoise() };
    const mine = film;
    const plan = makePlan(model, settings.steps, settings.sampler, settings.spacing, settings.realism);
    const size = Math.round(model.size * limits.share);
    const drawing = { network, model, size, plan, settings, noiseOf: mine.noiseOf };
    mine.before = await nextFrame(drawing, fromImageData(image), time, mine.before);
    const passes = plan.rows.length * (settings.guidance === 1 ? 1 : 2);
    self.postMessage({ kind: 'frame', film: id, passes, change: mine.before.change });
  } catch (error) {
    self.postMessage({ ...failure(FILM, error), film: id });
  }
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
