// node translate.mjs photo.onnx photo.jpg sunset.png [realism]
// From a photo to its translation with photo.onnx alone. One line and exit status 2 for what cannot be used.

import { randomUUID } from 'node:crypto';
import { access, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';

process.env.ORT_DISABLE_TELEMETRY ??= '1'; // Before the import.
const ort = await import('onnxruntime-node');

const FORMATS = { '.png': ['png'], '.jpg': ['jpeg', { quality: 95 }], '.webp': ['webp', { quality: 95 }] };
FORMATS['.jpeg'] = FORMATS['.jpg'];
const LONGEST = 300; // Characters of a reason that a library gives.

/** Something the person at the keyboard can mend. */
class Refusal extends Error {}

/** What `work` gives; where it fails, a Refusal that begins with `what` and ends with `remedy`. */
async function orRefuse(what, remedy, work) {
  try {
    return await work();
  } catch (error) {
    const reason = String(error.message ?? error).replace(/\s+/g, ' ').slice(0, LONGEST);
    throw new Refusal(`${what} (${reason}); ${remedy}`);
  }
}

/** {data, info}: a photo's pixels, three bytes each, upright, in sRGB, transparency laid over white. */
function readPhoto(file) {
  const read = () =>
    sharp(file).autoOrient().flatten({ background: 'white' }).toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
  return orRefuse(`photo ${file} cannot be read`, 'give a whole JPEG, PNG, WebP, TIFF or AVIF file', read);
}

async function openModel(file) {
  const session = await orRefuse(`model ${file} cannot be opened`, 'give the photo.onnx of an export', async () => {
    await access(file);
    return ort.InferenceSession.create(file);
  });
  const known = ['photo', 'noise', 'realism'];
  const { inputNames } = session;
  if (!inputNames.includes('photo') || inputNames.some((name) => !known.includes(name))) {
    throw new Refusal(`model ${file} takes ${inputNames}, not a photo; give the photo.onnx of an export`);
  }
  return session;
}

/** The translation of {data, info}, bytes as those of `data`. */
async function translate(session, { data, info }, realism) {
  const feeds = {
    photo: new ort.Tensor('uint8', new Uint8Array(data.buffer, data.byteOffset, data.length), [info.height, info.width, 3]),
    noise: new ort.Tensor('float32', new Float32Array(0), [0]), // None: the picture of seed 0.
  };
  if (session.inputNames.includes('realism')) feeds.realism = new ort.Tensor('float32', Float32Array.of(realism), [1]);
  const remedy = 'free some memory or give a smaller photo';
  const { picture } = await orRefuse(`the model failed on ${info.width} x ${info.height} pixels`, remedy, () => session.run(feeds));
  return picture.data;
}

/** Written to another name first, so that no half file is ever there. */
async function save(file, bytes, { width, height }) {
  const half = path.join(path.dirname(file), `.${randomUUID()}.half`);
  const image = sharp(bytes, { raw: { width, height, channels: 3 } }).toFormat(...FORMATS[path.extname(file).toLowerCase()]);
  await orRefuse(`${file} cannot be written`, 'choose a folder that is there and that you may write', async () => {
    try {
      await writeFile(half, await image.toBuffer());
      await rename(half, file);
    } finally {
      await rm(half, { force: true });
    }
  });
}

async function main([model, photo, output, realism = '1', ...rest]) {
  if (output === undefined || rest.length > 0) throw new Refusal('usage: node translate.mjs photo.onnx photo.jpg sunset.png [realism]');
  if (!(path.extname(output).toLowerCase() in FORMATS)) {
    throw new Refusal(`${output} ends in none of ${Object.keys(FORMATS).join(', ')}; choose one`);
  }
  if (!(Number(realism) >= 0 && Number(realism) <= 1)) throw new Refusal(`realism ${realism} is not from 0 to 1; give such a number`);
  const pixels = await readPhoto(photo);
  await save(output, await translate(await openModel(model), pixels, Number(realism)), pixels.info);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = 2;
}
