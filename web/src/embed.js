/**
 * Audio embeddings in the browser, with the numbers of the Python package edgel3_onnx.
 *
 *     import { load } from './embed.js';
 *     const model = await load();
 *     const { embedding, timestamps } = await model.embed(samples, 44100);
 *
 * Runs on any thread; an embedding takes some milliseconds of it, so a page does better in a worker.
 */

import { MelStream } from './logmel.js';
import { Resampler } from './resample.js';

const BATCH = 10; // windows per run: one second of them, so that live results are not held back

/**
 * Load the model.
 *
 * @param {string | URL} [url] the folder with model.json, the graph and ONNX Runtime that `build.mjs` makes;
 *   default: `../model/` beside this module
 * @returns {Promise<Model>}
 * @throws {Error} if a file is missing or is not the one that model.json names, or there is no WebAssembly
 */
export async function load(url = new URL('../model/', import.meta.url)) {
  if (typeof WebAssembly !== 'object') throw new Error('this browser has no WebAssembly, or it is switched off');
  const base = new URL(url, globalThis.location?.href ?? import.meta.url);
  const description = await (await fetched(new URL('model.json', base))).json();
  const graph = await (await fetched(new URL(description.file, base))).arrayBuffer();
  if (globalThis.crypto?.subtle) { // browsers have it on https and localhost only
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', graph));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
    if (found !== description.sha256) {
      throw new Error(`${description.file}: expected sha256 ${description.sha256}, got ${found}; load the page anew`);
    }
  }
  const runtime = new URL('ort/', base);
  const ort = await import(new URL('ort.wasm.min.mjs', runtime).href);
  ort.env.wasm.wasmPaths = runtime.href;
  ort.env.wasm.numThreads = 1; // more need headers that few hosts send
  const session = await ort.InferenceSession.create(graph, { executionProviders: ['wasm'] });
  return new Model(ort, session, description);
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname}: the server answered ${response.status}`);
  return response;
}

export class Model {
  #ort;
  #session;

  constructor(ort, session, description) {
    this.#ort = ort;
    this.#session = session;
    /** @type {string} the model's name, "micro" */
    this.name = description.variant;
    /** @type {string} sha256 of the graph, hex: embeddings of two digests do not compare */
    this.digest = description.sha256;
    /** @type {number} values of an embedding, 64 */
    this.dimension = description.dimension;
    /** The front end's numbers, as the graph's metadata names them. */
    this.frontEnd = description.frontend;
  }

  /**
   * Embed a whole signal, a window of one second every `hop` seconds.
   *
   * @param {Float32Array} samples mono, finite, any gain
   * @param {number} rate Hz
   * @param {{hop?: number, center?: boolean}} [options] as of `stream`
   * @returns {Promise<Result>}
   * @throws {RangeError} if there are no samples, or one is not finite, or the rate or hop is not possible
   */
  async embed(samples, rate, options) {
    const stream = this.stream(rate, options);
    if (samples.length === 0) throw new RangeError('samples is empty; at least one sample is needed');
    const parts = [];
    for (let start = 0; start < samples.length; start += Math.ceil(rate)) {
      parts.push(await stream.push(samples.subarray(start, start + Math.ceil(rate))));
    }
    parts.push(await stream.flush());
    return {
      embedding: joined(parts.map((part) => part.embedding), Float32Array),
      timestamps: joined(parts.map((part) => part.timestamps), Float64Array),
    };
  }

  /**
   * Embed audio while it arrives.
   *
   * @param {number} rate Hz, of the samples that will be pushed
   * @param {{hop?: number, center?: boolean}} [options] hop: seconds between windows, a multiple of 0.02, default
   *   0.1. center: half a second of zeros in front, so that a timestamp is the middle of its window; default true
   * @returns {Stream}
   */
  stream(rate, options) {
    return new Stream(this, rate, options);
  }

  /** @param {Float32Array} images (count, 1, n_mels, columns) @returns {Promise<Float32Array>} (count, dimension) */
  async run(images, count) {
    const output = new Float32Array(count * this.dimension);
    const size = images.length / count;
    for (let first = 0; first < count; first += BATCH) {
      const last = Math.min(first + BATCH, count);
      const shape = [last - first, 1, this.frontEnd.n_mels, size / this.frontEnd.n_mels];
      const batch = new this.#ort.Tensor('float32', images.subarray(first * size, last * size), shape);
      const { embedding } = await this.#session.run({ melspectrogram: batch });
      output.set(embedding.data, first * this.dimension);
    }
    return output;
  }
}

/**
 * @typedef {object} Result
 * @property {Float32Array} embedding (T, dimension), row after row
 * @property {Float64Array} timestamps (T,), seconds from the first sample
 */

export class Stream {
  #model;
  #resampler;
  #mel;
  #hop;
  #count = 0;

  constructor(model, rate, { hop = 0.1, center = true } = {}) {
    this.#model = model;
    this.#resampler = new Resampler(rate, model.frontEnd.sample_rate);
    this.#mel = new MelStream(model.frontEnd, { hop, center });
    this.#hop = hop;
  }

  /**
   * @param {Float32Array} samples mono, any number of them
   * @returns {Promise<Result & {frames: Float32Array}>} of the windows that end within these samples; and, to draw,
   *   the STFT frames (k, n_mels) that they complete, in dB, one every 0.02 s
   * @throws {RangeError} if a sample is not finite
   */
  async push(samples) {
    const bad = samples.findIndex((sample) => !Number.isFinite(sample));
    if (bad >= 0) throw new RangeError(`samples[${bad}] is ${samples[bad]}; all samples must be finite`);
    return this.#run(this.#mel.push(this.#resampler.push(samples)));
  }

  /** The windows that are left, the last padded with zeros. The signal ends here. */
  async flush() {
    const last = this.#mel.push(this.#resampler.flush());
    const rest = this.#mel.flush();
    const first = await this.#run(last);
    const second = await this.#run(rest);
    return {
      embedding: joined([first.embedding, second.embedding], Float32Array),
      timestamps: joined([first.timestamps, second.timestamps], Float64Array),
      frames: joined([first.frames, second.frames], Float32Array),
    };
  }

  async #run({ count, images, frames }) {
    const first = this.#count;
    this.#count += count;
    const timestamps = Float64Array.from({ length: count }, (_, k) => (first + k) * this.#hop);
    return { embedding: count ? await this.#model.run(images, count) : new Float32Array(0), timestamps, frames };
  }
}

function joined(parts, Type) {
  const all = new Type(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
