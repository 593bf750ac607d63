// Pages of Ogg, and the pieces into which Vorbis is cut, on recordings that libsndfile wrote.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { kindOf } from '../src/identify.js';
import { oggPages } from '../src/ogg.js';
import { DamageError } from '../src/pieces.js';
import { vorbisPieces } from '../src/vorbis.js';
import { inBlocks, makeReference } from './reference.mjs';

const reference = makeReference();
const file = (name) => new Uint8Array(readFileSync(join(reference.folder, name)));
const VORBIS = file('16000.ogg');
const header = (bytes) => kindOf(bytes.subarray(27 + bytes[26]));

async function all(generator) {
  const made = [];
  for await (const value of generator) made.push(value);
  return made;
}

async function* blocks(bytes, lengths = [bytes.length]) {
  yield* inBlocks(bytes, lengths);
}

test('pages are the same however the bytes come, and make up the file', async () => {
  const whole = await all(oggPages(blocks(VORBIS), header(VORBIS)));
  assert.ok(whole.length > 3 && whole[0].first && whole.at(-1).last);
  assert.deepEqual(Buffer.concat(whole.map(({ bytes }) => bytes)), Buffer.from(VORBIS));
  for (const lengths of [[1], [7, 300, 1], [4096]]) {
    assert.deepEqual(await all(oggPages(blocks(VORBIS, lengths), header(VORBIS))), whole);
  }
});

test('a byte that changed, a page that is missing, and a cut are told wherever they are', async () => {
  const pages = await all(oggPages(blocks(VORBIS), header(VORBIS)));
  for (let at = 1; at < VORBIS.length; at += 37) {
    const damaged = VORBIS.slice();
    damaged[at] ^= 1 << at % 8;
    await assert.rejects(all(oggPages(blocks(damaged), header(VORBIS))), DamageError, `byte ${at}`);
    await assert.rejects(all(oggPages(blocks(VORBIS.subarray(0, VORBIS.length - 1 - (at % 30))), header(VORBIS))), DamageError);
  }
  const without = Buffer.concat(pages.toSpliced(-2, 1).map(({ bytes }) => bytes));
  await assert.rejects(all(oggPages(blocks(without), header(VORBIS))), { message: 'a page is missing' });
});

test('another stream beside the recording is left out, one of another kind behind it is told', async () => {
  const [vorbis, opus] = [VORBIS, file('16000.opus')];
  const first = await all(oggPages(blocks(vorbis), header(vorbis)));
  const second = await all(oggPages(blocks(opus), header(opus)));
  const woven = [first[0], second[0], first[1], second[1], ...first.slice(2), ...second.slice(2)];
  const read = await all(oggPages(blocks(Buffer.concat(woven.slice(0, first.length + 2).map(({ bytes }) => bytes))), header(vorbis)));
  assert.deepEqual(read, first);
  const joined = Buffer.concat([vorbis, opus]);
  await assert.rejects(all(oggPages(blocks(joined), header(vorbis))), { message: 'a recording of another kind is joined to it' });
});

test('pieces of Vorbis are whole files, and together as long as the recording', async () => {
  const bytes = file('long-44100.ogg');
  const kind = header(bytes);
  const pages = await all(oggPages(blocks(bytes), kind));
  const pieces = await all(vorbisPieces(blocks(bytes), kind, 2));
  assert.ok(pieces.length > 3, `${pieces.length}`);
  const [first, ...others] = pieces;
  assert.equal(first.samples, Infinity);
  const starts = [];
  for (const { bytes: piece } of pieces) {
    const own = await all(oggPages(blocks(new Uint8Array(piece)), kind)); // rejects what is no file
    assert.ok(own[0].first);
    starts.push(own.findLast(({ position }) => position > 0).position);
  }
  assert.equal(starts.at(-1), pages.at(-1).position);
  assert.deepEqual(others.map(({ samples }) => samples), others.map((_, k) => starts[k + 1] - starts[k]));
});
