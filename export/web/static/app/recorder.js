// What a canvas shows, recorded as a video file.

// The first is made in the least time; MP4 is what browsers make that make no WebM.
const KINDS = ['video/webm;codecs=vp8', 'video/webm;codecs=vp9', 'video/webm', 'video/mp4'];

/** The kind of file that this browser can record; null where it can record none. */
export function recordingKind() {
  if (!self.MediaRecorder || !HTMLCanvasElement.prototype.captureStream) return null;
  return KINDS.find((kind) => MediaRecorder.isTypeSupported(kind)) ?? null;
}

/** Record `canvas` from now on: {stop, suffix}; `stop()` resolves to the file, a Blob, or to null where nothing came. */
export function record(canvas, kind) {
  const stream = canvas.captureStream();
  const free = () => stream.getTracks().forEach((track) => track.stop());
  const recorder = new MediaRecorder(stream, { mimeType: kind, videoBitsPerSecond: 4_000_000 });
  const parts = [];
  const ended = new Promise((resolve) => {
    recorder.addEventListener('dataavailable', ({ data }) => data.size > 0 && parts.push(data));
    recorder.addEventListener('stop', resolve);
    recorder.addEventListener('error', resolve);
  });
  try {
    recorder.start(1000); // A part each second: what has been recorded need not lie in the memory.
  } catch (error) {
    free();
    throw error;
  }
  const stop = async () => {
    if (recorder.state !== 'inactive') recorder.stop();
    await ended;
    free();
    return parts.length > 0 ? new Blob(parts, { type: kind.split(';')[0] }) : null;
  };
  return { stop, suffix: kind.startsWith('video/mp4') ? 'mp4' : 'webm' };
}
