// Sounds to try the page with, made here: a bird that calls three times, another that trills, knocks, an engine
// that passes, and wind.

import { wavBlob } from './wav.js';

export const RATE = 16000; // Hz
export const SECONDS = 24;
/** When the calls of the first bird begin, in seconds; each lasts CALL_SECONDS. */
export const CALLS = [2.1, 9.4, 18.2];
export const CALL_SECONDS = 0.8;

/** @returns {Float32Array} always the same samples, at 16 kHz */
export function exampleSamples() {
  const samples = new Float32Array(SECONDS * RATE);
  const random = generator(7);
  let slow = 0;
  for (let n = 0; n < samples.length; n++) { // wind
    slow += 0.02 * (random() - 0.5 - slow * 0.5);
    samples[n] = 0.35 * slow * (1 + 0.4 * Math.sin((2 * Math.PI * n) / RATE / 7)) + 0.004 * (random() - 0.5);
  }
  CALLS.forEach((at, k) => call(samples, at, [1, 1.03, 0.98][k], [0.3, 0.22, 0.26][k]));
  for (const at of [6.3, 14.6]) trill(samples, at);
  for (const at of [4.4, 4.75, 5.1, 12.2, 12.55, 21.0, 21.35, 21.7]) knock(samples, at, random);
  engine(samples, 14.8, random);
  return samples;
}

/** The example as a file. */
export function exampleFile() {
  const samples = exampleSamples();
  const blob = wavBlob([Int16Array.from(samples, (v) => Math.round(v * 32767))], samples.length, RATE);
  return new File([blob], 'Example: birds, knocks, an engine.wav', { type: 'audio/wav' });
}

/** Two falling whistles, the second lower and longer. */
function call(samples, at, pitch, gain) {
  whistle(samples, at, 0.28, (t) => pitch * (2900 - 1500 * t), gain);
  whistle(samples, at + 0.36, 0.44, (t) => pitch * (2300 - 700 * t + 60 * Math.sin(2 * Math.PI * 18 * t)), gain);
}

/** Short rising notes, one after the other. */
function trill(samples, at) {
  for (let k = 0; k < 9; k++) whistle(samples, at + 0.1 * k, 0.07, (t) => 1500 + 60 * k + 7000 * t, 0.18);
}

function whistle(samples, at, seconds, pitch, gain) {
  const count = Math.round(seconds * RATE);
  const first = Math.round(at * RATE);
  for (let n = 0, phase = 0; n < count; n++) {
    phase += (2 * Math.PI * pitch(n / RATE)) / RATE;
    const shape = Math.sin((Math.PI * n) / count) ** 0.6;
    samples[first + n] += gain * shape * (Math.sin(phase) + 0.12 * Math.sin(2 * phase));
  }
}

function knock(samples, at, random) {
  const first = Math.round(at * RATE);
  for (let n = 0; n < 0.2 * RATE; n++) {
    const t = n / RATE;
    samples[first + n] += 0.5 * Math.exp(-38 * t) * (Math.sin(2 * Math.PI * 310 * t) + 0.7 * (random() - 0.5));
  }
}

/** Harmonics of 62 Hz, louder and a little higher while it comes, then lower. */
function engine(samples, at, random) {
  const seconds = 3.4;
  const first = Math.round(at * RATE);
  let rough = 0;
  for (let n = 0, phase = 0; n < seconds * RATE; n++) {
    const t = n / RATE / seconds;
    phase += (2 * Math.PI * 62 * (1.06 - 0.12 / (1 + Math.exp(-12 * (t - 0.5))))) / RATE;
    rough += 0.2 * (random() - 0.5 - rough);
    let sum = rough;
    for (let h = 1; h <= 14; h++) sum += Math.sin(h * phase + h * h) / h ** 0.9;
    samples[first + n] += 0.05 * Math.sin(Math.PI * t) ** 2 * sum;
  }
}

/** Uniform numbers from 0 to 1, the same in every browser: a linear congruential generator. */
function generator(seed) {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
