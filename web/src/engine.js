// The page's side of the worker: streams to which blocks are pushed, one answer for each.

export class Engine {
  #worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  #streams = new Map(); // number -> {waiting: answers expected, in order, onAnswer}
  #next = 1;

  constructor() {
    /** Resolves to the model's {name, digest, dimension, frontEnd}; rejects where it cannot be loaded. */
    this.ready = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }) => {
        if (data.ready) resolve(data.ready);
        else if (data.stream) this.#answered(data);
        else reject(new Error(data.failed));
      };
      this.#worker.onerror = (event) => reject(new Error(event.message || 'the worker could not be started'));
    });
  }

  /** A stream of samples at `rate` Hz: `push(block)` and `flush()` resolve to {embedding, frames, peaks}. */
  open(rate) {
    const stream = this.#open(rate, null);
    const send = (type, samples) =>
      new Promise((resolve, reject) => {
        this.#streams.get(stream).waiting.push({ resolve, reject });
        this.#worker.postMessage({ type, stream, samples }, samples ? [samples.buffer] : []);
      });
    return { push: (samples) => send('push', samples), flush: () => send('flush'), close: () => this.#close(stream) };
  }

  /** A stream that is fed through a port, from an audio worklet; `onAnswer` gets what comes of each chunk. */
  openPort(rate, port, onAnswer) {
    const stream = this.#open(rate, onAnswer);
    this.#worker.postMessage({ port: true }, [port]);
    return { stream, close: () => this.#close(stream) };
  }

  #open(rate, onAnswer) {
    const stream = this.#next++;
    this.#streams.set(stream, { waiting: [], onAnswer });
    this.#worker.postMessage({ type: 'open', stream, rate });
    return stream;
  }

  #close(stream) {
    this.#streams.delete(stream);
    this.#worker.postMessage({ type: 'close', stream });
  }

  #answered(answer) {
    const known = this.#streams.get(answer.stream);
    if (!known) return;
    const waiting = known.waiting.shift();
    if (known.onAnswer) known.onAnswer(answer);
    else if (answer.failed) waiting?.reject(new Error(answer.failed));
    else waiting?.resolve(answer);
    if (answer.type === 'flush') this.#streams.delete(answer.stream);
  }
}
