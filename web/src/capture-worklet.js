// In the audio thread: gathers the microphone's samples into chunks and sends them straight to the worker.

const CHUNK = 2048; // samples
const QUANTUM = new Float32Array(128); // silence, as long as what comes at a time

class Capture extends AudioWorkletProcessor {
  #chunk = new Float32Array(CHUNK);
  #filled = 0;
  #missing = 0; // samples of the chunk that did not come; silence stands in, so that time stays true
  #next = null; // the frame that must come next, once the first one came
  #worker = null;
  #stream = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data, ports }) => {
      if (data.stop) this.#stop();
      else [this.#worker, this.#stream] = [ports[0], data.stream];
    };
  }

  process([input]) {
    if (!this.#worker || (this.#next === null && !input[0])) return true;
    this.#next ??= currentFrame;
    for (; this.#next < currentFrame; this.#next += QUANTUM.length) this.#take(QUANTUM, true);
    this.#take(input[0] ?? QUANTUM, !input[0]);
    this.#next += QUANTUM.length;
    return true;
  }

  #take(samples, missing) {
    this.#chunk.set(samples, this.#filled); // chunks are whole numbers of quanta
    this.#filled += samples.length;
    if (missing) this.#missing += samples.length;
    if (this.#filled === CHUNK) this.#send();
  }

  #send() {
    const samples = this.#chunk.slice(0, this.#filled);
    const at = { ms: Date.now(), missing: this.#missing };
    this.#worker.postMessage({ type: 'push', stream: this.#stream, samples, at }, [samples.buffer]);
    this.#filled = this.#missing = 0;
  }

  #stop() {
    if (this.#worker && this.#filled) this.#send();
    this.#worker?.postMessage({ type: 'flush', stream: this.#stream });
    this.#worker = null;
  }
}

registerProcessor('capture', Capture);
