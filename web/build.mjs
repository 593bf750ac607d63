// Puts the page together:  node build.mjs [FOLDER]   (default: dist, beside this file)
//
// Nothing is bundled or compiled: the sources are copied as they are, with three files of ONNX Runtime, the model, the
// decoders, and their licences. The result works from any web server and any path on it.

import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const target = resolve(process.argv[2] ?? join(here, 'dist'));
const modules = join(here, 'node_modules');
const graph = join(here, '..', 'onnx_models', 'micro.onnx');
const LIBRARIES = [ // in node_modules, in the page
  ['onnxruntime-web/dist/ort.wasm.min.mjs', 'model/ort/ort.wasm.min.mjs'],
  ['onnxruntime-web/dist/ort-wasm-simd-threaded.mjs', 'model/ort/ort-wasm-simd-threaded.mjs'],
  ['onnxruntime-web/dist/ort-wasm-simd-threaded.wasm', 'model/ort/ort-wasm-simd-threaded.wasm'],
  ['mpg123-decoder/dist/mpg123-decoder.min.js', 'codecs/mpg123-decoder.min.js'],
  ['opus-recorder/dist/decoderWorker.min.wasm', 'codecs/libopus.wasm'],
  ['opus-recorder/LICENSE.md', 'codecs/libopus-LICENSE.md'],
];

const missing = LIBRARIES.map(([from]) => join(modules, from)).find((file) => !existsSync(file));
if (missing) {
  console.error(`${missing} is missing: run  npm ci --prefix ${here}`);
  process.exit(1);
}
if (existsSync(target) && readdirSync(target).length && !existsSync(join(target, 'model', 'model.json'))) {
  console.error(`${target} holds something else than this page; name another folder`);
  process.exit(1);
}
rmSync(target, { recursive: true, force: true });
for (const name of ['index.html', 'style.css', 'icon.svg', 'src', 'LICENSES.txt', 'LGPL-2.1.txt']) {
  cpSync(join(here, name), join(target, name), { recursive: true });
}
for (const [from, to] of LIBRARIES) cpSync(join(modules, from), join(target, to));
cpSync(graph, join(target, 'model', 'micro.onnx'));
writeFileSync(join(target, 'model', 'model.json'), JSON.stringify(describe(readFileSync(graph)), null, 2));

const files = readdirSync(target, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(target, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
  .sort();
writeFileSync(join(target, 'sw.js'), serviceWorker(files));

const all = [...files, 'sw.js'].map((name) => readFileSync(join(target, name)));
const megabytes = (bytes) => (bytes / 1e6).toFixed(2);
const raw = all.reduce((sum, bytes) => sum + bytes.length, 0);
const packed = all.reduce((sum, bytes) => sum + gzipSync(bytes, { level: 9 }).length, 0);
console.log(`${target}: ${all.length} files, ${megabytes(raw)} MB, ${megabytes(packed)} MB gzipped`);

/** What the page has to know about the graph: its digest, and what its metadata says. */
function describe(bytes) {
  const { variant, frontend, network } = JSON.parse(customMetadata(bytes, 'edgel3_onnx'));
  return { file: 'micro.onnx', sha256: sha256(bytes), variant, dimension: network.embedding_dim, frontend };
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The value of a key of an ONNX model's metadata_props: field 14 of ModelProto, of string pairs. */
function customMetadata(bytes, key) {
  for (const [field, value] of protobufFields(bytes)) {
    if (field !== 14) continue;
    const pair = Object.fromEntries(protobufFields(value));
    if (pair[1].toString() === key) return pair[2].toString();
  }
  throw new Error(`${graph} has no metadata ${key}`);
}

function* protobufFields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      value += (bytes[at] & 127) * shift;
      if (bytes[at++] < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag % 8 === 0) yield [tag >> 3, varint()];
    else if (tag % 8 === 2) {
      const length = varint();
      yield [tag >> 3, bytes.subarray(at, (at += length))];
    } else at += tag % 8 === 1 ? 8 : 4;
  }
}

/** sw.js with the list of files and a version that changes when one of them does. */
function serviceWorker(names) {
  const version = sha256(Buffer.concat(names.map((name) => Buffer.from(sha256(readFileSync(join(target, name)))))));
  return readFileSync(join(here, 'sw.js'), 'utf8')
    .replace("'VERSION'", `'${version.slice(0, 16)}'`)
    .replace("['FILES']", JSON.stringify(['./', ...names], null, 2));
}
