// The numbers in Firefox, which no test of .ci/run starts:  node tests/firefox.mjs
// needs Debian's firefox-esr (or FIREFOX=...), a built web/dist, and a Python with the package (PYTHON=...).

import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeReference, relativeError } from './reference.mjs';
import { serveStatic } from './static.mjs';

const reference = makeReference();
const pages = join(reference.folder, 'page');
mkdirSync(pages);
const files = reference.recordings.map(({ file }) => file);
writeFileSync(
  join(pages, 'index.html'),
  `<!doctype html><script type="module">
    import { openRecording } from '/dist/src/decode.js';
    import { load } from '/dist/src/embed.js';
    const model = await load();
    for (const name of ${JSON.stringify(files)}) {
      let result;
      try {
        const { rate, blocks } = await openRecording(await (await fetch('/files/' + name)).blob());
        const stream = model.stream(rate);
        const values = [];
        for await (const block of blocks()) values.push(...(await stream.push(block)).embedding);
        values.push(...(await stream.flush()).embedding);
        result = { name, values };
      } catch (error) {
        result = { name, failed: String(error) };
      }
      await fetch('/result', { method: 'POST', body: JSON.stringify(result) });
    }
    await fetch('/result', { method: 'POST', body: '{"done": true}' });
  </script>`,
);

const dist = fileURLToPath(new URL('../dist', import.meta.url));
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const server = await serveStatic({ '/dist/': dist, '/files/': reference.folder, '/': pages }, (body) => {
  const { done, name, values, failed } = JSON.parse(body);
  if (done) return finish();
  if (failed) return console.log(`${name}: ${failed}`);
  const { embedding } = reference.recordings.find(({ file }) => file === name);
  const expected = reference.array(embedding);
  const rows = Math.min(values.length, expected.length);
  const error = relativeError(values.slice(0, rows), expected.slice(0, rows));
  console.log(`${name}: ${values.length / 64} of ${expected.length / 64} windows, ${error.toExponential(1)}`);
});
const profile = join(reference.folder, 'profile');
mkdirSync(profile);
const arguments_ = ['--headless', '--no-remote', '--profile', profile, `${server.url}/`];
const firefox = spawn(process.env.FIREFOX ?? 'firefox-esr', arguments_, { stdio: 'ignore' });
await Promise.race([finished, new Promise((resolve) => setTimeout(resolve, 150000))]);
firefox.kill();
server.stop();
