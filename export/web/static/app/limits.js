// What to do on a device that has no memory left: fewer threads, then a smaller picture.

const PAGES_PER_MB = 16; // A page of WebAssembly's memory has 64 KiB.
const MOST_THREADS = 8;

/** What failed has this in the place of a run's number, where it was a frame of a film. */
export const FILM = 'film';

/**
 * One entry a try. `threads` at most; `memory`, MB, is the most that WebAssembly may grow to; `share` of the model's
 * size that it sees of a photo; `pixels` of the photo at most. What every entry lacks is not limited.
 *
 * iOS reserves all that a shared memory may grow to at once, and onnxruntime-web asks for 4 GB, also for one thread.
 */
export const TRIES = [
  { threads: MOST_THREADS, share: 1 },
  { threads: 1, memory: 1024, share: 1 },
  { threads: 1, memory: 512, share: 0.5, pixels: 4_000_000 },
];

/** What the page says about a try after the first, and why, in one line; `size` is the model's, in pixels. */
export function describeTry(index, size, memory) {
  const why = memory ? `Out of memory${index === 1 ? '' : ' again'}` : 'Several threads did not start';
  const fewer = threadsFor(TRIES[0]) > 1 || index > 1 ? 'one thread' : 'less memory';
  const smaller = ` and a smaller picture (${Math.round(size * TRIES[index].share)} pixels, not ${size})`;
  return `${why}: the page goes on with ${fewer}${index === 1 ? '' : smaller}.`;
}

/** Whether an error, of a browser or of onnxruntime-web, says that there is no memory left. */
export function isMemory(error) {
  const words = /out of memory|bad_alloc|could not allocate|allocat\w* (memory|failed)|failed to allocate|\boom\b|memory access out of bounds/i;
  return error instanceof RangeError || words.test(String(error?.message ?? error));
}

/** Let no shared memory of WebAssembly that is made from now on grow beyond so many MB. */
export function limitMemory(megabytes) {
  const { Memory } = WebAssembly;
  WebAssembly.Memory = class extends Memory {
    constructor(wish) {
      super(wish.shared ? { ...wish, maximum: Math.min(wish.maximum, megabytes * PAGES_PER_MB) } : wish);
    }
  };
}

/** Threads to start: without the headers that isolate the page there is no memory to share, so no second one. */
export function threadsFor({ threads }) {
  return self.crossOriginIsolated ? Math.min(self.navigator.hardwareConcurrency || 1, threads) : 1;
}
