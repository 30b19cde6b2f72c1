// The camera tab: a film that is changed as it is taken. A new frame is taken when the last one is done, so none wait.

import { makePainter } from './painter.js';
import { record, recordingKind } from './recorder.js';
import { SourceError, grab, openCamera, openFile, watch } from './source.js';

const SECOND = 1000;

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
    Object.assign(this, { name, fresh: false, painted: [], reported: 0 });
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
    const look = () => {
      this.fresh = true;
      this.take();
    };
    watch(video, look, end.signal);
    look();
  }

  /** Take over the settings; returns whether they can be used. */
  update() {
    try {
      this.wishes = this.readWishes();
      return true;
    } catch (error) {
      this.complain(error.message);
      return false;
    }
  }

  /** Send the frame that is shown now, unless the worker has one. */
  take() {
    if (!this.on || this.waiting || !this.fresh) return;
    const video = this.$('live-video');
    if (video.videoWidth === 0 || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    grab(video, this.grabbed, this.context, Number(this.$('live-size').value));
    const { width, height } = this.grabbed;
    const image = { data: this.context.getImageData(0, 0, width, height).data, width, height };
    Object.assign(this, { fresh: false, waiting: true });
    const message = { kind: 'frame', film: this.film, image, time: performance.now() / SECOND };
    this.send({ ...message, settings: this.wishes, painted: !this.painter.gpu }, [image.data.buffer]);
  }

  /** The worker's answer to a frame. */
  show({ film, change, image, passes }) {
    this.waiting = false;
    if (film === this.film && this.paint(change, image)) this.shown(passes);
    this.take(); // Where it was an older film's, the new one has waited for it.
  }

  /** Returns whether this could be painted; if not, the next frame will be. */
  paint(change, image) {
    if (image) this.usePlain();
    else if (!this.painter.gpu) return false;
    else if (!this.painter.fits(change)) return this.usePlain();
    this.painter.paint(...(image ? [image] : [this.grabbed, change]));
    return true;
  }

  shown(passes) {
    const { canvas } = this.painter;
    const now = performance.now();
    if (this.painted.length === 0) {
      this.$('live').style.setProperty('--ratio', canvas.width / canvas.height);
      this.enter('live');
      this.say('The pictures are shown as they come.');
      this.$('live-video').play().catch(() => {});
    }
    this.painted = [...this.painted.filter((time) => now - time < 2 * SECOND), now];
    canvas.dispatchEvent(new Event('painted'));
    if (now - this.reported < SECOND / 2 || this.painted.length < 2) return;
    this.reported = now;
    const rate = ((this.painted.length - 1) / (now - this.painted[0])) * SECOND;
    const calls = passes === 1 ? 'one pass' : `${passes} passes`;
    this.$('live-facts').textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} frames a second, ${canvas.width} × ${canvas.height}, ${calls} each`;
  }

  /** The worker was replaced: what it had will not come. */
  lost() {
    this.waiting = false;
    this.take();
  }

  /** The worker could not do a frame of `film`. */
  failed(film, message) {
    this.waiting = false;
    if (film === this.film) this.fail(message);
    else this.take();
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
    this.say('The recording can be downloaded.');
  }

  /** Go on without the graphics card; false, as nothing is painted by that. */
  usePlain() {
    if (this.painter.gpu) {
      this.finish();
      this.usePainter(makePainter(null));
    }
    return false;
  }

  usePainter(painter) {
    this.painter = painter;
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
