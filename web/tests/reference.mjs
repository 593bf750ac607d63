// The Python package's numbers, as reference.py writes them.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The parsed reference.json, the folder of its files, and `array(name)`. Several test files share what one of them made
 * in the folder REFERENCE_FOLDER, where that is set.
 */
export function makeReference() {
  const folder = process.env.REFERENCE_FOLDER ?? mkdtempSync(join(tmpdir(), 'edgel3-onnx-web-'));
  if (!process.env.REFERENCE_FOLDER) process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  if (!existsSync(join(folder, 'reference.json'))) {
    const script = fileURLToPath(new URL('reference.py', import.meta.url));
    execFileSync(process.env.PYTHON ?? 'python3', ['-W', 'ignore', script, folder], { stdio: 'inherit' });
  }
  const array = (name) => new Float32Array(new Uint8Array(readFileSync(join(folder, name))).buffer);
  return { folder, array, ...JSON.parse(readFileSync(join(folder, 'reference.json'))) };
}

/** The largest difference as a fraction of the largest value expected. */
export function relativeError(actual, expected) {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0;
  let largest = 0;
  for (let k = 0; k < expected.length; k++) {
    difference = Math.max(difference, Math.abs(actual[k] - expected[k]));
    largest = Math.max(largest, Math.abs(expected[k]));
  }
  return difference / largest;
}

/** Cuts an array into blocks of the given lengths, again and again. */
export function* inBlocks(array, lengths) {
  for (let start = 0, k = 0; start < array.length; k++) {
    const end = Math.min(start + lengths[k % lengths.length], array.length);
    yield array.subarray(start, end);
    start = end;
  }
}

export function join32(parts) {
  const joined = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (joined.set(part, at), at + part.length), 0);
  return joined;
}
