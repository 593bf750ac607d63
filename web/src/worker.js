// The thread that embeds. Messages in: open, push, flush, close, each with a stream's number; out: what came of it.

import { load } from './embed.js';
import { Envelope } from './envelope.js';

const streams = new Map();
const loading = load();
let queue = loading.then(
  ({ name, digest, dimension, frontEnd }) => postMessage({ ready: { name, digest, dimension, frontEnd } }),
  (error) => postMessage({ failed: error.message }),
);

onmessage = ({ data, ports }) => {
  if (data.port) ports[0].onmessage = (event) => handle(event.data); // the microphone, past the page's own thread
  else handle(data);
};

function handle(message) {
  queue = queue.then(() => answer(message));
}

async function answer({ type, stream, rate, samples, at }) {
  try {
    const model = await loading;
    if (type === 'open') streams.set(stream, { embed: model.stream(rate), envelope: new Envelope(rate) });
    if (type === 'close') streams.delete(stream);
    if (type !== 'push' && type !== 'flush') return;
    const { embed, envelope } = streams.get(stream);
    const peaks = type === 'push' ? envelope.push(samples) : envelope.flush();
    const { embedding, frames } = type === 'push' ? await embed.push(samples) : await embed.flush();
    if (type === 'flush') streams.delete(stream);
    const kept = at === undefined ? undefined : samples; // a microphone's samples are kept, to be played
    const moved = [embedding.buffer, frames.buffer, peaks.buffer];
    if (kept) moved.push(kept.buffer);
    postMessage({ stream, type, embedding, frames, peaks, samples: kept, at }, moved);
  } catch (error) {
    postMessage({ stream, type, failed: error.message });
  }
}
