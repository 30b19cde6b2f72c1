// The page: what happens when. The work itself is the worker's.

import { onFiles } from './drops.js';
import { showExamples } from './examples.js';
import { FILM, TRIES, describeTry } from './limits.js';
import { Live } from './live.js';
import { keep } from './offline.js';
import { Settings, liveSteps } from './settings.js';
import { offer } from './share.js';
import { Stage } from './stage.js';
import { Tabs } from './tabs.js';

const $ = (id) => document.getElementById(id);

const stage = new Stage($);
let settings;
let live;
let tabs;
let worker = null;
let attempt = 0; // Of TRIES.
let opened = false;
let state = 'idle'; // idle, photo (one is shown, nothing drawn of it), running, done
let photo = null; // {blob, name} of the photo on the stage
let run = { id: 0, photo: null, before: 'idle', steps: 0, started: 0 };
let mustOpen = true;
let shareable = false; // Whether the browser can share the last result.

/** Switch to `next`: what may be seen, what may be used, and where the focus goes if what held it is gone. */
function enter(next) {
  state = next;
  document.body.dataset.state = next;
  const quiet = next === 'running' && run.still; // The same photo with another realism: what is there stays.
  $('running').hidden = next !== 'running' || quiet;
  $('actions').hidden = next !== 'photo' && next !== 'done' && !quiet;
  $('download').hidden = next !== 'done' && !quiet;
  $('share').hidden = $('download').hidden || !shareable;
  $('draw').textContent = next === 'done' || quiet ? 'Draw again' : 'Draw';
  $('draw').classList.toggle('primary', next === 'photo');
  $('invitation').hidden = next !== 'idle';
  settings.lock(next === 'running', quiet);
  for (const id of ['draw', 'another']) $(id).disabled = quiet;
  for (const button of $('example-list').querySelectorAll('button')) button.disabled = next === 'running';
  const lost = document.activeElement === document.body || document.activeElement?.closest('[hidden]') || document.activeElement?.matches(':disabled');
  if (lost && next !== 'idle') $({ running: 'cancel', photo: 'draw', done: 'split' }[next]).focus({ preventScroll: true });
}

function say(text) {
  $('status').textContent = text;
}

function complain(message) {
  $('alert').textContent = message;
  $('alert').hidden = message === '';
}

/** Say where a photo is unlike those of training; `unlike`: how far it is from them, null where nobody knows. */
function warn(unlike) {
  const times = unlike === null ? 0 : unlike;
  $('unlike').textContent = `This picture is unlike the pictures that the model was trained on (${times.toFixed(1)} times the limit): expect wrong colours.`;
  $('unlike').hidden = !(times > 1);
}

/** A worker in place of the one before: what that had of the memory is free then. */
function hire() {
  worker?.terminate();
  const mine = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker = mine;
  opened = false;
  mine.onmessage = ({ data }) => {
    if (mine !== worker) return;
    if ([undefined, 0, FILM, run.id].includes(data.id)) answers[data.kind](data);
  };
  mine.onerror = () => {
    if (mine !== worker) return;
    const message = 'This browser could not start the page’s worker. Use a current version of it, and reload.';
    // A thread that does not start ends so, too.
    if (self.crossOriginIsolated && attempt === 0 && !opened) return answers.full({ id: 0, message, memory: false });
    mustOpen = true;
    if (live.on) live.fail(message);
    else answers.error({ id: state === 'running' ? run.id : 0, message });
    live.lost();
  };
}

function open() {
  const { variant, backend } = settings.engine();
  if (mustOpen) hire();
  $('engine').textContent = '';
  mustOpen = false;
  const less = backend === 'auto' && attempt > 0 ? 'wasm' : backend;
  worker.postMessage({ kind: 'open', model: settings.model, variant, backend: less, attempt });
}

function draw() {
  $('progress').removeAttribute('value');
  $('pace').textContent = 'Opening the picture …';
  worker.postMessage({ kind: 'draw', id: run.id, photo: run.photo.blob, settings: run.wishes });
}

/** `still`: leave the slider between before and after where it is. */
function start(chosen, still = false) {
  if (state === 'running') return;
  complain('');
  warn(null);
  let wishes;
  try {
    wishes = settings.read();
  } catch (error) {
    complain(error.message);
    return;
  }
  if (mustOpen) open();
  run = { id: run.id + 1, photo: chosen, before: state, steps: 0, started: 0, wishes, still };
  enter('running');
  draw();
}

/** After a failure or a cancel: back to what was there, or to the photo alone when it is already on the stage. */
function giveUp() {
  if (run.steps === 0 || run.still) enter(run.before);
  else {
    stage.showPhotoAlone();
    enter('photo');
  }
}

const answers = {
  loading({ done, total }) {
    if (state !== 'running' || run.steps > 0) return;
    const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
    $('progress').value = Math.min(done / total, 1);
    $('pace').textContent = `Loading the model, ${megabytes(done)} of ${megabytes(total)} MB`;
  },
  ready({ backend, threads }) {
    opened = true;
    const names = { webgpu: 'WebGPU', wasm: threads > 1 ? `WebAssembly, ${threads} threads` : 'WebAssembly, one thread' };
    $('engine').textContent = `Runs on ${names[backend]}.`;
    document.body.dataset.backend = backend;
    keep($('offline'), [...settings.model.runtime[backend], settings.engine().variant.file]);
  },
  async start({ steps }) {
    Object.assign(run, { steps, started: performance.now() });
    photo = run.photo;
    $('progress').value = 0;
    $('pace').textContent = `Step 0 of ${steps}`;
    say(`Drawing in ${steps} ${steps === 1 ? 'step' : 'steps'}.`);
    if (!run.still) await stage.showPhoto(photo);
  },
  step({ index, image }) {
    if (!run.still) stage.showForming(image);
    $('progress').value = index / run.steps;
    if (index === 0) return;
    const left = Math.ceil(((performance.now() - run.started) / index / 1000) * (run.steps - index));
    $('pace').textContent = index < run.steps ? `Step ${index} of ${run.steps}, about ${left} s left` : 'Finishing …';
  },
  async done({ blob, width, height, seconds, reduced, unlike, map }) {
    const name = photo.name.replace(/\.[^.]*$/, '') || 'picture';
    const made = settings.model.words.target;
    await stage.showResult(blob, made, { map, still: run.still });
    $('download').href = stage.resultUrl;
    $('download').download = `${name}-${made.replace(/[^\p{L}\p{N}]+/gu, '-')}-${run.wishes.seedText}.png`;
    shareable = offer($('share'), new File([blob], $('download').download, { type: blob.type }), complain);
    $('facts').textContent = `${width} × ${height}${reduced ? ', reduced,' : ''} in ${seconds.toFixed(1)} s`;
    warn(unlike);
    say(`The ${made} is ready. Move the slider to compare, or download it.`);
    enter('done');
    if (!run.still) stage.reveal();
    if (run.again) start(photo, true);
  },
  cancelled() {
    giveUp();
    say('Cancelled.');
  },
  frame(answer) {
    live.answer(answer);
  },
  full({ id, message, memory, film }) {
    if (attempt + 1 === TRIES.length) return answers.error({ id, message, film });
    attempt += 1;
    $('note').textContent = describeTry(attempt, settings.model.size, memory);
    $('note').hidden = false;
    mustOpen = true;
    open();
    live.lost();
    if (state !== 'running') return;
    if (run.steps > 0 && !run.still) {
      stage.showPhotoAlone();
      run.before = 'photo';
    }
    Object.assign(run, { id: run.id + 1, steps: 0 });
    draw();
  },
  error({ id, message, film }) {
    if (id === FILM) return live.failed(film, message);
    if (id === 0) mustOpen = true;
    if (id === 0 && (state === 'running' || live.on)) return; // What waits for the model fails with the same words.
    complain(message);
    if (id !== 0) giveUp();
  },
};

function choose(file) {
  if (!file) return;
  const film = file.type.startsWith('video/');
  tabs.show(film ? 'camera' : 'photo');
  if (film) live.startFile(file);
  else start({ blob: file, name: file.name ?? 'photo' });
}

/** What frames are sent with; throws an Error that names the setting that cannot be used. */
function wishes() {
  const read = settings.read();
  if (mustOpen) open();
  return { ...read, steps: liveSteps(settings.model, read) };
}

/** What both tabs have goes to the one that is seen; and the camera is off where it is not. */
function turn(tab) {
  complain('');
  live.stop();
  if (state === 'running') worker.postMessage({ kind: 'cancel' });
  const [below, row] = tab === 'camera' ? ['live-below', 'live-actions'] : ['below', 'actions'];
  $(below).prepend($('alert'), $('note'));
  $(row).append($('realism-field'));
  $('examples').hidden = tab === 'camera' || settings.model.examples.length === 0;
}

/** Take over what the page's address says behind #, and say what of it cannot be used. */
function followLink() {
  const refused = settings.follow(location.hash.slice(1));
  const listed = refused.slice(0, 3).map((part) => part.slice(0, 40)).join(', ');
  $('note').textContent = `This link has settings that this model does not have: ${listed}. They are left out.`;
  $('note').hidden = refused.length === 0;
}

function listen() {
  $('file').addEventListener('change', () => {
    choose($('file').files[0]);
    $('file').value = ''; // So that the same file can be chosen again.
  });
  $('cancel').addEventListener('click', () => worker.postMessage({ kind: 'cancel' }));
  $('draw').addEventListener('click', () => start(photo));
  $('another').addEventListener('click', () => $('file').click());
  settings.onEngine = open;
  settings.onChange = () => {
    if (live.on) live.update();
    // Not location.hash, which would make an entry in the history for each change.
    history.replaceState(null, '', settings.link ? `#${settings.link}` : location.pathname + location.search);
  };
  addEventListener('hashchange', () => {
    const { variant, backend } = settings.engine();
    followLink();
    if (live.on) live.update();
    if (variant !== settings.engine().variant || backend !== settings.engine().backend) open();
  });
  settings.onRealism = () => {
    if (tabs.chosen === 'camera') live.update();
    else if (state === 'running') run.again = run.still;
    else if (photo) start(photo, state === 'done');
  };
  onFiles(choose, () => state !== 'running');
}

async function begin() {
  const model = await (await fetch(new URL('./model.json', import.meta.url))).json();
  settings = new Settings($, model);
  const send = (message, moved) => worker.postMessage(message, moved);
  live = new Live($, { send, wishes, complain, say, words: model.words });
  tabs = new Tabs($, turn);
  listen();
  showExamples($, model.examples, choose, complain);
  followLink();
  enter('idle');
  open();
  document.body.dataset.ready = '';
}

begin().catch((error) => {
  console.error(error);
  complain('The page could not be loaded completely. Check the connection and reload it.');
});
