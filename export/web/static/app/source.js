// Where a film comes from: a camera or a video file, played in a <video> that nobody sees.

/** Something the person at the page can mend; its message is shown as it is. */
export class SourceError extends Error {}

/** Milliseconds in which the first frame has to come. */
const PATIENCE = 10_000;
const REFUSED = {
  NotAllowedError: 'The camera was refused. Allow it for this page in the browser, and start again.',
  NotFoundError: 'No camera was found. Connect one, or choose a video.',
  OverconstrainedError: 'No camera was found. Connect one, or choose a video.',
  NotReadableError: 'The camera cannot be opened. Close other programs that use it, and start again.',
  AbortError: 'The camera cannot be opened. Close other programs that use it, and start again.',
};
const GONE = 'The camera was disconnected. Connect it, and start again.';
const EMPTY = 'This file has no pictures. Choose another video.';
const UNREADABLE = 'This browser cannot play this video. Choose an MP4 file with H.264, or a WebM file.';
const BROKEN = 'The video is damaged from here on.';

/**
 * Play the device's camera in `video` until `signal` aborts; resolves with its first frame. `onLost(message)` is called
 * where it is unplugged later. Throws SourceError where there is none, where it is refused and where it gives no frames.
 */
export async function openCamera(video, signal, onLost) {
  const { mediaDevices } = navigator;
  if (!mediaDevices?.getUserMedia) throw new SourceError('The browser gives this page no camera. Open the page over https, or choose a video.');
  const wish = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: 'environment' };
  let stream;
  try {
    stream = await mediaDevices.getUserMedia({ audio: false, video: wish });
  } catch (error) {
    throw new SourceError(REFUSED[error.name] ?? `The camera cannot be used (${error.message || error.name}). Choose a video.`);
  }
  whenAborted(signal, () => {
    for (const track of stream.getTracks()) track.stop();
    if (video.srcObject === stream) video.srcObject = null; // Another film may have begun.
  });
  if (signal.aborted) return;
  for (const track of stream.getVideoTracks()) track.addEventListener('ended', () => onLost(GONE), { signal });
  video.srcObject = stream;
  await firstFrame(video, signal, 'The camera gives no pictures. Connect it again, and start again.');
}

/**
 * Play a video file in `video` until `signal` aborts; resolves with its first frame. `onLost(message)` is called where it
 * is damaged further on. Throws SourceError where this browser cannot play it and where it has no frames.
 */
export async function openFile(file, video, signal, onLost) {
  const url = URL.createObjectURL(file);
  whenAborted(signal, () => {
    video.removeAttribute('src');
    video.load();
    URL.revokeObjectURL(url);
  });
  video.src = url;
  await firstFrame(video, signal, EMPTY);
  video.addEventListener('error', () => onLost(BROKEN), { signal });
}

function whenAborted(signal, act) {
  if (signal.aborted) act();
  else signal.addEventListener('abort', act, { once: true });
}

async function firstFrame(video, signal, none) {
  const done = new AbortController(); // Ends the listeners, whatever came.
  whenAborted(signal, () => done.abort());
  try {
    await new Promise((resolve, reject) => {
      const refuse = (message) => () => reject(new SourceError(message));
      const on = (name, act) => video.addEventListener(name, act, { signal: done.signal });
      done.signal.addEventListener('abort', resolve);
      on('loadedmetadata', () => video.videoWidth === 0 && refuse(EMPTY)());
      on('loadeddata', resolve);
      on('ended', refuse(none));
      on('error', refuse(UNREADABLE));
      const timer = setTimeout(refuse(none), PATIENCE);
      done.signal.addEventListener('abort', () => clearTimeout(timer));
      // Some browsers load no frame before they are asked to play.
      video.play().catch((error) => error.name === 'NotAllowedError' && refuse('The browser does not start the video. Press start again.')());
    });
  } finally {
    done.abort();
  }
}

/** Call `onFrame` when `video` has a new frame, until `signal` aborts. */
export function watch(video, onFrame, signal) {
  if (video.requestVideoFrameCallback) {
    const look = () => {
      if (signal.aborted) return;
      video.requestVideoFrameCallback(look);
      onFrame();
    };
    video.requestVideoFrameCallback(look);
    return;
  }
  let seen = null;
  const look = () => {
    if (signal.aborted) return;
    requestAnimationFrame(look);
    if (video.currentTime === seen) return;
    seen = video.currentTime;
    onFrame();
  };
  requestAnimationFrame(look);
}

/** Width and height of the frames that are made of those of a film: even, as encoders need them, and of so many pixels at most. */
export function frameSides(width, height, pixels) {
  const scale = Math.min(1, Math.sqrt(pixels / (width * height)));
  return [width, height].map((side) => Math.max(2, 2 * Math.floor((side * scale) / 2)));
}

/** Put the frame that `video` shows onto `canvas`, which gets its size from frameSides. */
export function grab(video, canvas, context, pixels) {
  const [width, height] = frameSides(video.videoWidth, video.videoHeight, pixels);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  // A side that is odd loses a line; frames of the same size are not resampled.
  const same = Math.abs(video.videoWidth - width) < 2 && Math.abs(video.videoHeight - height) < 2;
  if (same) context.drawImage(video, 0, 0, width, height, 0, 0, width, height);
  else context.drawImage(video, 0, 0, width, height);
}
