// The format and the own sample rate of a file, from its first bytes. Browsers resample what they decode, and do not
// tell from what rate; embeddings depend on the resampler more than on anything else.

import { readWavHeader } from './wav.js';

const ascii = (bytes, start, length) => String.fromCharCode(...bytes.subarray(start, start + length));
const read = async (file, start, length) => new Uint8Array(await file.slice(start, start + length).arrayBuffer());

/**
 * @param {Blob} file
 * @returns {Promise<{format: string, codec?: string, rate: number, start: number} | null>} `codec`: where it is read a piece
 *   at a time; `start`: where the audio's own header begins, behind an ID3 tag; for WAV also where the samples lie, for Ogg
 *   how many channels there are. null: no format that is known here
 */
export async function identify(file) {
  let start = 0;
  let head = await read(file, 0, 65536);
  if (ascii(head, 0, 3) === 'ID3' && head.length > 10) {
    start = 10 + head[9] + (head[8] << 7) + (head[7] << 14) + (head[6] << 21);
    head = await read(file, start, 65536);
  }
  if (head.length < 12) return null;
  const view = new DataView(head.buffer);
  const magic = ascii(head, 0, 4);
  if (magic === 'RIFF' || magic === 'RF64') return readWavHeader(file);
  if (magic === 'fLaC' && head.length >= 26) return { format: 'flac', codec: 'flac', rate: view.getUint32(18) >>> 12, start };
  if (magic === 'OggS') {
    const kind = kindOf(head.subarray(27 + head[26]));
    return kind && { ...kind, start };
  }
  if (ascii(head, 4, 4) === 'ftyp') return mp4(file, start);
  if (view.getUint32(0) === 0x1a45dfa3) return webm(head, view, start);
  return mpeg(head, start);
}

/** What the first packet of an Ogg stream says: {format, codec, rate, channels}, or null. */
export function kindOf(packet) {
  if (packet.length < 19) return null;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  if (ascii(packet, 0, 8) === 'OpusHead') {
    return { format: 'opus', codec: 'opus', rate: opusRate(view.getUint32(12, true)), channels: packet[9] };
  }
  if (ascii(packet, 1, 6) === 'vorbis') return { format: 'ogg', codec: 'vorbis', rate: view.getUint32(12, true), channels: packet[11] };
  if (ascii(packet, 1, 4) !== 'FLAC' || packet.length < 31) return null;
  return { format: 'ogg', rate: view.getUint32(27) >>> 12 }; // which the browser reads
}

/** Opus is decoded at any of five rates. The Python package's decoder, libsndfile, takes the one next to that of the original. */
function opusRate(original) {
  return [8000, 12000, 16000, 24000].find((rate) => original <= rate) ?? 48000;
}

async function mp4(file, start) {
  for (let at = start; at + 8 <= file.size; ) {
    const view = new DataView((await read(file, at, 16)).buffer);
    let size = view.getUint32(0);
    if (size === 1 && view.byteLength === 16) size = Number(view.getBigUint64(8));
    if (size === 0) size = file.size - at;
    if (size < 8) return null;
    if (view.getUint32(4) === 0x6d6f6f76) { // moov
      const moov = await read(file, at, Math.min(size, 1 << 26));
      const entry = find(moov, [0x6d, 0x70, 0x34, 0x61]); // mp4a
      if (entry < 0 || entry + 30 > moov.length) return null;
      return { format: 'm4a', rate: new DataView(moov.buffer).getUint16(entry + 28), start };
    }
    at += size;
  }
  return null;
}

function webm(head, view, start) {
  if (find(head, [...'A_OPUS'].map((c) => c.charCodeAt(0))) >= 0) return { format: 'webm', rate: 48000, start };
  for (let at = find(head, [0xb5]); at >= 0 && at + 10 <= head.length; at = find(head, [0xb5], at + 1)) {
    const rate = head[at + 1] === 0x88 ? view.getFloat64(at + 2) : head[at + 1] === 0x84 ? view.getFloat32(at + 2) : 0;
    if (rate >= 4000 && rate <= 384000 && Number.isInteger(rate)) return { format: 'webm', rate, start };
  }
  return null;
}

const MPEG_RATES = { 3: [44100, 48000, 32000], 2: [22050, 24000, 16000], 0: [11025, 12000, 8000] };
const AAC_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000];

function mpeg(head, start) {
  for (let at = 0; at + 4 <= head.length; at++) {
    if (head[at] !== 0xff || (head[at + 1] & 0xe0) !== 0xe0) continue;
    if ((head[at + 1] & 0xf6) === 0xf0) { // ADTS
      const rate = AAC_RATES[(head[at + 2] >> 2) & 15];
      if (rate && at === 0) return { format: 'm4a', rate, start };
      continue;
    }
    const rate = MPEG_RATES[(head[at + 1] >> 3) & 3]?.[(head[at + 2] >> 2) & 3];
    const layer = (head[at + 1] >> 1) & 3;
    const bitrate = head[at + 2] >> 4;
    if (rate && layer && bitrate && bitrate !== 15) return { format: 'mp3', codec: 'mp3', rate, start };
  }
  return null;
}

function find(bytes, pattern, from = 0) {
  for (let at = bytes.indexOf(pattern[0], from); at >= 0; at = bytes.indexOf(pattern[0], at + 1)) {
    if (pattern.every((byte, k) => bytes[at + k] === byte)) return at;
  }
  return -1;
}
