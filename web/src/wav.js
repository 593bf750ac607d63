// WAV: PCM of 8 to 32 bits and float, read bit for bit and block by block. And written, for what is played back.

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

/** Where the samples of a WAV file lie. `data` is left out where they are compressed: then the browser decodes them. */
export async function readWavHeader(file) {
  let layout = null;
  let bigData = 0; // of RF64, whose sizes stand in a chunk ds64
  for (let at = 12; at + 8 <= file.size; ) {
    const view = new DataView(await file.slice(at, at + 64).arrayBuffer());
    const id = view.getUint32(0);
    let size = view.getUint32(4, true);
    if (id === 0x64733634) bigData = Number(view.getBigUint64(16, true)); // ds64
    if (id === 0x666d7420 && view.byteLength >= 24) { // fmt
      const tag = view.getUint16(8, true);
      layout = {
        tag: tag === EXTENSIBLE && view.byteLength >= 34 ? view.getUint16(32, true) : tag,
        channels: view.getUint16(10, true),
        rate: view.getUint32(12, true),
        frame: view.getUint16(20, true),
        bits: view.getUint16(22, true),
      };
    }
    if (id === 0x64617461) { // data
      if (!layout || !layout.channels || !layout.rate) return null;
      if (size === 0xffffffff && bigData) size = bigData;
      const { tag, channels, rate, frame, bits } = layout;
      const readable = (tag === PCM && [8, 16, 24, 32].includes(bits)) || (tag === FLOAT && [32, 64].includes(bits));
      if (!readable || frame !== (channels * bits) / 8) return { format: 'wav', rate, start: 0 };
      const start = at + 8;
      const there = Math.min(size, file.size - start);
      const length = there - (there % frame);
      const data = { start, length, channels, bits, frame, float: tag === FLOAT };
      return { format: 'wav', rate, start: 0, data, truncated: length < size - frame };
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** Mono float32 blocks of `length` samples. */
export async function* wavBlocks(file, data, length) {
  const { start, channels, bits, frame, float } = data;
  const read = reader(bits, float);
  const width = bits / 8;
  for (let at = 0; at < data.length; at += length * frame) {
    const end = Math.min(at + length * frame, data.length);
    const view = new DataView(await file.slice(start + at, start + end).arrayBuffer());
    const mono = new Float32Array(view.byteLength / frame);
    for (let n = 0, byte = 0; n < mono.length; n++) {
      let sum = 0;
      for (let c = 0; c < channels; c++, byte += width) sum += read(view, byte);
      mono[n] = sum / channels;
    }
    yield mono;
  }
}

function reader(bits, float) {
  if (float) return bits === 32 ? (v, at) => v.getFloat32(at, true) : (v, at) => v.getFloat64(at, true);
  if (bits === 8) return (v, at) => (v.getUint8(at) - 128) / 128;
  if (bits === 16) return (v, at) => v.getInt16(at, true) / 32768;
  if (bits === 24) return (v, at) => (v.getUint16(at, true) + v.getInt8(at + 2) * 65536) / 8388608;
  return (v, at) => Math.fround(v.getInt32(at, true) / 2147483648);
}

/** A WAV file of mono 16-bit samples: `blocks` are Int16Arrays or Blobs, `samples` of them in all. */
export function wavBlob(blocks, samples, rate) {
  const bytes = 2 * samples;
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((c, k) => header.setUint8(at + k, c.charCodeAt(0)));
  text(0, 'RIFF');
  header.setUint32(4, 36 + bytes, true);
  text(8, 'WAVEfmt ');
  header.setUint32(16, 16, true);
  header.setUint16(20, PCM, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, rate * 2, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, 'data');
  header.setUint32(40, bytes, true);
  return new Blob([header, ...blocks], { type: 'audio/wav' });
}
