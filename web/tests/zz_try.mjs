import { browse, serve, openFiles, settled } from './browser.mjs';
import { readFileSync } from 'node:fs';
const server = await serve();
const b = await browse();
try {
  const t0=Date.now();
  await b.page.goto(server.url);
  await b.page.evaluate(() => edgel3.ready);
  console.log('ready', Date.now()-t0);
  await b.page.waitForTimeout(300);
  await b.page.screenshot({ path: '/tmp/shot-welcome.png' });
  const ref = JSON.parse(readFileSync('/tmp/webref/reference.json'));
  const t1=Date.now();
  await openFiles(b.page, ref.recordings.map((r) => `/tmp/webref/${r.file}`));
  console.log('read', ref.recordings.length, Date.now()-t1);
  const got = await b.page.evaluate(() => edgel3.session.recordings.map((r) => ({ name: r.name, state: r.state, message: r.message, rate: r.rate, e: Array.from(r.embeddings.view()) })));
  for (const r of ref.recordings) {
    const g = got.find((x) => x.name === r.file);
    const want = new Float32Array(new Uint8Array(readFileSync(`/tmp/webref/${r.embedding}`)).buffer);
    let top = 0, d = 0, where = -1;
    for (let k = 0; k < Math.min(want.length, g.e.length); k++) { top = Math.max(top, Math.abs(want[k])); const x = Math.abs(want[k] - g.e[k]); if (x > d) { d = x; where = Math.floor(k / 64); } }
    console.log(r.file.padEnd(20), g.state, g.message, g.rate, `rows ${g.e.length / 64}/${r.rows}`, (d / top).toExponential(1), 'row', where);
  }
  console.log(b.problems, new Set(b.requests.map((u) => new URL(u).origin)));
} finally { await b.close(); await server.stop(); }
