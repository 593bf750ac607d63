// The microphone: its samples go from the audio thread to the worker, past the page's own thread.

import { wavBlob } from './wav.js';

const FOLD = 30; // seconds of sound after which what was captured is handed to the browser's storage

const REASONS = {
  NotFoundError: 'No microphone was found. Connect one, then press Microphone again.',
  NotAllowedError: 'The browser may not use the microphone. Allow it for this page, beside the address, then press Microphone again.',
  NotReadableError: 'The microphone is in use by another program, or does not answer.',
};

export class Capture {
  #context;
  #media;
  #node;
  #blocks = []; // Int16Array
  #blobs = []; // of what was folded
  #samples = 0; // in all
  #loose = 0; // in #blocks
  /** Milliseconds from the moment a chunk was complete to its answer; samples lost after the first second. */
  statistics = { latencies: [], missing: 0 };

  /**
   * @param {(answer: object) => void} onAnswer as of Engine.openPort, until the one of type "flush"
   * @throws {Error} whose message says what to do
   */
  static async start(engine, onAnswer) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error('Browsers give the microphone to pages on https and on localhost only.');
    }
    const capture = new Capture();
    try {
      const constraints = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      capture.#media = await navigator.mediaDevices.getUserMedia({ audio: constraints });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone could not be opened (${error.message}).`);
    }
    const context = (capture.#context = new AudioContext());
    capture.rate = context.sampleRate;
    await context.audioWorklet.addModule(new URL('./capture-worklet.js', import.meta.url));
    const mono = { numberOfInputs: 1, numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' };
    capture.#node = new AudioWorkletNode(context, 'capture', mono);
    const { port1, port2 } = new MessageChannel();
    const { stream } = engine.openPort(capture.rate, port1, (answer) => {
      capture.#received(answer);
      onAnswer(answer);
    });
    capture.#node.port.postMessage({ stream }, [port2]);
    context.createMediaStreamSource(capture.#media).connect(capture.#node);
    capture.#media.getAudioTracks()[0].addEventListener('ended', () => capture.stop());
    await context.resume();
    return capture;
  }

  /** Ends the recording; the last answer comes with type "flush". */
  stop() {
    this.#node.port.postMessage({ stop: true });
    this.#media.getTracks().forEach((track) => track.stop());
    setTimeout(() => this.#context.close(), 500); // the audio thread must still send the rest
  }

  /** All that was captured, as a WAV file. */
  toBlob() {
    return wavBlob([...this.#blobs, ...this.#blocks], this.#samples, this.rate);
  }

  #received({ samples, at }) {
    if (!samples) return;
    const { statistics } = this;
    statistics.latencies.push(Date.now() - at.ms);
    if (statistics.latencies.length > 1000) statistics.latencies.shift();
    if (this.#samples > this.rate) statistics.missing += at.missing; // devices take a moment to start
    this.#blocks.push(Int16Array.from(samples, (v) => Math.min(Math.max(Math.round(v * 32768), -32768), 32767)));
    this.#samples += samples.length;
    this.#loose += samples.length;
    if (this.#loose > FOLD * this.rate) {
      this.#blobs.push(new Blob(this.#blocks));
      this.#blocks = [];
      this.#loose = 0;
    }
  }
}
