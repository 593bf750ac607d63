// Opus in Ogg (RFC 7845), decoded by libopus at the rate at which the Python package decodes it.

import { oggPages } from './ogg.js';
import { DamageError, joined } from './pieces.js';

const CLOCK = 48000; // Hz, of positions whatever the rate
const MAX_PACKET = 1 << 16; // bytes
const MAX_SAMPLES = 5760; // of a packet, 120 ms

/** @returns {AsyncGenerator<Float32Array>} mono blocks */
export async function* opusBlocks(bytes, header) {
  const libopus = await load();
  let stream = null;
  for await (const page of oggPages(bytes, header)) {
    if (page.first) stream = new Stream(libopus, header);
    yield stream.push(page);
  }
}

/** One recording; `push(page)` returns what of it begins in earlier pages and ends on this one. */
class Stream {
  #parts = []; // of a packet that goes on over pages
  #packets = 0;
  #start = null; // position at which the recording begins: above 0 where it was cut from a longer one
  #decoded = 0; // samples of each channel

  constructor(libopus, { rate, channels }) {
    this.decoder = new Decoder(libopus, rate, channels);
    this.factor = CLOCK / rate;
  }

  push({ body, sizes, last, position }) {
    const before = this.#decoded;
    const blocks = [];
    for (const packet of this.#complete(body, sizes)) {
      this.#packets++;
      if (this.#packets === 1) this.#readHead(packet);
      if (this.#packets > 2) blocks.push(this.decoder.decode(packet, this.gain)); // behind OpusHead and OpusTags
    }
    const mono = joined(blocks);
    this.#decoded += mono.length;
    if (this.#start === null && mono.length) this.#start = last ? 0 : Math.max(position - mono.length * this.factor, 0);
    const skip = Math.floor(this.skip / this.factor);
    const end = last ? skip + Math.floor((position - this.#start - this.skip) / this.factor) : Infinity;
    return mono.slice(Math.max(skip - before, 0), Math.max(end - before, 0));
  }

  #readHead(packet) {
    const view = new DataView(packet.buffer, packet.byteOffset);
    this.skip = view.getUint16(10, true); // samples that only bring the decoder into the right state
    this.gain = 10 ** (view.getInt16(16, true) / 256 / 20);
  }

  *#complete(body, sizes) {
    let at = 0;
    for (const size of sizes) {
      this.#parts.push(body.subarray(at, at + size));
      at += size;
      if (size === 255) continue;
      yield joined(this.#parts);
      this.#parts = [];
    }
  }
}

/**
 * libopus out of the package opus-recorder: its WebAssembly alone, without its thread. The one-letter names are those of
 * the version in package.json.
 */
async function load() {
  const response = await fetch(new URL('../codecs/libopus.wasm', import.meta.url));
  if (!response.ok) throw new Error(`libopus.wasm: the server answered ${response.status}`);
  const fail = () => {
    throw new Error('libopus failed');
  };
  const copy = (to, from, length) => new Uint8Array(exports.g.buffer).copyWithin(to, from, from + length);
  const imports = { a: { a: fail, b: fail, c: fail, d: fail, e: copy, f: fail } };
  const { exports } = (await WebAssembly.instantiate(await response.arrayBuffer(), imports)).instance;
  exports.h();
  return { memory: exports.g, create: exports.i, decodeFloat: exports.j, malloc: exports.o };
}

class Decoder {
  constructor(libopus, rate, channels) {
    this.libopus = libopus;
    this.channels = channels;
    this.input = libopus.malloc(MAX_PACKET);
    this.output = libopus.malloc(MAX_SAMPLES * channels * 4);
    this.state = libopus.create(rate, channels, libopus.malloc(4));
    if (!this.state) throw new Error(`libopus does not decode ${channels} channels at ${rate} Hz`);
  }

  /** @returns {Float32Array} the mean of the channels */
  decode(packet, gain) {
    const { memory, decodeFloat } = this.libopus;
    if (packet.length > MAX_PACKET) throw new DamageError('a packet is too long');
    new Uint8Array(memory.buffer).set(packet, this.input);
    const length = decodeFloat(this.state, this.input, packet.length, this.output, MAX_SAMPLES, 0);
    if (length < 0) throw new DamageError(`libopus: error ${length}`);
    const samples = new Float32Array(memory.buffer, this.output, length * this.channels);
    if (this.channels === 1) return samples.map((value) => value * gain);
    return Float32Array.from({ length }, (_, n) => ((samples[2 * n] + samples[2 * n + 1]) / 2) * gain);
  }
}
