// kaiser_best of resampy 0.2.2, block by block: the resampler behind the published embeddings.

const ZERO_CROSSINGS = 64;
const STEPS = 512; // of the table, per zero crossing
const BETA = 14.769656459379492;
const ROLLOFF = 0.9475937167399596;
const SIZE = ZERO_CROSSINGS * STEPS + 1;

let filter = null; // the half filter at unit ratio, made when it is first needed

function besselI0(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function halfFilter() {
  if (filter) return filter;
  filter = new Float64Array(SIZE);
  for (let i = 0; i < SIZE; i++) {
    const x = Math.PI * ROLLOFF * (i / STEPS);
    const taper = besselI0(BETA * Math.sqrt(1 - (i / (SIZE - 1)) ** 2)) / besselI0(BETA);
    filter[i] = taper * ROLLOFF * (i === 0 ? 1 : Math.sin(x) / x);
  }
  return filter;
}

/**
 * The blocks that `push` and `flush` return, joined, are the whole signal at the rate `to`:
 * `Math.trunc(n * (to / from))` samples for the n that were pushed.
 */
export class Resampler {
  /**
   * @param {number} from rate of the samples that will be pushed, Hz
   * @param {number} to rate of the samples that come back, Hz; at least from / 512
   */
  constructor(from, to) {
    if (!(from > 0 && from < Infinity && to > 0 && to < Infinity && to * STEPS >= from)) {
      throw new RangeError(`cannot resample from ${from} Hz to ${to} Hz: rates are positive, and at most a factor of ${STEPS} goes down`);
    }
    this.ratio = to / from;
    this.scale = Math.min(1, this.ratio);
    this.step = Math.trunc(this.scale * STEPS); // truncated, as in resampy: this is what makes the published numbers
    this.reach = Math.floor(SIZE / this.step) + 1; // samples on either side of an output
    const table = halfFilter();
    this.table = new Float64Array(SIZE);
    this.slope = new Float64Array(SIZE);
    for (let i = 0; i < SIZE; i++) this.table[i] = table[i] * this.scale;
    for (let i = 0; i < SIZE - 1; i++) this.slope[i] = this.table[i + 1] - this.table[i];
    this.time = 0; // of the next output, in input samples: a running sum, its rounding included, as in resampy
    this.received = 0;
    this.returned = 0;
    this.origin = 0; // index of the first sample in `held`
    this.held = new Float32Array(0);
  }

  /** @param {Float32Array} block @returns {Float32Array} what this block completes */
  push(block) {
    if (this.ratio === 1) return block.slice();
    const keep = Math.max(Math.trunc(this.time) - this.reach - this.origin, 0);
    const rest = this.held.subarray(Math.min(keep, this.held.length));
    this.origin += Math.min(keep, this.held.length);
    const joined = new Float32Array(rest.length + block.length);
    joined.set(rest);
    joined.set(block, rest.length);
    this.held = joined;
    this.received += block.length;
    const ready = (this.received - this.reach - this.time) * this.ratio;
    return this.#make(Math.max(Math.floor(ready), 0));
  }

  /** @returns {Float32Array} the rest; the signal ends here */
  flush() {
    if (this.ratio === 1) return new Float32Array(0);
    return this.#make(Math.trunc(this.received * this.ratio) - this.returned);
  }

  #make(count) {
    const { held, origin, received, reach, scale, step, table, slope } = this;
    const output = new Float32Array(count);
    const increment = 1 / this.ratio;
    for (let k = 0; k < count; k++, this.time += increment) {
      const n = Math.trunc(this.time);
      const fraction = scale * (this.time - n);
      let sum = 0;
      let position = fraction * STEPS;
      let offset = Math.trunc(position);
      let eta = position - offset;
      let taps = Math.min(n + 1, Math.trunc((SIZE - offset) / step));
      for (let i = 0, at = offset, x = n - origin; i < taps; i++, at += step, x--) {
        sum += (table[at] + eta * slope[at]) * held[x];
      }
      position = (scale - fraction) * STEPS;
      offset = Math.trunc(position);
      eta = position - offset;
      taps = Math.min(received - n - 1, Math.trunc((SIZE - offset) / step), reach);
      for (let i = 0, at = offset, x = n + 1 - origin; i < taps; i++, at += step, x++) {
        sum += (table[at] + eta * slope[at]) * held[x];
      }
      output[k] = sum;
    }
    this.returned += count;
    return output;
  }
}
