// Width and height of a picture from the first bytes of its file, so that a bomb is refused before it is decoded.

/**
 * {width, height} of a JPEG, PNG, GIF, WebP or BMP that begins with `bytes`, a Uint8Array; null for any other file and
 * for one whose size is not in these bytes.
 */
export function sizeFromHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
  try {
    if (text(1, 4) === 'PNG') return { width: view.getUint32(16), height: view.getUint32(20) };
    if (text(0, 3) === 'GIF') return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
    if (text(0, 2) === 'BM') {
      return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
    }
    if (text(0, 4) === 'RIFF' && text(8, 12) === 'WEBP') return sizeOfWebp(view, text(12, 16));
    if (view.getUint16(0) === 0xffd8) return sizeOfJpeg(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // The file ends inside its header.
  }
  return null;
}

function sizeOfWebp(view, chunk) {
  if (chunk === 'VP8X') return { width: 1 + uint24(view, 24), height: 1 + uint24(view, 27) };
  if (chunk === 'VP8L') {
    const word = view.getUint32(21, true);
    return { width: 1 + (word & 0x3fff), height: 1 + ((word >>> 14) & 0x3fff) };
  }
  return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
}

function uint24(view, place) {
  return view.getUint16(place, true) | (view.getUint8(place + 2) << 16);
}

/** The first frame header: a marker C0 ... CF, of which C4, C8 and CC mean something else. */
function sizeOfJpeg(view) {
  let place = 2;
  for (;;) {
    while (view.getUint8(place) === 0xff && view.getUint8(place + 1) === 0xff) place += 1;
    const marker = view.getUint16(place);
    if (marker < 0xffc0 || marker === 0xffda) return null;
    if (marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
      return { height: view.getUint16(place + 5), width: view.getUint16(place + 7) };
    }
    place += 2 + view.getUint16(place + 2);
  }
}
