// One open recording: what the page keeps of it. Of the sound itself it keeps a link to the file, nothing more.

import { Growable } from './growable.js';

export const HOP = 0.1; // seconds between windows
export const FRAME = 0.02; // seconds between columns of the spectrogram
const EDGE = 5; // windows at either end that see zeros instead of sound
const QUANTUM = 0.25; // dB
const FLOOR = -40; // dB that becomes 0; 255 is 23.75 dB, above full scale

let next = 1;

export class Recording {
  constructor(name, dimension, bands) {
    this.id = next++;
    this.name = name;
    this.dimension = dimension;
    this.bands = bands;
    this.state = 'waiting'; // then reading or listening (a microphone), then done; removed, if it is closed
    this.note = ''; // what to know about it
    this.format = '';
    this.rate = 0;
    this.announced = null; // seconds, where its header says
    this.url = null; // to play it
    this.embeddings = new Growable(Float32Array); // (windows, dimension)
    this.mel = new Growable(Uint8Array); // (columns, bands), dB in steps of QUANTUM
    this.peaks = new Growable(Int8Array); // (columns, 2)
    this.histogram = new Uint32Array(256); // of the values in mel
  }

  get windows() {
    return this.embeddings.length / this.dimension;
  }

  get columns() {
    return this.mel.length / this.bands;
  }

  /** Seconds: what the header says, or what was heard so far. */
  get seconds() {
    return Math.max(this.announced ?? 0, this.columns * FRAME);
  }

  get heard() {
    return this.columns * FRAME;
  }

  /** Windows [first, last) that have sound from end to end; all of them where the recording is too short for that. */
  get whole() {
    const ended = this.state === 'done';
    const last = this.windows - (ended ? EDGE : 0);
    return last - EDGE >= 1 ? [EDGE, last] : [0, this.windows];
  }

  embedding(window) {
    return this.embeddings.view(window * this.dimension, (window + 1) * this.dimension);
  }

  add({ embedding, frames, peaks }) {
    this.embeddings.push(embedding);
    this.peaks.push(peaks);
    const levels = Uint8Array.from(frames, (dB) => Math.min(Math.max(Math.round((dB - FLOOR) / QUANTUM), 0), 255));
    for (const level of levels) this.histogram[level]++;
    this.mel.push(levels);
  }

  /** The levels between which the spectrogram's colours are spread: the usual background, and nearly the loudest. */
  get range() {
    const total = this.mel.length;
    const at = (share) => {
      let sum = 0;
      for (let level = 0; level < 256; level++) {
        sum += this.histogram[level];
        if (sum >= share * total) return level;
      }
      return 255;
    };
    const low = at(0.25);
    return [low, Math.max(at(0.9985), low + 40)];
  }
}
