// From a file to mono blocks at the file's own rate. WAV is read here, bit for bit; FLAC and MP3 are handed to the
// browser's decoder some seconds at a time, so that none of them needs memory for the whole recording; the rest in one.

import { flacChunks, readStreamInfo } from './flac.js';
import { identify } from './identify.js';
import { mp3Pieces } from './mp3.js';
import { wavBlocks } from './wav.js';

const BLOCK_SECONDS = 5;

/** What went wrong with a file, in words for whoever opened it. */
export class DecodeError extends Error {}

/**
 * @param {Blob} file
 * @returns {Promise<{format: string, rate: number, seconds: number | null, note: string,
 *   blocks: () => AsyncGenerator<Float32Array>}>} `seconds` is null where only decoding can tell
 * @throws {DecodeError}
 */
export async function openRecording(file) {
  if (file.size === 0) throw new DecodeError('is empty (0 bytes)');
  const header = await identify(file);
  if (!header) throw new DecodeError('is in no format that this page knows: WAV, FLAC, MP3, Ogg, Opus, m4a, WebM');
  const { format, rate, start } = header;
  if (format === 'wav' && header.data) {
    const { data, truncated } = header;
    const seconds = data.length / data.frame / rate;
    const note = truncated ? 'the file ends before its header says' : '';
    return { format, rate, seconds, note, blocks: () => checked(wavBlocks(file, data, Math.ceil(BLOCK_SECONDS * rate))) };
  }
  if (format === 'flac') {
    const info = await readStreamInfo(file, start);
    const seconds = info.samples ? info.samples / rate : null;
    return { format, rate, seconds, note: '', blocks: () => checked(flacBlocks(file, info)) };
  }
  if (format === 'mp3') return { format, rate, seconds: null, note: '', blocks: () => checked(mp3Blocks(file, start, rate)) };
  return { format, rate, seconds: null, note: noteOn(header), blocks: () => checked(wholeBlocks(file, rate)) };
}

/** Where the embeddings differ from the Python package's, because another decoder was at work. */
function noteOn({ format, madeFrom }) {
  if (format === 'm4a') return 'the last windows can differ from the Python package’s';
  if (format === 'webm') return 'differs from the Python package by up to 1 %';
  if (format === 'opus' && madeFrom < 48000) return 'made at a lower rate: differs from the Python package by up to 10 %';
  return '';
}

async function* flacBlocks(file, info) {
  for await (const chunk of flacChunks(file, info, BLOCK_SECONDS)) {
    yield mixDown(await decode(chunk, info.rate), info.bits <= 16 ? undoAsymmetry : null);
  }
}

async function* mp3Blocks(file, start, rate) {
  let given = false;
  try {
    for await (const { bytes, samples, skip, cut } of mp3Pieces(file, start, 4 * BLOCK_SECONDS)) {
      const mono = mixDown(await decode(bytes, rate), null);
      // New samples are counted from the end: what a decoder leaves out, it leaves out at the beginning.
      yield mono.subarray(Math.max(mono.length - samples, 0) + skip, mono.length - cut);
      given = true;
    }
  } catch (error) {
    if (given || !(error instanceof RangeError)) throw error;
    yield* wholeBlocks(file, rate);
  }
}

async function* wholeBlocks(file, rate) {
  const audio = await decode(await file.arrayBuffer(), rate);
  const channels = Array.from({ length: audio.numberOfChannels }, (_, c) => audio.getChannelData(c));
  const length = Math.ceil(BLOCK_SECONDS * rate);
  for (let start = 0; start < audio.length; start += length) {
    yield average(channels.map((channel) => channel.subarray(start, start + length)));
  }
}

async function decode(bytes, rate) {
  let context;
  try {
    context = new OfflineAudioContext(1, 1, rate);
  } catch {
    throw new DecodeError(`has a rate of ${rate} Hz, which this browser cannot decode`);
  }
  try {
    return await context.decodeAudioData(bytes);
  } catch {
    throw new DecodeError('is damaged, or in a codec that this browser does not have');
  }
}

function mixDown(audio, repair) {
  const channels = Array.from({ length: audio.numberOfChannels }, (_, c) => audio.getChannelData(c));
  if (repair) channels.forEach(repair);
  return average(channels);
}

function average(channels) {
  if (channels.length === 1) return channels[0].slice();
  const mono = new Float32Array(channels[0].length);
  for (let n = 0; n < mono.length; n++) {
    let sum = 0;
    for (const channel of channels) sum += channel[n];
    mono[n] = sum / channels.length;
  }
  return mono;
}

// Chromium divides positive 16-bit samples by 32767 and negative ones by 32768. Only the first are off the grid.
function undoAsymmetry(samples) {
  for (let n = 0; n < samples.length; n++) {
    const value = samples[n] * 32768;
    if (value > 0 && value !== Math.trunc(value)) samples[n] = Math.round(samples[n] * 32767) / 32768;
  }
}

async function* checked(blocks) {
  let done = 0;
  for await (const block of blocks) {
    for (let n = 0; n < block.length; n++) {
      if (!Number.isFinite(block[n])) throw new DecodeError(`has a NaN or infinite sample (number ${done + n})`);
    }
    done += block.length;
    if (block.length) yield block;
  }
  if (!done) throw new DecodeError('has no samples');
}
