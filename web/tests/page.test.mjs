// The page in Chromium: numbers, views, files taken home, errors, offline, accessibility.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import axe from 'axe-core';
import { browse, builtPage, drag, openFiles, serve, settled } from './browser.mjs';
import { makeReference, relativeError } from './reference.mjs';
import { serveStatic } from './static.mjs';

const reference = makeReference();
const pictures = process.env.PICTURES ?? join(reference.folder, 'pictures'); // where screenshots go, to be looked at
mkdirSync(pictures, { recursive: true });
const path = (name) => join(reference.folder, name);

let server;
let browser;
let page;

before(async () => {
  server = await serve();
  browser = await browse();
  page = browser.page;
  await page.goto(server.url);
  await page.evaluate(() => edgel3.ready);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What the Python package makes of saved labels: [start, end, label] of each. */
function regions(text) {
  writeFileSync(path('labels.txt'), text);
  const script = `
import json, sys
from edgel3_onnx.labels import read_regions
print(json.dumps([[r.start, r.end, r.label] for r in read_regions(sys.argv[1])]))`;
  return JSON.parse(execFileSync(process.env.PYTHON ?? 'python3', ['-c', script, path('labels.txt')]));
}

/** A screenshot, and whether anything sticks out to the right. */
async function look(name) {
  await page.waitForTimeout(250);
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= room, `${name}: ${wide} px wide in a window of ${room}`);
}

async function closeAll() {
  await page.evaluate(() => [...edgel3.session.recordings].forEach((r) => edgel3.session.remove(r)));
}

async function save(button) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), 'utf8') };
}

test('the first page', async () => {
  await look('welcome-1280');
  await page.setViewportSize({ width: 400, height: 800 });
  await look('welcome-400');
  await page.setViewportSize({ width: 1280, height: 900 });
});

test('the page is at most 16 MB, 4.6 MB on its way', (t) => {
  const entries = readdirSync(builtPage(), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const files = entries.map((entry) => readFileSync(join(entry.parentPath, entry.name)));
  const raw = files.reduce((sum, bytes) => sum + bytes.length, 0);
  const packed = files.reduce((sum, bytes) => sum + gzipSync(bytes, { level: 9 }).length, 0);
  t.diagnostic(`${files.length} files, ${(raw / 1e6).toFixed(2)} MB, ${(packed / 1e6).toFixed(2)} MB gzipped`);
  assert.ok(raw <= 16e6 && packed <= 4.6e6, `${raw}, ${packed} bytes`);
});

// [files, largest difference, windows at the end that may differ]: where the browser's decoder is another, the page says so.
const LIMITS = [
  [/\.webm$/, 1e-2, 0],
  [/\.m4a$/, 1e-5, 3],
  [/./, 2e-6, 0],
];

test('embeddings are those of the Python package, in every format', async (t) => {
  await openFiles(page, reference.recordings.map(({ file }) => path(file)));
  const found = await page.evaluate(() =>
    edgel3.session.recordings.map((r) => ({ name: r.name, note: r.note, values: Array.from(r.embeddings.view()) })),
  );
  assert.equal(found.length, reference.recordings.length);
  let worst = 0;
  for (const { file, embedding } of reference.recordings) {
    const { values, note } = found.find(({ name }) => name === file);
    const [, limit, loose] = LIMITS.find(([pattern]) => pattern.test(file));
    const expected = reference.array(embedding);
    const rows = Math.min(expected.length, values.length) - 64 * loose;
    assert.ok(Math.abs(values.length - expected.length) <= 64 * loose, `${file}: ${values.length / 64} rows`);
    const error = relativeError(values.slice(0, rows), expected.slice(0, rows));
    t.diagnostic(`${file}: ${error.toExponential(1)} ${note}`);
    assert.ok(error <= limit, `${file}: ${error}`);
    assert.equal(note !== '', limit > 2e-6, `${file} says: ${note}`);
    if (limit === 2e-6) worst = Math.max(worst, error);
  }
  t.diagnostic(`worst of those that must be equal: ${worst.toExponential(1)}`);
  await closeAll();
});

test('the table of embeddings is the one that --format csv writes', async () => {
  const name = '16000.s16.wav';
  const command = ['-W', 'ignore', '-m', 'edgel3_onnx', path(name), '--model-type', 'micro', '--format', 'csv', '--output', path('table')];
  execFileSync(process.env.PYTHON ?? 'python3', command, { stdio: 'ignore' });
  await openFiles(page, [path(name)]);
  await page.click('#tab-save');
  const { text } = await save('[aria-label="Save: Embeddings"]');
  const rows = (csv) => csv.trimEnd().split('\n').map((line) => line.split(','));
  const [header, ...made] = rows(text);
  const [expectedHeader, ...expected] = rows(readFileSync(path('table.csv'), 'utf8'));
  assert.deepEqual(header, expectedHeader);
  assert.deepEqual(made.map((row) => row.slice(1, 5)), expected.map((row) => row.slice(1, 5)));
  assert.deepEqual(made.map(([file]) => path(file)), expected.map(([file]) => file));
  const values = (table) => table.flatMap((row) => row.slice(5).map(Number));
  assert.ok(relativeError(values(made), values(expected)) <= 2e-6);
  await page.click('#tab-similar');
  await closeAll();
});

// docs/how-to/browser.md, "In one minute", step by step.
test('the tutorial: a second call like the first is found', async () => {
  await page.click('text=Try an example');
  await settled(page, 1);
  await drag(page, 2.0, 3.0);
  const best = page.locator('.match').first();
  assert.match(await best.textContent(), /^1 at 0:(18|09)\.\d, (9\d|100) % alike in Example/);
  await best.click();
  await page.waitForFunction(() => edgel3.player.recording !== null);
  const times = await page.evaluate(() => edgel3.session.matches.slice(0, 2).map((m) => m.time).sort((a, b) => a - b));
  assert.ok(Math.abs(times[0] - 9.8) < 0.4 && Math.abs(times[1] - 18.6) < 0.4, `${times}`);
  await page.click('#tab-teach');
  await page.fill('#class-name', 'bird');
  await page.click('text=Add the marked sound');
  await page.waitForSelector('text=1 marked · found 3 × in 1 file');
  await page.click('#tab-save');
  const { name, text } = await save('[aria-label="Save: Labels of the classes"]');
  assert.equal(name, 'Example: birds, knocks, an engine.txt'.replaceAll(':', '_'));
  const found = regions(text);
  assert.equal(found.length, 3, text);
  for (const [k, [start, end, label]] of found.entries()) {
    assert.ok(Math.abs(start - [2.1, 9.4, 18.2][k]) < 0.5 && end > start && label === 'bird', text);
  }
});

test('classes are saved, loaded again, and refused when they are another model’s', async () => {
  await page.click('#tab-teach');
  const { name, text } = await save('text=Save classes');
  assert.equal(name, 'classes.json');
  await page.click('[aria-label="Remove bird"]');
  assert.equal(await page.locator('.class').count(), 0);
  writeFileSync(path('classes.json'), text);
  await page.setInputFiles('#panel-teach input[type=file]', path('classes.json'));
  await page.waitForSelector('text=1 marked · found 3 × in 1 file');
  writeFileSync(path('other.json'), text.replace(/"sha256": "[0-9a-f]{4}/, '"sha256": "0000'));
  await page.setInputFiles('#picker', path('other.json'));
  await page.waitForSelector('.alert >> text=was taught to another model');
  await page.click('.alert >> text=Dismiss');
});

test('labels and tables can be read by others', async () => {
  await page.click('#tab-save');
  const labels = await save('[aria-label="Save: Labels of what was found"]');
  const matches = await page.evaluate(() =>
    edgel3.session.matches.map(({ time, score }, k) => [time - 0.5, time + 0.5, `${k + 1} (${score.toFixed(2)})`]),
  );
  const saved = regions(labels.text);
  assert.deepEqual(saved.map(([, , label]) => label).sort(), matches.map(([, , label]) => label).sort());
  for (const [start, end, label] of saved) {
    const match = matches.find(([, , text]) => text === label);
    assert.ok(Math.abs(start - match[0]) < 1e-6 && Math.abs(end - match[1]) < 1e-6, label);
  }
  const scores = await save('[aria-label="Save: Scores"]');
  assert.match(scores.text, /^path,start,end,bird\n/);
  const embeddings = await save('[aria-label="Save: Embeddings"]');
  const rows = embeddings.text.trim().split('\n');
  const { windows, last } = await page.evaluate(() => {
    const [recording] = edgel3.session.recordings;
    return { windows: recording.windows, last: Array.from(recording.embedding(recording.windows - 1)) };
  });
  assert.equal(rows.length, 1 + windows);
  const values = rows.at(-1).match(/,,,(.*)/)[1].split(',');
  assert.deepEqual(Float32Array.from(values, Number), Float32Array.from(last));
});

test('every view, wide and narrow, light and dark', async () => {
  if (process.env.EDGEL3_ONNX_REFERENCE) {
    await openFiles(page, ['misc_crow.flac', 'loop_safari.flac', 'ambi_sauna.flac', 'drum_roll.flac'].map(path));
  }
  for (const [width, scheme] of [[1280, 'light'], [1280, 'dark'], [400, 'light']]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    for (const view of ['similar', 'teach', 'map', 'repeats', 'save']) {
      await page.click(`#tab-${view}`);
      await look(`${view}-${width}-${scheme}`);
    }
  }
});

test('axe-core finds no fault', async () => {
  for (const [width, scheme] of [[1280, 'light'], [1280, 'dark'], [400, 'light']]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    for (const view of ['similar', 'teach', 'map', 'repeats', 'save']) {
      await page.click(`#tab-${view}`);
      const faults = await violations();
      assert.deepEqual(faults, [], `${view}, ${width} px, ${scheme}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: 'light' });
});

async function violations() {
  // The page's policy lets nothing in but its own files; a script that the debugger runs is not subject to it.
  await page.evaluate(axe.source);
  const { violations: found } = await page.evaluate(() => axe.run());
  return found.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes[0].html}`);
}

test('everything can be done with the keyboard', async () => {
  await page.click('#tab-similar');
  await page.evaluate(() => (edgel3.session.show(edgel3.session.recordings[0]), edgel3.session.forget()));
  await page.focus('#overlay');
  await page.keyboard.press('Home');
  for (let k = 0; k < 25; k++) await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  assert.ok(Math.abs((await page.evaluate(() => edgel3.session.query.start)) - 2.0) < 1e-6);
  assert.match(await page.getAttribute('#overlay', 'aria-valuetext'), /^marked 0:02\.0 to 0:03\.0$/);
  const [time] = await page.evaluate(() => edgel3.session.matches.map((m) => m.time));
  assert.ok(Math.abs(time - 9.8) < 0.4 || Math.abs(time - 18.6) < 0.4, `${time}`);
  await page.keyboard.press('Shift+ArrowRight');
  assert.ok(Math.abs((await page.evaluate(() => edgel3.session.mark.end)) - 3.1) < 1e-6);
  await page.keyboard.press('Space');
  await page.waitForFunction(() => edgel3.player.recording !== null);
  await page.focus('#tab-similar');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getAttribute('#tab-teach', 'aria-selected'), 'true');
  await page.focus('#tab-map');
  await page.keyboard.press('Enter');
  await page.waitForTimeout(100);
  await page.focus('#map-canvas');
  await page.keyboard.press('ArrowRight');
  assert.match(await page.getAttribute('#map-canvas', 'aria-valuetext'), /^0:00\.\d of /);
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => edgel3.session.query.recording.name), await page.evaluate(() => edgel3.session.recordings[0].name));
});

test('a threshold is dragged, moments are compared, files are dropped', async () => {
  await page.click('#tab-repeats');
  const track = await page.locator('.track.draggable canvas').boundingBox();
  await page.mouse.move(track.x + 300, track.y + 30);
  await page.mouse.down();
  await page.mouse.move(track.x + 300, track.y + track.height / 4);
  await page.mouse.up();
  assert.ok(Math.abs((await page.evaluate(() => edgel3.session.classes.list[0].threshold)) - 0.75) < 0.02);
  assert.match(await page.locator('#panel-teach .class output').first().textContent(), /^0\.7[4-6]$/);

  await page.focus('#matrix-canvas');
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
  assert.match(await page.getAttribute('#matrix-canvas', 'aria-valuetext'), /^0:00\.2 and 0:00\.3: \d+ % alike$/);
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => edgel3.player.recording === edgel3.session.current);

  const before = await page.evaluate(() => edgel3.session.recordings.length);
  const bytes = [...readFileSync(path('8000.s16.wav'))];
  await page.evaluate((wav) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([Uint8Array.from(wav)], 'dropped.wav'));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
  }, bytes);
  await settled(page, before + 1);
  assert.equal(await page.evaluate(() => edgel3.session.recordings.at(-1).name), 'dropped.wav');
});

test('a file that is no recording is one line, and the others are read', async () => {
  await closeAll();
  writeFileSync(path('notes.wav'), 'These are notes, not a recording.');
  writeFileSync(path('empty.flac'), '');
  writeFileSync(path('cut.mp3'), readFileSync(path('44100.mp3')).subarray(0, 20));
  const flac = readFileSync(path('44100.s16.flac'));
  writeFileSync(path('cut.wav'), readFileSync(path('44100.s16.wav')).subarray(0, 100044));
  const ogg = readFileSync(path('long-44100.ogg'));
  const damaged = Buffer.from(ogg);
  damaged[ogg.length >> 1] ^= 1;
  writeFileSync(path('damaged.ogg'), damaged);
  const opus = readFileSync(path('long-16000.opus'));
  writeFileSync(path('cut.opus'), opus.subarray(0, opus.length - 1000));
  writeFileSync(path('two.opus'), Buffer.concat([readFileSync(path('8000.opus')), readFileSync(path('16000.opus'))]));
  writeFileSync(path('zeroed.flac'), Buffer.concat([flac.subarray(0, 20), Buffer.alloc(5000)]));
  await page.setInputFiles('#picker', ['notes.wav', 'empty.flac', 'cut.mp3', 'zeroed.flac', 'damaged.ogg', 'cut.opus', 'two.opus', 'cut.wav', '8000.s16.wav'].map(path));
  await page.waitForFunction(() => edgel3.session.recordings.length === 5 && edgel3.session.recordings.every((r) => r.state === 'done'));
  const lines = await page.locator('.alert > span').allTextContents();
  assert.equal(lines.length, 7, lines.join('\n'));
  assert.match(lines[0], /^notes\.wav is in no format that this page knows/);
  assert.equal(lines[1], 'empty.flac is empty (0 bytes).');
  assert.equal(lines[2], 'cut.mp3 has no samples.');
  assert.match(lines[3], /^zeroed\.flac /);
  assert.match(lines[4], /^damaged\.ogg cannot be read to its end: a page does not match its checksum\. What comes before, 0:0\d\.\d, was kept\.$/);
  assert.match(lines[5], /^cut\.opus cannot be read to its end: the file ends within a page\. What comes before, 0:\d\d\.\d, was kept\.$/);
  assert.equal(lines[6], 'two.opus cannot be read to its end: a recording of another kind is joined to it. What comes before, 0:01.6, was kept.');
  const notes = await page.evaluate(() => edgel3.session.recordings.map((r) => [r.name, r.note]));
  assert.deepEqual(notes.slice(0, 3), ['damaged.ogg', 'cut.opus', 'two.opus'].map((name) => [name, 'read in part']));
  assert.deepEqual(notes.slice(3), [['cut.wav', 'the file ends before its header says'], ['8000.s16.wav', '']]);
  while (await page.locator('.alert').count()) await page.click('.alert >> text=Dismiss');
});

test('the module embeds and streams the same numbers for those who import it', async () => {
  const signal = reference.recordings.find(({ file }) => file === '16000.f32.wav');
  const bytes = [...readFileSync(path(signal.file))];
  const results = await page.evaluate(async (wav) => {
    const { load } = await import('./src/embed.js');
    const { readWavHeader, wavBlocks } = await import('./src/wav.js');
    const blob = new Blob([Uint8Array.from(wav)]);
    const { data, rate } = await readWavHeader(blob);
    const { value: samples } = await wavBlocks(blob, data, 1e6).next();
    const model = await load();
    const whole = await model.embed(samples, rate);
    const stream = model.stream(rate, { hop: 0.1, center: true });
    const parts = [];
    for (let at = 0; at < samples.length; at += 1111) parts.push(await stream.push(samples.subarray(at, at + 1111)));
    parts.push(await stream.flush());
    const refused = await model.embed(new Float32Array(0), rate).catch((error) => `${error.name}: ${error.message}`);
    const infinite = await model.embed(Float32Array.of(0, Infinity), rate).catch((error) => error.message);
    return {
      whole: [...whole.embedding],
      times: [...whole.timestamps],
      streamed: parts.flatMap((part) => [...part.embedding]),
      streamedTimes: parts.flatMap((part) => [...part.timestamps]),
      refused,
      infinite,
      about: [model.name, model.dimension, model.digest.length],
    };
  }, bytes);
  const expected = reference.array(signal.embedding);
  assert.ok(relativeError(results.whole, expected) <= 2e-6);
  assert.ok(relativeError(results.streamed, expected) <= 2e-6);
  assert.deepEqual(results.streamedTimes, results.times);
  assert.ok(Math.abs(results.times[7] - 0.7) < 1e-12);
  assert.match(results.refused, /^RangeError: samples is empty/);
  assert.match(results.infinite, /samples\[1\] is Infinity/);
  assert.deepEqual(results.about, ['micro', 64, 64]);
});

test('nothing was asked of anyone else, and nothing went wrong on the way', async () => {
  const foreign = browser.requests.filter((url) => !url.startsWith(server.url) && !url.startsWith('blob:'));
  assert.deepEqual(foreign, []);
  assert.deepEqual(browser.problems, []);
});

test('it works under any path of any server, and asks for nothing outside of it', async () => {
  const elsewhere = await serveStatic({ '/some/where/': builtPage() });
  const other = await browse();
  try {
    await other.page.goto(`${elsewhere.url}/some/where/`);
    await other.page.evaluate(() => edgel3.ready);
    await other.page.evaluate(() => navigator.serviceWorker.ready);
    await openFiles(other.page, [path('44100.s16.flac')]);
    assert.deepEqual(other.requests.filter((url) => !/^blob:|\/some\/where\//.test(url)), []);
    assert.deepEqual(other.problems, []);
  } finally {
    await other.close();
    elsewhere.stop();
  }
});

test('after the first load it works with the server stopped', async () => {
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await server.stop();
  await page.reload();
  await page.evaluate(() => edgel3.ready);
  await openFiles(page, [path('8000.s16.wav')]);
  const values = await page.evaluate(() => Array.from(edgel3.session.recordings[0].embeddings.view()));
  const { embedding } = reference.recordings.find(({ file }) => file === '8000.s16.wav');
  assert.ok(relativeError(values, reference.array(embedding)) <= 2e-6);
});
