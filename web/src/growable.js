// A typed array that grows at its end.

export class Growable {
  constructor(Type) {
    this.length = 0;
    this.values = new Type(1024);
  }

  push(more) {
    if (this.length + more.length > this.values.length) {
      const larger = new this.values.constructor(Math.ceil(1.5 * (this.length + more.length)));
      larger.set(this.values.subarray(0, this.length));
      this.values = larger;
    }
    this.values.set(more, this.length);
    this.length += more.length;
  }

  /** What is there, without a copy; good until the next push. */
  view(start = 0, end = this.length) {
    return this.values.subarray(start, Math.min(end, this.length));
  }
}
