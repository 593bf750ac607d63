// Similarity, classes, principal components and labels, on embeddings that are made up.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Classes, detections } from '../src/classes.js';
import { audacityLabels, embeddingsCsv } from '../src/labels.js';
import { principalComponents } from '../src/pca.js';
import { Recording } from '../src/recording.js';
import { centred, meanEmbedding, nearest, similarities, windowsOf } from '../src/similarity.js';

const DIMENSION = 8;
const MODEL = { name: 'micro', digest: 'ab'.repeat(32), dimension: DIMENSION };

/** Window w is of the kind that `kinds` names at w; each kind has a direction of its own on a large common one. */
function recording(name, kinds, noise = 0.02) {
  const made = new Recording(name, DIMENSION, 4);
  let state = name.length * 7919 + kinds.length;
  const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32 - 0.5) * noise;
  const rows = [...kinds].flatMap((kind) =>
    Array.from({ length: DIMENSION }, (_, k) => 3 + (k === 'abcdefgh'.indexOf(kind) ? 1 : 0) + random()),
  );
  made.add({ embedding: Float32Array.from(rows), frames: [], peaks: [] });
  made.state = 'done';
  return made;
}

const repeat = (text, n) => text.repeat(n);
const FIRST = recording('first.wav', repeat('a', 20) + repeat('b', 10) + repeat('a', 20) + repeat('c', 10) + repeat('a', 20));
const SECOND = recording('second.wav', repeat('d', 30) + repeat('b', 10) + repeat('d', 30));

test('the nearest windows are those of the same kind, in other places, best first', () => {
  const query = { recording: FIRST, start: 2.0, end: 2.9 };
  const scores = similarities([FIRST, SECOND], query);
  const found = nearest(scores, query, 3);
  assert.equal(found[0].recording, SECOND);
  assert.ok(found[0].time >= 3 && found[0].time < 4 && found[0].score > 0.95, JSON.stringify(found[0].time));
  assert.ok(found[1].score < 0.3, `${found[1].score}`);
  assert.deepEqual(found.map((m) => m.score), found.map((m) => m.score).sort((a, b) => b - a));
  for (const m of found) assert.ok(!(m.recording === FIRST && m.time > 1.5 && m.time < 3.4));
});

test('without the mean taken off, everything would be alike', () => {
  const mean = meanEmbedding([FIRST, SECOND]);
  const cosine = (a, b) => a.reduce((sum, v, k) => sum + v * b[k], 0);
  const [b, d] = [FIRST.embedding(25), SECOND.embedding(10)];
  const zero = new Float64Array(DIMENSION);
  assert.ok(cosine(centred(b, zero), centred(d, zero)) > 0.9);
  assert.ok(cosine(centred(b, mean), centred(d, mean)) < 0);
});

test('a stretch means the windows within it, or the one in its middle', () => {
  assert.deepEqual(windowsOf(FIRST, 1.0, 3.0), [15, 26]);
  assert.deepEqual(windowsOf(FIRST, 1.0, 2.0), [15, 16]);
  assert.deepEqual(windowsOf(FIRST, 1.0, 1.4), [12, 13]);
  assert.deepEqual(windowsOf(FIRST, 7.9, 9.9), [79, 80]);
});

test('one marked stretch teaches a class, also with nothing marked as background', () => {
  const classes = new Classes(MODEL);
  classes.mark(classes.add('b'), FIRST, 1.95, 2.95);
  classes.train([FIRST, SECOND]);
  const [scores] = classes.score(SECOND);
  assert.ok(Math.min(...scores.subarray(30, 40)) > 0.5);
  assert.ok(Math.max(...scores.subarray(0, 30)) < 0.5);
  const found = detections(scores, 0.5, SECOND.windows / 10);
  assert.equal(found.length, 1);
  assert.ok(Math.abs(found[0].start - 2.75) < 1e-6 && Math.abs(found[0].end - 4.15) < 1e-6);
});

test('classes come back from their file with the same scores', () => {
  const classes = new Classes(MODEL);
  classes.mark(classes.add('b'), FIRST, 1.95, 2.95);
  classes.mark(classes.add('c'), FIRST, 4.95, 5.95);
  classes.mark(classes.background, FIRST, 0, 1.9);
  classes.list[1].threshold = 0.8;
  classes.train([FIRST]);
  const back = Classes.parse(JSON.stringify(classes), MODEL);
  back.train([FIRST]);
  assert.deepEqual(back.score(SECOND), classes.score(SECOND));
  assert.deepEqual(back.list.map((c) => [c.name, c.colour, c.threshold]), classes.list.map((c) => [c.name, c.colour, c.threshold]));
});

test('classes of another model, and what are none, are refused', () => {
  const text = JSON.stringify(new Classes(MODEL));
  assert.throws(() => Classes.parse(text, { ...MODEL, digest: 'cd'.repeat(32) }), /taught to another model .*abababababab.*cdcdcdcdcdcd/);
  assert.throws(() => Classes.parse('label,start', MODEL), /no JSON/);
  assert.throws(() => Classes.parse('{"format": "other"}', MODEL), /its format is "other"/);
  const damaged = { ...JSON.parse(text), classes: [{ name: 'x', threshold: 0.5, examples: [{ rows: [[1, 2]] }] }] };
  assert.throws(() => Classes.parse(JSON.stringify(damaged), MODEL), /damaged/);
});

test('principal components: orthogonal, the first carries most, points at one kind lie together', () => {
  const { points, x, y, explained } = principalComponents([FIRST, SECOND]);
  assert.equal(points.length, FIRST.windows + SECOND.windows - 20);
  assert.ok(explained[0] > explained[1] && explained[0] + explained[1] > 0.7, `${explained}`);
  const dot = x.reduce((sum, v, k) => sum + v * y[k], 0);
  assert.ok(Math.abs(dot) < 1e-3 * Math.hypot(...x) * Math.hypot(...y), `${dot}`);
  const b = points.flatMap(({ recording: r, window }, k) => (r === SECOND && window >= 30 && window < 40 ? [x[k]] : []));
  assert.ok(Math.max(...b) - Math.min(...b) < 0.2 * (Math.max(...x) - Math.min(...x)));
});

test('Audacity labels are sorted, and text cannot break a line', () => {
  const labels = audacityLabels([
    { start: 3.5, end: 4, text: 'b\tx\ny' },
    { start: 0.25, end: 1.25, text: 'a' },
  ]);
  assert.equal(labels, '0.250000\t1.250000\ta\n3.500000\t4.000000\tb x y\n');
});

test('Python reads the embeddings back, every bit of them', () => {
  const odd = recording('a, "b".wav', repeat('ab', 30), 0.7);
  odd.embeddings.view().set([1e-4, 9.9999e-5, 1.17549435e-38, -3.25e-10, 123456790, 9.99999999e8, 1e9, 3.4028235e38]);
  const folder = mkdtempSync(join(tmpdir(), 'edgel3-onnx-csv-'));
  try {
    writeFileSync(join(folder, 'e.csv'), embeddingsCsv([odd, FIRST]).join(''));
    writeFileSync(join(folder, 'e.f32'), new Uint8Array([odd, FIRST].flatMap((r) => [...new Uint8Array(r.embeddings.view().slice().buffer)])));
    const script = `
import csv, sys
import numpy as np
rows = list(csv.reader(open(sys.argv[1] + "/e.csv", newline="")))
assert rows[0][:5] == ["path", "start", "end", "channel", "label"] and rows[0][-1] == "e7", rows[0]
values = np.array([r[5:] for r in rows[1:]], float).astype("<f4")
assert values.tobytes() == open(sys.argv[1] + "/e.f32", "rb").read()
assert [r[5:] for r in rows[1:]] == [["%.9g" % v for v in row] for row in values], rows[1]
assert rows[1][:5] == ['a, "b".wav', "-0.5", "0.5", "", ""], rows[1]
assert rows[6][1:3] == ["0.0", "1.0"], rows[6]
assert rows[60][1:3] == ["5.4", "6.4"], rows[60]
print("same")`;
    assert.equal(String(execFileSync(process.env.PYTHON ?? 'python3', ['-c', script, folder])), 'same\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
