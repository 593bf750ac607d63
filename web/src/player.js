// Plays stretches of recordings. The browser seeks in the file itself: no decoded sound is kept.

export class Player extends EventTarget {
  #audio = new Audio();
  #end = 0;
  #ask = 0; // number of the latest request: an older one that was still seeking gives way
  recording = null; // what is playing
  time = 0;

  constructor() {
    super();
    this.#audio.addEventListener('ended', () => this.stop());
  }

  async play(recording, start, end) {
    if (!recording.url) return;
    const ask = ++this.#ask;
    this.#audio.pause();
    if (this.#audio.src !== recording.url) this.#audio.src = recording.url;
    start = Math.max(start, 0);
    try {
      this.#audio.currentTime = start;
      await this.#audio.play();
    } catch (error) {
      if (ask === this.#ask && error.name !== 'AbortError') this.stop();
      return;
    }
    if (ask !== this.#ask) return;
    this.recording = recording;
    this.#end = end;
    this.#follow(ask);
  }

  stop() {
    this.#ask++;
    this.#audio.pause();
    this.recording = null;
    this.dispatchEvent(new Event('change'));
  }

  #follow(ask) {
    if (ask !== this.#ask) return;
    this.time = this.#audio.currentTime;
    if (this.time >= this.#end) return this.stop();
    this.dispatchEvent(new Event('change'));
    requestAnimationFrame(() => this.#follow(ask));
  }
}
