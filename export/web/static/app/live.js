// The camera tab: a film whose colours are changed as it is taken.
//
// The worker gets a new frame when it is done with the last one, so none wait. Frames in between are shown with the
// colours of the one before, unless that takes so long that these would no longer fit what has moved.

import { makePainter } from './painter.js';
import { record, recordingKind } from './recorder.js';
import { offer } from './share.js';
import { SourceError, grab, openCamera, openFile, watch } from './source.js';

const SECOND = 1000;
/** Seconds for a frame in the worker above which nothing is shown in between. */
const SLOW = 0.15;

/** Times of the last two seconds, and `now`. */
const recent = (times, now) => [...times.filter((time) => now - time < 2), now];

export class Live {
  /**
   * `send(message)` reaches the worker, `wishes()` are the settings to draw with, which may throw an Error for the person
   * at the page, `complain(message)` shows one and `say(text)` is for those who do not see the page.
   */
  constructor($, { send, wishes, complain, say, words }) {
    Object.assign(this, { $, send, readWishes: wishes, complain, say, words });
    this.films = 0;
    this.film = 0; // The number of the film that is shown; 0 where none is.
    this.waiting = false; // For the worker's answer to a frame.
    this.painted = []; // When, of the last two seconds.
    this.grabbed = document.createElement('canvas');
    this.context = this.grabbed.getContext('2d', { alpha: false, willReadFrequently: true });
    this.usePainter(makePainter());
    $('live-start').addEventListener('click', () => this.start(openCamera, 'camera'));
    $('live-stop').addEventListener('click', () => this.stop());
    $('live-record').addEventListener('click', () => (this.recording ? this.finish() : this.record()));
    $('live-file').addEventListener('change', () => {
      const [file] = $('live-file').files;
      if (file) this.startFile(file);
      $('live-file').value = ''; // So that the same file can be chosen again.
    });
    document.addEventListener('visibilitychange', () => document.hidden && this.stop());
    addEventListener('pagehide', () => this.stop());
    this.enter('idle');
  }

  get on() {
    return this.film !== 0;
  }

  startFile(file) {
    const open = (...given) => openFile(file, ...given);
    return this.start(open, file.name.replace(/\.[^.]*$/, '') || 'video');
  }

  /** `open` is one of source.js; `name` begins the name of what is recorded. */
  async start(open, name) {
    this.stop();
    this.complain('');
    if (!this.update()) return;
    const film = (this.film = ++this.films);
    const end = (this.end = new AbortController());
    Object.assign(this, { name, fresh: false, change: null, cost: 0, painted: [], answers: [], reported: 0 });
    this.enter('opening');
    this.$('live-facts').textContent = 'Waiting for the first picture …';
    const video = this.$('live-video');
    try {
      await open(video, end.signal, (message) => film === this.film && this.fail(message));
    } catch (error) {
      if (!(error instanceof SourceError)) console.error(error);
      if (film === this.film) this.fail(error.message);
      return;
    }
    if (film !== this.film) return;
    video.pause(); // Until the model is there, or a short video would be over.
    // One that is over by then is played again.
    video.addEventListener('ended', () => this.painted.length > 0 && this.stop(), { signal: end.signal });
    watch(video, () => this.see(), end.signal);
    this.see();
  }

  /** Take over the settings; returns whether they can be used. */
  update() {
    try {
      this.wishes = this.readWishes();
      if (this.unusable) this.complain('');
      this.unusable = false;
      return true;
    } catch (error) {
      this.complain(error.message);
      this.unusable = true;
      return false;
    }
  }

  /** `video` has a new frame. */
  see() {
    const video = this.$('live-video');
    const wait = this.waiting && (this.change === null || this.cost > SLOW);
    if (!this.on || wait || video.videoWidth === 0 || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    grab(video, this.grabbed, this.context, Number(this.$('live-size').value));
    this.fresh = true;
    const before = this.change;
    this.take();
    if (before && this.cost <= SLOW) this.paint(before);
  }

  /** Send the frame that was grabbed, unless it was sent or the worker has one. */
  take() {
    if (!this.on || this.waiting || !this.fresh) return;
    const image = this.pixels();
    const time = performance.now() / SECOND;
    Object.assign(this, { fresh: false, waiting: true, sent: time, asked: this.film });
    this.send({ kind: 'frame', film: this.film, image, time, settings: this.wishes }, [image.data.buffer]);
  }

  pixels() {
    const { width, height } = this.grabbed;
    return { data: this.context.getImageData(0, 0, width, height).data, width, height };
  }

  /** The worker's answer to a frame. */
  answer({ film, change, passes }) {
    this.waiting = false;
    if (film === this.film) {
      const first = this.change === null;
      const now = performance.now() / SECOND;
      const took = now - this.sent;
      // The first has waited for the model. After it, a running mean.
      if (!first) this.cost = this.cost === 0 ? took : this.cost + 0.3 * (took - this.cost);
      Object.assign(this, { change, passes, answers: recent(this.answers, now) });
      if (first || this.cost > SLOW) this.paint(change);
      if (first) this.begin();
      this.take();
    } else {
      this.see(); // The film that is open now has waited for this.
    }
  }

  /** The first frame is shown. */
  begin() {
    const { canvas } = this.painter;
    this.$('live').style.setProperty('--ratio', canvas.width / canvas.height);
    this.enter('live');
    this.say('The pictures are shown as they come.');
    this.$('live-video').play().catch(() => {});
  }

  /** Show the grabbed frame with its colours changed. */
  paint(change) {
    if (!this.painter.fits(change)) this.usePlain();
    const { canvas } = this.painter;
    this.painter.paint(this.painter.gpu ? this.grabbed : this.pixels(), change);
    const now = performance.now() / SECOND;
    this.painted = recent(this.painted, now);
    canvas.dispatchEvent(new Event('painted'));
    if (now - this.reported < 0.5 || this.painted.length < 2 || this.answers.length < 2) return;
    this.reported = now;
    const [frames, colours] = [this.painted, this.answers].map((times) => (times.length - 1) / (now - times[0]));
    const text = (rate) => rate.toFixed(rate < 10 ? 1 : 0);
    const calls = this.passes === 1 ? 'one pass' : `${this.passes} passes`;
    const own = this.cost > SLOW ? `${calls} each` : `new colours ${text(colours)} times, ${calls} each`;
    this.$('live-facts').textContent = `${text(frames)} frames a second, ${canvas.width} × ${canvas.height}, ${own}`;
  }

  /** The worker was replaced: what it had will not come. */
  lost() {
    const again = this.waiting && this.asked === this.film;
    Object.assign(this, { waiting: false, fresh: again || this.fresh });
    if (this.fresh) this.take();
    else this.see();
  }

  /** The worker could not do a frame of `film`. */
  failed(film, message) {
    this.waiting = false;
    if (film === this.film) this.fail(message);
    else this.see();
  }

  fail(message) {
    this.stop();
    this.complain(message);
  }

  /** Free the camera or the file. What was shown stays. */
  stop() {
    if (!this.on) return;
    this.film = 0;
    this.end.abort();
    this.finish();
    this.enter(this.painted.length > 0 ? 'stopped' : 'idle');
    this.$('live-facts').textContent = '';
    this.say('Stopped.');
  }

  record() {
    try {
      this.recording = record(this.painter.canvas, recordingKind());
    } catch (error) {
      console.error(error);
      return this.complain('This browser could not start to record. Reload the page, or use another browser.');
    }
    this.$('live-record').textContent = 'Stop recording';
    this.$('live-record').setAttribute('aria-pressed', 'true');
    this.say('Recording.');
  }

  /** End the recording, where there is one, and offer it. */
  async finish() {
    const { recording, name } = this;
    if (!recording) return;
    this.recording = null;
    this.$('live-record').textContent = 'Record';
    this.$('live-record').setAttribute('aria-pressed', 'false');
    const file = await recording.stop();
    if (!file) return this.complain('Nothing was recorded. Record for longer.');
    const link = this.$('live-download');
    if (link.href) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(file);
    link.download = `${name}-${this.words.target.replace(/[^\p{L}\p{N}]+/gu, '-')}.${recording.suffix}`;
    link.hidden = false;
    offer(this.$('live-share'), new File([file], link.download, { type: file.type }), this.complain);
    this.say('The recording can be downloaded.');
  }

  /** Go on without the graphics card. */
  usePlain() {
    this.finish();
    this.usePainter(makePainter(null));
  }

  usePainter(painter) {
    this.painter = painter;
    painter.canvas.hidden = this.$('live-canvas').hidden;
    painter.canvas.id = 'live-canvas';
    painter.canvas.setAttribute('role', 'img');
    painter.canvas.setAttribute('aria-label', `The ${this.words.target} of what the camera sees`);
    painter.canvas.addEventListener('webglcontextlost', () => painter === this.painter && this.usePlain());
    this.$('live-canvas').replaceWith(painter.canvas);
  }

  /** idle, opening, live, stopped: what may be seen, and where the focus goes if what held it is gone. */
  enter(state) {
    document.body.dataset.live = state;
    const on = state === 'opening' || state === 'live';
    const kind = recordingKind();
    this.$('live-canvas').hidden = state === 'idle' || (state === 'opening' && this.painted.length === 0);
    this.$('live-hint').hidden = !this.$('live-canvas').hidden;
    this.$('live-choices').hidden = on;
    this.$('live-stop').hidden = !on;
    this.$('live-stop').textContent = state === 'opening' ? 'Cancel' : 'Stop';
    this.$('live-record').hidden = state !== 'live' || kind === null;
    this.$('live-mute').hidden = state !== 'live' || kind !== null;
    const lost = document.activeElement === document.body || document.activeElement?.closest('[hidden]');
    if (lost && state !== 'idle') this.$(on ? 'live-stop' : 'live-start').focus({ preventScroll: true });
  }
}
