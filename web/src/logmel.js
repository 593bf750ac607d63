// From a signal at the model's rate to the log-mel images that the network takes, as Kapre 0.1.4 makes them.

import { PowerSpectrum } from './fft.js';

const hzToMel = (hz) => 2595 * Math.log10(1 + hz / 700);
const melToHz = (mel) => 700 * (10 ** (mel / 2595) - 1);

/** Edges of the HTK mel bands in Hz: band m rises from edge m to m + 1 and falls to m + 2. */
export function melEdges({ n_mels, sample_rate }) {
  const top = hzToMel(sample_rate / 2);
  return Float64Array.from({ length: n_mels + 2 }, (_, m) => melToHz((top * m) / (n_mels + 1)));
}

/** The log magnitude of one frame in each mel band, in dB. */
class MelFrame {
  constructor(spec) {
    const { n_fft, n_mels, sample_rate, amin } = spec;
    this.spectrum = new PowerSpectrum(n_fft);
    this.frame = new Float64Array(n_fft);
    this.power = new Float64Array(n_fft / 2 + 1);
    this.hann = Float64Array.from({ length: n_fft }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / n_fft));
    this.amin = amin;
    const edges = melEdges(spec);
    this.bands = Array.from({ length: n_mels }, (_, m) => {
      const [low, peak, high] = edges.subarray(m, m + 3);
      const first = Math.ceil((low * n_fft) / sample_rate);
      const weights = [];
      for (let bin = first; bin <= n_fft / 2 && (bin * sample_rate) / n_fft < high; bin++) {
        const hz = (bin * sample_rate) / n_fft;
        const weight = Math.min((hz - low) / (peak - low), (high - hz) / (high - peak));
        weights.push(Math.max(weight, 0) * (2 / (high - low))); // Slaney's area normalisation
      }
      return { first, weights: Float64Array.from(weights) };
    });
  }

  /** Samples `start + from` to `start + to` of `signal`, zero elsewhere in the frame; writes `row` (n_mels,). */
  of(signal, start, from, to, row) {
    const { frame, power, hann, bands, amin } = this;
    frame.fill(0);
    for (let n = from; n < to; n++) frame[n] = signal[start + n] * hann[n];
    this.spectrum.of(frame, power);
    for (let m = 0; m < bands.length; m++) {
      const { first, weights } = bands[m];
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * power[first + k];
      row[m] = 10 * Math.log10(Math.max(Math.sqrt(sum), amin));
    }
  }
}

/**
 * Cuts a signal that arrives in blocks into windows of one second and gives their log-mel images.
 *
 * The STFT frames of all windows lie on one grid, so neighbouring windows share all but the few frames that reach
 * over a window's edge and see zeros there. `spec` is the front end that the graph's metadata names.
 */
export class MelStream {
  /**
   * @param {object} spec sample_rate, n_fft, hop_length, n_mels, amin, top_db
   * @param {object} [options] hop: seconds between windows, a multiple of the STFT's hop; center: half a second of
   *   zeros in front, so that a window's time is that of its middle
   */
  constructor(spec, { hop = 0.1, center = true } = {}) {
    const length = spec.sample_rate; // samples of a window
    this.stride = (hop * spec.sample_rate) / spec.hop_length; // STFT frames between windows
    if (Math.abs(this.stride - Math.round(this.stride)) > 1e-9 || this.stride < 1) {
      throw new RangeError(`hop is ${hop} s; a multiple of ${spec.hop_length / spec.sample_rate} s is needed`);
    }
    this.stride = Math.round(this.stride);
    this.spec = spec;
    this.length = length;
    this.columns = Math.ceil(length / spec.hop_length);
    this.padLeft = Math.max((this.columns - 1) * spec.hop_length + spec.n_fft - length, 0) >> 1;
    this.mel = new MelFrame(spec);
    this.lead = center ? length >> 1 : 0; // zeros in front
    this.held = new Float32Array(this.lead);
    this.origin = 0; // index, in the signal with the zeros in front, of the first sample in `held`
    this.received = this.lead;
    this.windows = 0; // given so far
    this.rows = []; // of the grid, those that windows to come will need
    this.firstRow = 0; // grid index of rows[0]
    this.nextFrame = 0; // grid index of the frame after those in `rows`
  }

  /**
   * @param {Float32Array} samples at the model's rate
   * @returns {{count: number, images: Float32Array, frames: Float32Array}} the windows that these samples complete,
   *   images (count, n_mels, columns) in dB below each window's maximum; and the grid's new frames (k, n_mels) in dB,
   *   those of the zeros in front left out
   */
  push(samples) {
    const joined = new Float32Array(this.held.length + samples.length);
    joined.set(this.held);
    joined.set(samples, this.held.length);
    this.held = joined;
    this.received += samples.length;
    const end = this.received - this.length;
    const total = end < 0 ? 0 : 1 + Math.floor(end / (this.stride * this.spec.hop_length));
    return this.#complete(total - this.windows, this.received);
  }

  /** The windows that are left, the last padded with zeros. The signal ends here. */
  flush() {
    const ended = this.received;
    if (ended === this.lead) return this.#complete(0, 0);
    const hop = this.stride * this.spec.hop_length;
    const total = 1 + Math.ceil(Math.max(ended - this.length, 0) / hop);
    const zeros = (total - 1) * hop + this.length - ended;
    const joined = new Float32Array(this.held.length + Math.max(zeros, 0));
    joined.set(this.held);
    this.held = joined;
    this.received += Math.max(zeros, 0);
    return this.#complete(total - this.windows, ended);
  }

  #complete(count, heard) {
    const { spec, stride, columns } = this;
    const { n_mels, n_fft, hop_length, top_db } = spec;
    const fresh = this.#extendGrid(heard);
    const images = new Float32Array(Math.max(count, 0) * n_mels * columns);
    const edge = new Float64Array(n_mels);
    for (let k = 0; k < count; k++) {
      const start = this.windows * stride * hop_length;
      const columnsOf = [];
      let top = -Infinity;
      for (let t = 0; t < columns; t++) {
        const first = t * hop_length - this.padLeft; // of the frame, in the window
        let row = this.rows[this.windows * stride + t - this.firstRow];
        if (first < 0 || first + n_fft > this.length) {
          row = new Float64Array(n_mels);
          const from = Math.max(-first, 0);
          const to = Math.min(n_fft, this.length - first);
          this.mel.of(this.held, start + first - this.origin, from, to, row);
        }
        columnsOf.push(row);
        for (let m = 0; m < n_mels; m++) if (row[m] > top) top = row[m];
      }
      const base = k * n_mels * columns;
      for (let t = 0; t < columns; t++) {
        const row = columnsOf[t];
        for (let m = 0; m < n_mels; m++) images[base + m * columns + t] = Math.max(row[m] - top, -top_db);
      }
      this.windows++;
    }
    this.#forget();
    return { count: Math.max(count, 0), images, frames: fresh };
  }

  /** Makes the frames of the grid whose samples are all there; gives those that begin before `heard` for display. */
  #extendGrid(heard) {
    const { hop_length, n_fft, n_mels } = this.spec;
    const shown = [];
    for (; ; this.nextFrame++) {
      const start = this.nextFrame * hop_length - this.padLeft;
      if (start + n_fft > this.received) break;
      const row = new Float64Array(n_mels);
      const from = Math.max(-start, 0);
      this.mel.of(this.held, start - this.origin, from, n_fft, row);
      this.rows.push(row);
      const middle = start + n_fft / 2;
      if (middle >= this.lead && middle < heard) shown.push(row);
    }
    const frames = new Float32Array(shown.length * n_mels);
    shown.forEach((row, k) => frames.set(row, k * n_mels));
    return frames;
  }

  #forget() {
    this.firstRow += this.rows.splice(0, this.windows * this.stride - this.firstRow).length;
    const needed = Math.min(
      this.windows * this.stride * this.spec.hop_length,
      this.nextFrame * this.spec.hop_length - this.padLeft,
    );
    const drop = Math.min(Math.max(needed - this.origin, 0), this.held.length);
    this.held = this.held.slice(drop);
    this.origin += drop;
  }
}
