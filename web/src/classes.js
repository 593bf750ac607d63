// Teach it: classes from a few marked stretches. A softmax over the classes and the background, with a penalty on
// its weights, trained anew whenever a mark changes; some milliseconds.

import { HOP } from './recording.js';
import { meanEmbedding, windowsOf } from './similarity.js';

export const FORMAT = 'edgel3-onnx classes 1';
const STEPS = 300;
const PENALTY = 0.01;
const STAND_IN = 200; // windows that stand for the background where none is marked
const COLOURS = ['#2b8ccf', '#e06c25', '#1da377', '#cf72a8', '#c9930c', '#8b6fe0'];

/** The classes that are being taught. `background` is one like the others, but without scores of its own. */
export class Classes {
  constructor(model) {
    this.model = model; // {name, digest, dimension}
    this.list = [];
    this.background = { name: 'background', examples: [] };
    this.mean = null; // of the windows that were open when it was trained
    this.weights = null; // (classes + 1, dimension + 1) rows, the background's last
  }

  add(name) {
    const used = new Set(this.list.map((c) => c.colour));
    const colour = COLOURS.find((c) => !used.has(c)) ?? COLOURS[this.list.length % COLOURS.length];
    const made = { name, colour, threshold: 0.5, examples: [] };
    this.list.push(made);
    return made;
  }

  /** Mark a stretch as an example: its windows' embeddings are kept, and where they come from. */
  mark(target, recording, start, end) {
    const [first, last] = windowsOf(recording, start, end);
    const rows = [];
    for (let w = first; w < last; w++) rows.push(Array.from(recording.embedding(w)));
    target.examples.push({ file: recording.name, start, end, rows });
  }

  /** Train on the marks. Without any class that has one there is nothing to score. */
  train(recordings) {
    this.weights = null;
    const taught = this.list.filter((c) => c.examples.length);
    if (!taught.length) return;
    const open = recordings.filter((r) => r.windows);
    if (open.length) this.mean = meanEmbedding(open);
    const rows = [];
    const targets = [];
    const counts = new Array(this.list.length + 1).fill(0);
    const take = (row, target) => {
      rows.push(row);
      targets.push(target);
      counts[target]++;
    };
    this.list.forEach((c, k) => c.examples.forEach((e) => e.rows.forEach((row) => take(row, k))));
    const last = this.list.length;
    this.background.examples.forEach((e) => e.rows.forEach((row) => take(row, last)));
    if (!counts[last]) for (const row of this.#standIn(open)) take(row, last);
    const spread = this.#spread(rows);
    const inputs = rows.map((row) => Float64Array.from(row, (value, k) => (value - this.mean[k]) / spread));
    // A class counts as much as another, however many windows were marked of it.
    const present = counts.filter((n) => n).length;
    this.weights = fit(inputs, targets, last + 1, (k) => 1 / (present * counts[k]));
    for (const row of this.weights) for (let k = 0; k < this.model.dimension; k++) row[k] /= spread;
  }

  /** @returns {Float32Array[]} for each class, its score (0 to 1) in each window; null while nothing is taught */
  score(recording) {
    if (!this.weights) return null;
    const { dimension } = this.model;
    const scores = this.list.map(() => new Float32Array(recording.windows));
    const logits = new Float64Array(this.weights.length);
    const rows = recording.embeddings.view();
    for (let w = 0, base = 0; w < recording.windows; w++, base += dimension) {
      for (let c = 0; c < logits.length; c++) {
        const weights = this.weights[c];
        let sum = weights[dimension];
        for (let k = 0; k < dimension; k++) sum += weights[k] * (rows[base + k] - this.mean[k]);
        logits[c] = sum;
      }
      softmax(logits);
      for (let c = 0; c < scores.length; c++) scores[c][w] = this.list[c].examples.length ? logits[c] : 0;
    }
    return scores;
  }

  toJSON() {
    const bare = ({ name, colour, threshold, examples }) => ({ name, colour, threshold, examples });
    return {
      format: FORMAT,
      model: { name: this.model.name, sha256: this.model.digest },
      mean: this.mean && Array.from(this.mean),
      classes: this.list.map(bare),
      background: this.background.examples,
    };
  }

  /** @throws {Error} if the text is no file of classes, or they were taught to another model */
  static parse(text, model) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      throw new Error('is not a file of classes: it is no JSON');
    }
    if (data?.format !== FORMAT) throw new Error(`is not a file of classes: its format is ${JSON.stringify(data?.format)}, "${FORMAT}" is needed`);
    if (data.model?.sha256 !== model.digest) {
      throw new Error(`was taught to another model (${data.model?.name}, sha256 ${String(data.model?.sha256).slice(0, 12)}…; this page has ${model.name}, ${model.digest.slice(0, 12)}…): teach the classes anew`);
    }
    const classes = new Classes(model);
    const example = ({ file, start, end, rows }) => {
      const good = Array.isArray(rows) && rows.every((row) => row.length === model.dimension && row.every(Number.isFinite));
      if (!good) throw new Error(`is damaged: an example is not rows of ${model.dimension} numbers`);
      return { file: String(file), start: Number(start), end: Number(end), rows };
    };
    for (const { name, threshold, examples } of data.classes) {
      const made = classes.add(String(name));
      made.threshold = Math.min(Math.max(Number(threshold), 0), 1);
      made.examples = examples.map(example);
    }
    classes.background.examples = data.background.map(example);
    classes.mean = data.mean && Float64Array.from(data.mean);
    return classes;
  }

  *#standIn(recordings) {
    const marked = [...this.list.flatMap((c) => c.examples)];
    const free = [];
    for (const recording of recordings) {
      const [first, last] = recording.whole;
      for (let w = first; w < last; w++) {
        const near = marked.some((e) => e.file === recording.name && w * HOP > e.start - 0.5 && w * HOP < e.end + 0.5);
        if (!near) free.push([recording, w]);
      }
    }
    const step = Math.max(free.length / STAND_IN, 1);
    for (let k = 0; k < free.length; k += step) {
      const [recording, w] = free[Math.floor(k)];
      yield recording.embedding(w);
    }
  }

  #spread(rows) {
    let sum = 0;
    for (const row of rows) for (let k = 0; k < row.length; k++) sum += (row[k] - this.mean[k]) ** 2;
    return Math.sqrt(sum / (rows.length * this.model.dimension)) || 1;
  }
}

/** Weights and bias (classes, dimension + 1) that minimise the weighted cross-entropy: gradient steps with momentum. */
function fit(inputs, targets, classes, share) {
  const dimension = inputs[0].length;
  const weights = Array.from({ length: classes }, () => new Float64Array(dimension + 1));
  const speed = weights.map((row) => row.slice());
  const logits = new Float64Array(classes);
  for (let step = 0; step < STEPS; step++) {
    const gradient = weights.map((row) => row.map((w, k) => (k < dimension ? PENALTY * w : 0)));
    inputs.forEach((input, n) => {
      for (let c = 0; c < classes; c++) {
        let sum = weights[c][dimension];
        for (let k = 0; k < dimension; k++) sum += weights[c][k] * input[k];
        logits[c] = sum;
      }
      softmax(logits);
      const part = share(targets[n]);
      for (let c = 0; c < classes; c++) {
        const error = (logits[c] - (c === targets[n] ? 1 : 0)) * part;
        for (let k = 0; k < dimension; k++) gradient[c][k] += error * input[k];
        gradient[c][dimension] += error;
      }
    });
    for (let c = 0; c < classes; c++) {
      for (let k = 0; k <= dimension; k++) {
        speed[c][k] = 0.9 * speed[c][k] - 0.05 * gradient[c][k];
        weights[c][k] += speed[c][k];
      }
    }
  }
  return weights;
}

function softmax(values) {
  const top = Math.max(...values);
  let sum = 0;
  for (let k = 0; k < values.length; k++) sum += values[k] = Math.exp(values[k] - top);
  for (let k = 0; k < values.length; k++) values[k] /= sum;
}

/** Stretches where a score stays at or above a threshold: half a second around each window's middle, joined. */
export function detections(scores, threshold, seconds) {
  const found = [];
  for (let w = 0; w < scores.length; w++) {
    if (scores[w] < threshold) continue;
    const start = Math.max(w * HOP - 0.25, 0);
    const end = Math.min(w * HOP + 0.25, seconds);
    const last = found.at(-1);
    if (last && start <= last.end + 1e-9) {
      last.end = end;
      last.score = Math.max(last.score, scores[w]);
    } else if (end > start) found.push({ start, end, score: scores[w] });
  }
  return found;
}
