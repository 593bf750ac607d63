// What is open, what is marked, what was found. Views change it through its methods and listen to its events:
//   files     a recording came, went, or changed its state
//   progress  more of a recording was heard
//   current   another recording is shown
//   mark      another stretch is marked
//   found     other matches, or none
//   classes   other classes or marks
//   threshold another threshold of a class

import { nearest, similarities } from './similarity.js';

const MATCHES = 12;

export class Session extends EventTarget {
  recordings = [];
  current = null;
  mark = null; // {recording, start, end} in seconds
  query = null; // the mark that `matches` belong to
  matches = [];
  similarity = null; // Map of recording -> Float32Array
  classes = null; // Classes, once the model is there

  constructor(player) {
    super();
    this.player = player;
  }

  emit(type) {
    this.dispatchEvent(new Event(type));
  }

  on(types, listener) {
    for (const type of types.split(' ')) this.addEventListener(type, listener);
  }

  /** Recordings of which there is something to look at. */
  get heard() {
    return this.recordings.filter((r) => r.windows > 0);
  }

  add(recording) {
    this.recordings.push(recording);
    this.emit('files');
    if (!this.current) this.show(recording);
  }

  remove(recording) {
    this.recordings = this.recordings.filter((r) => r !== recording);
    recording.state = 'removed';
    if (this.player.recording === recording) this.player.stop();
    if (recording.url) URL.revokeObjectURL(recording.url);
    if (this.mark?.recording === recording) this.setMark(null);
    if (this.query?.recording === recording) this.forget();
    else if (this.query) this.find(this.query);
    if (this.current === recording) this.show(this.recordings[0] ?? null);
    this.emit('files');
  }

  show(recording) {
    this.current = recording;
    this.emit('current');
  }

  setMark(mark) {
    this.mark = mark;
    this.emit('mark');
  }

  /** Find what sounds like the marked stretch, among all that was heard. */
  find(query = this.mark) {
    if (!query || !query.recording.windows) return;
    this.query = query;
    this.similarity = similarities(this.heard, query);
    this.matches = nearest(this.similarity, query, MATCHES);
    this.emit('found');
  }

  forget() {
    this.query = null;
    this.matches = [];
    this.similarity = null;
    this.emit('found');
  }

  /** To be called after marks of classes changed. */
  retrain() {
    this.classes.train(this.heard);
    this.emit('classes');
  }
}
