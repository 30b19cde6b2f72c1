// The exported network as a function, run by onnxruntime-web: on WebGPU where there is one, else in WebAssembly.

import { PhotoError } from './photos.js';
import { withCoordinates } from './pictures.js';

const ORT = new URL('./ort/', import.meta.url).href;
const MOST_THREADS = 8;

/** Whether this browser has a WebGPU device to offer that is one, and not the processor in disguise. */
async function hasWebGpu() {
  try {
    const adapter = await self.navigator.gpu?.requestAdapter();
    return adapter != null && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  } catch {
    return false;
  }
}

/**
 * Open `variant`, an entry of the model's description: {denoise, backend, threads, close}.
 *
 * `backend` is "wasm", "webgpu" or "auto", which is WebGPU where there is a device for it. Where the device or the graph
 * refuses, WebAssembly takes over; what came of it is returned. `denoise(x, cond, t, height, width)` takes two
 * Float32Arrays of three planes and a whole number. `onBytes(done, total)` is called during the download. Throws PhotoError
 * when the file cannot be had or is not the one that the page was built with.
 */
export async function openNetwork(model, variant, backend, onBytes) {
  const bytes = await download(variant, onBytes);
  if (backend === 'webgpu' || (backend === 'auto' && (await hasWebGpu()))) {
    try {
      const network = await openOn('webgpu', bytes, model.coordinates);
      // Shaders are compiled when they first run: whether they can be is known after that.
      const side = model.size_multiple;
      const nothing = new Float32Array(3 * side * side);
      await network.denoise(nothing, nothing, 0, side, side);
      return network;
    } catch (error) {
      console.warn('WebGPU could not run the model; WebAssembly takes over.', error);
    }
  }
  return openOn('wasm', bytes, model.coordinates);
}

async function openOn(backend, bytes, coordinates) {
  const ort = await import(`./ort/ort.${backend}.min.mjs`);
  ort.env.wasm.wasmPaths = ORT;
  // Without the headers that isolate the page there is no memory to share, so no second thread.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(self.navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [backend], logSeverityLevel: 3 });
  const denoise = async (x, cond, t, height, width) => {
    const given = coordinates ? withCoordinates(cond, height, width) : cond;
    const feeds = {
      x_t: new ort.Tensor('float32', x, [1, 3, height, width]),
      cond: new ort.Tensor('float32', given, [1, given.length / (height * width), height, width]),
      t: new ort.Tensor('int64', BigInt64Array.of(BigInt(t)), [1]),
    };
    const { prediction } = await session.run(feeds);
    return prediction.data;
  };
  return { backend, threads: ort.env.wasm.numThreads, denoise, close: () => session.release() };
}

async function download(variant, onBytes) {
  const parts = [];
  try {
    const response = await fetch(new URL(variant.file, import.meta.url));
    if (!response.ok) throw new Error(`status ${response.status}`);
    const reader = response.body.getReader();
    for (let done = 0, part; !(part = await reader.read()).done; ) {
      parts.push(part.value);
      onBytes((done += part.value.length), variant.bytes);
    }
  } catch (error) {
    console.warn(error);
    throw new PhotoError('The model could not be loaded. Check the connection and try again.');
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  // Pages that are neither local nor https get no digests from the browser; their transport guards nothing anyway.
  if (self.crypto.subtle && (await sha256(bytes)) !== variant.sha256) {
    throw new PhotoError('The model file is damaged or not the one this page was made with. Reload the page.');
  }
  return bytes;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
