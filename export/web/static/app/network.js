// The exported network as a function, run by onnxruntime-web: on WebGPU where there is one, else in WebAssembly.

import { stateSize } from './codec.js';
import { limitMemory, threadsFor } from './limits.js';
import { PhotoError } from './photos.js';
import { withCoordinates } from './pictures.js';

const ORT = new URL('./ort/', import.meta.url).href;
/** The network that every model has. */
export const DENOISER = 'denoiser';

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
 * Open `variant`, an entry of the model's description, with the networks that its sampler starts from and the codec:
 * {denoise, encode, decode, backend, threads, close}.
 *
 * `backend` is "wasm", "webgpu" or "auto", which is WebGPU where there is a device for it. Where the device or a graph
 * refuses, WebAssembly takes over; what came of it is returned. `denoise(x, cond, t, rows, columns, name)` takes two
 * Float32Arrays of planes and a whole number, and runs the network of that name. `encode(planes, height, width)` and
 * `decode(planes, rows, columns)` are the codec without its statistics. `onBytes(done, total)` is called during the
 * download. `limits`, of limits.js, are set for good. Throws PhotoError when a file cannot be had or is not the one that
 * the page was built with.
 */
export async function openNetwork(model, variant, backend, limits, onBytes) {
  if (limits.memory) limitMemory(limits.memory);
  const files = { [DENOISER]: variant, ...variant.others, ...model.codec.files };
  const total = Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
  const data = {};
  let before = 0;
  for (const [name, file] of Object.entries(files)) {
    data[name] = await download(file, (done) => onBytes(before + done, total));
    before += file.bytes;
  }
  if (backend === 'webgpu' || (backend === 'auto' && (await hasWebGpu()))) {
    try {
      const network = await openOn('webgpu', data, model, limits);
      // Shaders are compiled when they first run: whether they can be is known after that.
      const side = model.size_multiple;
      const { rows, columns, count } = stateSize(model.codec, { height: side, width: side });
      const nothing = await network.encode(new Float32Array(3 * side * side), side, side);
      for (const name of [DENOISER, ...Object.keys(variant.others)]) {
        await network.denoise(new Float32Array(count), nothing, 0, rows, columns, name);
      }
      await network.decode(nothing, rows, columns);
      return network;
    } catch (error) {
      console.warn('WebGPU could not run the model; WebAssembly takes over.', error);
    }
  }
  return openOn('wasm', data, model, limits);
}

async function openOn(backend, data, { coordinates }, limits) {
  const ort = await import(`./ort/ort.${backend}.min.mjs`);
  ort.env.wasm.wasmPaths = ORT;
  ort.env.wasm.numThreads = threadsFor(limits);
  ort.env.logLevel = 'error';
  const sessions = {};
  for (const [name, bytes] of Object.entries(data)) {
    sessions[name] = await ort.InferenceSession.create(bytes, { executionProviders: [backend], logSeverityLevel: 3 });
  }
  const planes = (values, height, width) =>
    new ort.Tensor('float32', values, [1, values.length / (height * width), height, width]);
  const denoise = async (x, cond, t, rows, columns, name = DENOISER) => {
    const given = coordinates ? withCoordinates(cond, rows, columns) : cond;
    const feeds = {
      x_t: planes(x, rows, columns),
      cond: planes(given, rows, columns),
      t: new ort.Tensor('int64', BigInt64Array.of(BigInt(t)), [1]),
    };
    const { prediction } = await sessions[name].run(feeds);
    return prediction.data;
  };
  const encode = async (picture, height, width) =>
    sessions.codec_encode ? (await sessions.codec_encode.run({ picture: planes(picture, height, width) })).state.data : picture;
  const decode = async (state, rows, columns) =>
    sessions.codec_decode ? (await sessions.codec_decode.run({ state: planes(state, rows, columns) })).picture.data : state;
  const close = () => Promise.all(Object.values(sessions).map((session) => session.release()));
  return { backend, threads: ort.env.wasm.numThreads, denoise, encode, decode, close };
}

async function download(file, onBytes) {
  const parts = [];
  try {
    const response = await fetch(new URL(file.file, import.meta.url));
    if (!response.ok) throw new Error(`status ${response.status}`);
    const reader = response.body.getReader();
    for (let done = 0, part; !(part = await reader.read()).done; ) {
      parts.push(part.value);
      onBytes((done += part.value.length));
    }
  } catch (error) {
    console.warn(error);
    throw new PhotoError('The model could not be loaded. Check the connection and try again.');
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  // Pages that are neither local nor https get no digests from the browser; their transport guards nothing anyway.
  if (self.crypto.subtle && (await sha256(bytes)) !== file.sha256) {
    throw new PhotoError('The model file is damaged or not the one this page was made with. Reload the page.');
  }
  return bytes;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
