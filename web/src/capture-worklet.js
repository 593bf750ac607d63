// In the audio thread: gathers the microphone's samples into chunks and sends them straight to the worker.

const CHUNK = 2048; // samples

class Capture extends AudioWorkletProcessor {
  #chunk = new Float32Array(CHUNK);
  #filled = 0;
  #first = currentFrame; // of the chunk: a jump shows that samples were lost
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
    const channel = input[0];
    if (!channel || !this.#worker) return true;
    for (let read = 0; read < channel.length; ) {
      if (this.#filled === 0) this.#first = currentFrame + read;
      const part = channel.subarray(read, read + CHUNK - this.#filled);
      this.#chunk.set(part, this.#filled);
      this.#filled += part.length;
      read += part.length;
      if (this.#filled === CHUNK) this.#send();
    }
    return true;
  }

  #send() {
    const samples = this.#chunk.slice(0, this.#filled);
    const at = { frame: this.#first, ms: Date.now() };
    this.#worker.postMessage({ type: 'push', stream: this.#stream, samples, at }, [samples.buffer]);
    this.#filled = 0;
  }

  #stop() {
    if (this.#worker && this.#filled) this.#send();
    this.#worker?.postMessage({ type: 'flush', stream: this.#stream });
    this.#worker = null;
  }
}

registerProcessor('capture', Capture);
