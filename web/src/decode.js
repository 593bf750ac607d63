// From a file to mono blocks at the file's own rate. WAV is read here, bit for bit; MP3 and Opus are decoded as in the
// Python package, in a thread of their own; FLAC and Ogg Vorbis are handed to the browser's decoder some seconds at a
// time. So none of these needs memory for the whole recording. The browser decodes the rest in one piece.

import { flacChunks, readStreamInfo } from './flac.js';
import { identify } from './identify.js';
import { DamageError, average, pieces } from './pieces.js';
import { vorbisPieces } from './vorbis.js';
import { wavBlocks } from './wav.js';

const BLOCK_SECONDS = 5;
const READ = 1 << 18; // bytes

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
  const { format, rate, codec, data, channels } = header;
  const known = { format, rate, seconds: null, note: '' };
  if (data) {
    known.seconds = data.length / data.frame / rate;
    if (header.truncated) known.note = 'the file ends before its header says';
    return { ...known, blocks: () => checked(wavBlocks(file, data, Math.ceil(BLOCK_SECONDS * rate))) };
  }
  if (codec === 'flac') {
    const info = await readStreamInfo(file, header.start);
    if (info.samples) known.seconds = info.samples / rate;
    return { ...known, blocks: () => checked(flacBlocks(file, info)) };
  }
  if (codec === 'vorbis') return { ...known, blocks: () => checked(vorbisBlocks(file, header)) };
  if (codec === 'mp3' || (codec === 'opus' && channels <= 2)) return { ...known, blocks: () => checked(codedBlocks(file, header)) };
  if (codec === 'opus') throw new DecodeError(`has ${channels} channels of Opus; this page decodes up to 2`);
  return { ...known, note: NOTES[format] ?? '', blocks: () => checked(wholeBlocks(file, rate)) };
}

/** Where the embeddings differ from the Python package's, because another decoder was at work. */
const NOTES = {
  m4a: 'the last windows can differ from the Python package’s',
  webm: 'differs from the Python package by up to 1 %',
};

async function* codedBlocks(file, header) {
  const worker = new Worker(new URL('./codec-worker.js', import.meta.url), { type: 'module' });
  const next = (message) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data: { failed, damaged, samples, done } }) => {
        if (failed === undefined) resolve({ samples, done });
        else reject(damaged ? new DamageError(failed) : new Error(failed));
      };
      worker.onerror = (event) => reject(new Error(event.message || 'the decoder could not be started'));
      worker.postMessage(message);
    });
  try {
    let { samples, done } = await next({ file, header });
    while (!done) {
      yield samples;
      ({ samples, done } = await next(null));
    }
  } finally {
    worker.terminate();
  }
}

async function* flacBlocks(file, info) {
  for await (const chunk of flacChunks(file, info, BLOCK_SECONDS)) {
    const channels = channelsOf(await decode(chunk, info.rate));
    if (info.bits <= 16) channels.forEach(undoAsymmetry);
    yield average(channels);
  }
}

async function* vorbisBlocks(file, header) {
  for await (const { bytes, samples } of vorbisPieces(pieces(file, header.start, READ), header, BLOCK_SECONDS)) {
    const mono = average(channelsOf(await decode(bytes, header.rate)));
    yield mono.subarray(Math.max(mono.length - samples, 0));
  }
}

async function* wholeBlocks(file, rate) {
  const channels = channelsOf(await decode(await file.arrayBuffer(), rate));
  const length = Math.ceil(BLOCK_SECONDS * rate);
  for (let start = 0; start < channels[0].length; start += length) {
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

function channelsOf(audio) {
  return Array.from({ length: audio.numberOfChannels }, (_, c) => audio.getChannelData(c));
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
  try {
    for await (const block of blocks) {
      for (let n = 0; n < block.length; n++) {
        if (!Number.isFinite(block[n])) throw new DecodeError(`has a NaN or infinite sample (number ${done + n})`);
      }
      done += block.length;
      if (block.length) yield block;
    }
  } catch (error) {
    throw error instanceof DamageError ? new DecodeError(`cannot be read to its end: ${error.message}`) : error;
  }
  if (!done) throw new DecodeError('has no samples');
}
