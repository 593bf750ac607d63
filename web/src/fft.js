// The power spectrum of real frames, in float64: a complex transform of half the length, then unpacked.

export class PowerSpectrum {
  /** @param {number} size samples of a frame, a power of two */
  constructor(size) {
    const half = size / 2;
    this.half = half;
    this.re = new Float64Array(half);
    this.im = new Float64Array(half);
    this.cos = Float64Array.from({ length: half }, (_, k) => Math.cos((2 * Math.PI * k) / size));
    this.sin = Float64Array.from({ length: half }, (_, k) => Math.sin((2 * Math.PI * k) / size));
    const bits = Math.log2(half);
    this.reversed = Uint32Array.from({ length: half }, (_, k) => {
      let r = 0;
      for (let b = 0; b < bits; b++) r |= ((k >> b) & 1) << (bits - 1 - b);
      return r;
    });
  }

  /**
   * @param {Float64Array} frame (size,)
   * @param {Float64Array} power (size / 2 + 1,), written
   */
  of(frame, power) {
    const { half, re, im, cos, sin, reversed } = this;
    for (let k = 0; k < half; k++) {
      re[reversed[k]] = frame[2 * k];
      im[reversed[k]] = frame[2 * k + 1];
    }
    for (let length = 2; length <= half; length *= 2) {
      const middle = length / 2;
      const stride = (2 * half) / length;
      for (let start = 0; start < half; start += length) {
        for (let k = 0, w = 0; k < middle; k++, w += stride) {
          const a = start + k;
          const b = a + middle;
          const x = re[b] * cos[w] + im[b] * sin[w];
          const y = im[b] * cos[w] - re[b] * sin[w];
          re[b] = re[a] - x;
          im[b] = im[a] - y;
          re[a] += x;
          im[a] += y;
        }
      }
    }
    power[0] = (re[0] + im[0]) ** 2;
    power[half] = (re[0] - im[0]) ** 2;
    for (let k = 1; k < half; k++) {
      const m = half - k;
      const evenRe = 0.5 * (re[k] + re[m]);
      const evenIm = 0.5 * (im[k] - im[m]);
      const oddRe = 0.5 * (im[k] + im[m]);
      const oddIm = -0.5 * (re[k] - re[m]);
      const x = evenRe + oddRe * cos[k] + oddIm * sin[k];
      const y = evenIm + oddIm * cos[k] - oddRe * sin[k];
      power[k] = x * x + y * y;
    }
  }
}
