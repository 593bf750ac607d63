// Cuts a FLAC file between frames into files of a few seconds: frames depend on nothing but the stream's header, so
// the pieces decode to the very samples of the whole.

const READ = 1 << 20; // bytes
const MAX_HEADER = 16;

/** @returns {Promise<{rate: number, bits: number, samples: number, firstFrame: number, streamInfo: Uint8Array}>} */
export async function readStreamInfo(file, start) {
  const streamInfo = new Uint8Array(await file.slice(start + 8, start + 42).arrayBuffer());
  const view = new DataView(streamInfo.buffer);
  let at = start + 4;
  for (let last = false; !last && at + 4 <= file.size; ) {
    const block = new DataView(await file.slice(at, at + 4).arrayBuffer()).getUint32(0);
    last = block >>> 31 === 1;
    at += 4 + (block & 0xffffff);
  }
  return {
    rate: view.getUint32(10) >>> 12,
    bits: ((view.getUint16(12) >>> 4) & 31) + 1,
    samples: (view.getUint8(13) & 15) * 2 ** 32 + view.getUint32(14),
    firstFrame: at,
    streamInfo,
  };
}

/** @returns {AsyncGenerator<ArrayBuffer>} whole FLAC files of about `seconds` each */
export async function* flacChunks(file, info, seconds) {
  let held = new Uint8Array(0);
  let at = info.firstFrame; // of the next byte to read
  let begin = 0; // in `held`, of the chunk being collected
  let scan = 0; // in `held`, from where the next frame is looked for
  let expected = 0; // the number of the next frame, or of its first sample
  let samples = 0; // in the chunk
  for (;;) {
    const more = new Uint8Array(await file.slice(at, at + READ).arrayBuffer());
    at += more.length;
    const ended = more.length === 0;
    const joined = new Uint8Array(held.length - begin + more.length);
    joined.set(held.subarray(begin));
    joined.set(more, held.length - begin);
    held = joined;
    scan -= begin;
    begin = 0;
    for (; scan + MAX_HEADER <= held.length; scan++) {
      if (held[scan] !== 0xff || (held[scan + 1] & 0xfe) !== 0xf8) continue;
      const frame = frameHeader(held, scan);
      if (!frame || frame.number !== expected) continue;
      if (samples >= seconds * info.rate) {
        yield flacFile(info, held.subarray(begin, scan), samples);
        begin = scan;
        samples = 0;
      }
      samples += frame.blockSize;
      expected += frame.variable ? frame.blockSize : 1;
      scan += 4;
    }
    if (ended) break;
  }
  if (begin < held.length) yield flacFile(info, held.subarray(begin), samples);
}

function flacFile({ streamInfo }, frames, samples) {
  const bytes = new Uint8Array(42 + frames.length);
  bytes.set([0x66, 0x4c, 0x61, 0x43, 0x80, 0, 0, 34]); // fLaC, and the only metadata block
  bytes.set(streamInfo, 8);
  const view = new DataView(bytes.buffer);
  view.setUint8(21, view.getUint8(21) & 0xf0); // the length: that of the piece
  view.setUint32(22, samples);
  bytes.fill(0, 26, 42); // no digest
  bytes.set(frames, 42);
  return bytes.buffer;
}

/** The header of the frame at `at`, or null where none with a right checksum stands. */
function frameHeader(bytes, at) {
  const size = bytes[at + 2] >> 4;
  const rate = bytes[at + 2] & 15;
  if (size === 0 || rate === 15 || bytes[at + 3] & 1) return null;
  let end = at + 4;
  let number = bytes[end++];
  if (number >= 0x80) { // as UTF-8 has it, up to 36 bits
    const more = Math.clz32(~(number << 24)) - 1;
    if (more < 1 || more > 6) return null;
    number &= 0x3f >> more;
    for (let k = 0; k < more; k++) number = number * 64 + (bytes[end++] & 0x3f);
  }
  let blockSize = size === 1 ? 192 : size < 6 ? 576 << (size - 2) : 256 << (size - 8);
  if (size === 6) blockSize = bytes[end++] + 1;
  if (size === 7) {
    blockSize = bytes[end] * 256 + bytes[end + 1] + 1;
    end += 2;
  }
  end += rate === 12 ? 1 : rate > 12 ? 2 : 0;
  if (crc8(bytes, at, end) !== bytes[end]) return null;
  return { number, blockSize, variable: (bytes[at + 1] & 1) === 1 };
}

function crc8(bytes, from, to) {
  let crc = 0;
  for (let n = from; n < to; n++) {
    crc ^= bytes[n];
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
  }
  return crc;
}
