// The resampler and the log-mel images against the Python package's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MelStream } from '../src/logmel.js';
import { Resampler } from '../src/resample.js';
import { inBlocks, join32, makeReference, relativeError } from './reference.mjs';

const reference = makeReference();
const SEA = { sample_rate: 8000, n_fft: 1024, hop_length: 160, n_mels: 64, amin: 1e-10, top_db: 80 };

for (const { rate, input, output } of reference.resampled) {
  test(`resampling from ${rate} Hz`, (t) => {
    const signal = reference.array(input);
    const whole = new Resampler(rate, 8000);
    const parts = [whole.push(signal), whole.flush()];
    const error = relativeError(join32(parts), reference.array(output));
    t.diagnostic(`largest difference ${error.toExponential(1)}`);
    assert.ok(error <= 5e-7, `${error}`);

    const blockwise = new Resampler(rate, 8000);
    const pieces = [...inBlocks(signal, [1, 2048, 5, 0x1fff, 300])].map((block) => blockwise.push(block));
    assert.deepEqual(join32([...pieces, blockwise.flush()]), join32(parts), 'blocks show in the result');
  });
}

test('a rate that cannot be resampled is refused', () => {
  for (const rate of [0, -1, NaN, Infinity, 8000 * 513]) assert.throws(() => new Resampler(rate, 8000), RangeError);
});

for (const { hop, center, input, output } of reference.images) {
  test(`log-mel images of ${input}`, (t) => {
    const signal = reference.array(input);
    const stream = new MelStream(SEA, { hop, center });
    const parts = [...inBlocks(signal, [700, 1, 4096, 160])].map((block) => stream.push(block));
    parts.push(stream.flush());
    const error = relativeError(join32(parts.map((part) => part.images)), reference.array(output));
    t.diagnostic(`largest difference ${error.toExponential(1)}`);
    assert.ok(error <= 2e-6, `${error}`);

    const frames = join32(parts.map((part) => part.frames)).length / SEA.n_mels;
    assert.ok(Math.abs(frames - signal.length / SEA.hop_length) <= 3, `${frames} frames to show`);
  });
}

test('a hop off the grid of STFT frames is refused', () => {
  assert.throws(() => new MelStream(SEA, { hop: 0.015 }), /multiple of 0.02 s/);
});
