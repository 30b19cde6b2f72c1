// Photos in and out of the browser: a file to a picture, a picture to a PNG.

import { MAX_PIXELS, fromImageData, toImageData } from './pictures.js';
import { sizeFromHeader } from './sizes.js';

/** Something the person at the page can mend; its message is shown as it is. */
export class PhotoError extends Error {}

/** A photo that this device may have no memory for. */
export class LargePhotoError extends PhotoError {}

const HEADER_BYTES = 1 << 20; // A JPEG's size may stand behind a large thumbnail.

/**
 * {picture, reduced}: the picture in a Blob, upright by its EXIF orientation, in sRGB, transparency laid over white; of a
 * photo of more than so many `pixels` a smaller copy, which is reduced.
 *
 * Throws PhotoError when it is no picture this browser reads, is damaged, or is too large for the device.
 */
export async function decode(blob, pixels = Infinity) {
  if (blob.size === 0) throw new PhotoError('This file is empty. Choose another picture.');
  const size = sizeFromHeader(new Uint8Array(await blob.slice(0, HEADER_BYTES).arrayBuffer()));
  if (size !== null) refuseHuge(size);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new PhotoError(
      size === null
        ? 'This file is not a picture that this browser can read. Choose a JPEG, PNG or WebP file.'
        : 'This picture is damaged, cut short or too large for this device. Choose another one, or a smaller copy.',
    );
  }
  try {
    refuseHuge(bitmap);
    const scale = Math.min(1, Math.sqrt(pixels / (bitmap.width * bitmap.height)));
    return { picture: fromImageData(read(bitmap, scale)), reduced: scale < 1 };
  } finally {
    bitmap.close();
  }
}

function refuseHuge({ width, height }) {
  if (width * height > MAX_PIXELS) {
    throw new PhotoError(
      `This picture has ${width} × ${height} pixels, more than the limit of ${MAX_PIXELS / 1e6} million. Choose a smaller one.`,
    );
  }
}

function read(bitmap, scale) {
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
  try {
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    context.fillStyle = 'white';
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  } catch {
    throw new LargePhotoError(`This picture, ${width} × ${height} pixels, is too large for this device. Choose a smaller one.`);
  }
}

/** `picture` as a PNG file, a Blob. */
export async function encode(picture) {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext('2d').putImageData(toImageData(picture), 0, 0);
  return canvas.convertToBlob({ type: 'image/png' });
}
