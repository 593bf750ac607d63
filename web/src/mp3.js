// Cuts an MP3 between frames into pieces of some seconds, each with some frames before it that only bring the decoder
// into the right state: what it keeps from frame to frame reaches no farther back.

const READ = 1 << 20; // bytes
const LEAD = 30; // frames: the bit reservoir, 511 bytes, of the lowest bit rates
const DELAY = 529; // samples that a decoder is behind, which the encoder's own delay does not count
const BITRATES = [
  [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320], // kbit/s of MPEG 1, layer III
  [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], // of MPEG 2 and 2.5
];
const RATES = { 3: [44100, 48000, 32000], 2: [22050, 24000, 16000], 0: [11025, 12000, 8000] };

/**
 * @returns {AsyncGenerator<{bytes: ArrayBuffer, samples: number, skip: number, cut: number}>} of each piece, how many
 *   samples at its end are new; and how many of these are not the recording's but the encoder's padding, at the
 *   beginning (`skip`) and at the end (`cut`)
 * @throws {RangeError} where the file is no plain sequence of frames: then it has to be decoded in one piece
 */
export async function* mp3Pieces(file, start, seconds) {
  let held = new Uint8Array(0); // what was read and not yet given, with the lead
  let origin = start; // in the file, of held[0]
  let at = start; // in the file, of the next frame
  let gapless = null;
  let starts = []; // in the file, of the frames in `held`
  let fresh = 0; // of these, how many are new
  let total = 0;
  for (;;) {
    if (at + 4 > origin + held.length) {
      const more = new Uint8Array(await file.slice(origin + held.length, origin + held.length + READ).arrayBuffer());
      if (!more.length) break;
      held = joined(held, more);
      continue;
    }
    const frame = frameHeader(held, at - origin);
    if (!frame) {
      if (!total) throw new RangeError('no frame where one must begin');
      break; // a tag, or garbage, behind the last frame
    }
    if (at + frame.size > file.size) break;
    if (at + frame.size > origin + held.length) {
      held = joined(held, new Uint8Array(await file.slice(origin + held.length, at + frame.size + READ).arrayBuffer()));
    }
    const tag = total === 0 && !gapless ? infoTag(held.subarray(at - origin, at - origin + frame.size), frame) : null;
    if (tag) gapless = tag;
    else {
      starts.push(at);
      fresh++;
      total++;
    }
    at += frame.size;
    if (fresh * frame.samples < seconds * frame.rate) continue;
    yield piece(false, frame.samples);
    const keep = starts[Math.max(starts.length - LEAD, 0)];
    starts = starts.slice(-LEAD);
    held = held.slice(keep - origin);
    origin = keep;
    fresh = 0;
  }
  if (fresh) yield piece(true, frameHeader(held, starts[0] - origin).samples);

  function piece(last, size) {
    const bytes = held.slice(starts[0] - origin, at - origin).buffer;
    const first = total === fresh;
    const known = gapless?.delay !== undefined;
    return {
      bytes,
      samples: fresh * size,
      skip: first && known ? gapless.delay + DELAY : 0,
      cut: last && known && total >= gapless.frames ? Math.max(gapless.padding - DELAY, 0) : 0,
    };
  }
}

/** The frame of layer III at `at`, or null. `size` in bytes. */
function frameHeader(bytes, at) {
  if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe6) !== 0xe2) return null;
  const version = (bytes[at + 1] >> 3) & 3;
  const rate = RATES[version]?.[(bytes[at + 2] >> 2) & 3];
  const bitrate = BITRATES[version === 3 ? 0 : 1][bytes[at + 2] >> 4];
  if (!rate || !bitrate) return null;
  const samples = version === 3 ? 1152 : 576;
  const padding = (bytes[at + 2] >> 1) & 1;
  return { version, rate, samples, mono: bytes[at + 3] >> 6 === 3, size: Math.floor((samples * 125 * bitrate) / rate) + padding };
}

/** What the frame says about the file, if it is no audio but Xing's, LAME's or Fraunhofer's header. */
function infoTag(bytes, { version, mono }) {
  const word = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (word(36) === 'VBRI') return {};
  const at = 4 + (version === 3 ? (mono ? 17 : 32) : mono ? 9 : 17);
  if (word(at) !== 'Xing' && word(at) !== 'Info') return null;
  const flags = bytes[at + 7];
  const lame = at + 8 + (flags & 1 ? 4 : 0) + (flags & 2 ? 4 : 0) + (flags & 4 ? 100 : 0) + (flags & 8 ? 4 : 0);
  if (lame + 24 > bytes.length) return {};
  const [a, b, c] = bytes.subarray(lame + 21, lame + 24);
  const frames = flags & 1 ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(at + 8) : 0;
  return { frames, delay: (a << 4) | (b >> 4), padding: ((b & 15) << 8) | c };
}

function joined(first, second) {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
