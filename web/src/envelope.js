// The outline of a waveform: the least and the largest sample of each fiftieth of a second.

export const PER_SECOND = 50;

export class Envelope {
  constructor(rate) {
    this.rate = rate;
    this.samples = 0;
    this.count = 0; // pairs given so far
    this.low = Infinity;
    this.high = -Infinity;
  }

  /** @param {Float32Array} samples @returns {Int8Array} (k, 2): least and largest of each, 127 is full scale */
  push(samples) {
    const pairs = [];
    for (let n = 0; n < samples.length; n++) {
      if (samples[n] < this.low) this.low = samples[n];
      if (samples[n] > this.high) this.high = samples[n];
      if (++this.samples >= ((this.count + 1) * this.rate) / PER_SECOND) this.#close(pairs);
    }
    return Int8Array.from(pairs);
  }

  flush() {
    const pairs = [];
    if (this.low <= this.high) this.#close(pairs);
    return Int8Array.from(pairs);
  }

  #close(pairs) {
    pairs.push(...[this.low, this.high].map((value) => Math.round(Math.min(Math.max(value, -1), 1) * 127)));
    this.count++;
    this.low = Infinity;
    this.high = -Infinity;
  }
}
