// The microphone, as a fake device that plays a file; and browsers that lack something.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { browse, serve } from './browser.mjs';
import { makeReference, relativeError } from './reference.mjs';

const SECONDS = 8;
const reference = makeReference();
let server;

before(async () => (server = await serve()));
after(() => server?.stop());

/** The Python package's embeddings of samples that the page captured. */
function embeddingsOf(samples, rate) {
  const raw = join(reference.folder, 'captured.f32');
  writeFileSync(raw, new Uint8Array(samples.buffer));
  const script = `
import sys, numpy as np, edgel3_onnx
samples = np.fromfile(sys.argv[1], "<f4")
edgel3_onnx.get_embedding(samples, float(sys.argv[2]), model_type="micro", verbose=0)[0].tofile(sys.argv[1] + ".out")`;
  execFileSync(process.env.PYTHON ?? 'python3', ['-W', 'ignore', '-c', script, raw, String(rate)]);
  return reference.array('captured.f32.out');
}

test('the microphone: the numbers of what was captured, no gap, no delay that grows', async (t) => {
  const browser = await browse({
    args: [
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      `--use-file-for-fake-audio-capture=${join(reference.folder, '48000.s16.wav')}`,
      '--autoplay-policy=no-user-gesture-required',
    ],
    permissions: ['microphone'],
  });
  try {
    const { page } = browser;
    await page.goto(server.url);
    await page.evaluate(async () => {
      await edgel3.ready;
      const { engine } = edgel3;
      const open = engine.openPort.bind(engine);
      globalThis.captured = [];
      engine.openPort = (rate, port, onAnswer) =>
        open(rate, port, (answer) => {
          if (answer.samples) captured.push(answer.samples);
          onAnswer(answer);
        });
    });
    await page.click('#microphone');
    await page.waitForFunction((n) => edgel3.session.recordings[0]?.windows >= n, 10 * (SECONDS - 1), { timeout: 30000 });
    await page.screenshot({ path: join(process.env.PICTURES ?? reference.folder, 'microphone-1280.png') });
    const statistics = await page.evaluate(() => edgel3.capture().statistics);
    await page.click('#microphone');
    await page.waitForFunction(() => edgel3.session.recordings[0].state === 'done');
    const { samples, rate, embedding, url } = await page.evaluate(() => {
      const [{ embeddings, rate, url }] = edgel3.session.recordings;
      return { samples: captured.flatMap((c) => [...c]), rate, embedding: [...embeddings.view()], url };
    });
    const sorted = [...statistics.latencies].sort((a, b) => a - b);
    const median = sorted[sorted.length >> 1];
    const error = relativeError(embedding, embeddingsOf(Float32Array.from(samples), rate));
    t.diagnostic(`${samples.length / rate} s at ${rate} Hz: ${error.toExponential(1)}, ${statistics.missing} samples lost, median ${median} ms, most ${sorted.at(-1)} ms`);
    assert.ok(samples.length > SECONDS * 0.8 * rate && Math.max(...samples.slice(0, rate)) > 0.05, 'no sound came');
    assert.ok(error <= 2e-6, `${error}`);
    assert.equal(statistics.missing, 0);
    assert.ok(median < 100, `${median} ms behind`);
    const late = statistics.latencies.slice(-10).sort((a, b) => a - b)[5];
    assert.ok(late < 100, `at the end ${late} ms behind`);
    assert.match(url, /^blob:/);
    await page.click('#play');
    await page.waitForFunction(() => edgel3.player.recording?.name === 'Microphone 1');
    assert.deepEqual(browser.problems, []);
  } finally {
    await browser.close();
  }
});

test('no microphone, no permission, no WebAssembly, a missing file: one line each', async () => {
  const browser = await browse();
  try {
    const { page } = browser;
    const line = async () => {
      const text = await page.locator('.alert > span').last().textContent();
      await page.locator('.alert button').last().click();
      return text;
    };
    await page.goto(server.url);
    await page.evaluate(() => edgel3.ready);
    await page.click('#microphone');
    await page.waitForSelector('.alert');
    assert.match(await line(), /^No microphone was found\.|^The browser may not use the microphone\./);
    for (const [name, expected] of [['NotAllowedError', /^The browser may not use the microphone\. Allow it/], ['NotFoundError', /^No microphone was found\. Connect one/], ['NotReadableError', /in use by another program/]]) {
      await page.evaluate((error) => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', error));
      }, name);
      await page.click('#microphone');
      await page.waitForSelector('.alert');
      assert.match(await line(), expected);
    }
  } finally {
    await browser.close();
  }

  const bare = await browse({ serviceWorkers: 'block' });
  try {
    for (const [file, change, expected] of [
      ['src/embed.js', (text) => `delete globalThis.WebAssembly;\n${text}`, /: this browser has no WebAssembly/],
      ['model/model.json', (text) => text.replace(/"sha256": "..../, '"sha256": "0000'), /micro\.onnx: expected sha256 0000.*, got .*; load the page anew/],
      ['model/model.json', null, /model\.json: the server answered 404/],
    ]) {
      await bare.context.unrouteAll();
      await bare.context.route(`**/${file}`, async (route) => {
        if (!change) return route.fulfill({ status: 404 });
        const response = await route.fetch();
        return route.fulfill({ response, body: change(await response.text()) });
      });
      await bare.page.goto(server.url);
      await bare.page.waitForSelector('.alert', { timeout: 10000 });
      const text = await bare.page.locator('.alert > span').textContent();
      assert.match(text, /^The page cannot work here: /);
      assert.match(text, expected);
    }
  } finally {
    await bare.close();
  }
});
