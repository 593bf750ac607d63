// What sounds like this: cosines between embeddings from which their mean was taken. Without that, everything is
// about 0.9 alike.

import { HOP } from './recording.js';

/** The mean embedding of all windows, float64 (dimension,). */
export function meanEmbedding(recordings) {
  const dimension = recordings[0]?.dimension ?? 0;
  const mean = new Float64Array(dimension);
  let count = 0;
  for (const recording of recordings) {
    const [first, last] = recording.whole;
    const rows = recording.embeddings.view(first * dimension, last * dimension);
    for (let k = 0; k < rows.length; k++) mean[k % dimension] += rows[k];
    count += last - first;
  }
  return mean.map((sum) => sum / Math.max(count, 1));
}

/** A row less the mean, at length 1. */
export function centred(row, mean) {
  const vector = Float64Array.from(row, (value, k) => value - mean[k]);
  const length = Math.hypot(...vector);
  return length > 0 ? vector.map((value) => value / length) : vector;
}

/** Windows [first, last) of a stretch: those that lie within it, or the one in its middle where it is short. */
export function windowsOf(recording, start, end) {
  const first = Math.max(Math.ceil((start + 0.5) / HOP - 1e-6), 0);
  const last = Math.min(Math.floor((end - 0.5) / HOP + 1e-6), recording.windows - 1);
  if (last > first) return [first, last + 1];
  const middle = Math.min(Math.max(Math.round((start + end) / 2 / HOP), 0), recording.windows - 1);
  return [middle, middle + 1];
}

/**
 * How alike every window of every recording is to a stretch.
 *
 * @returns {Map<Recording, Float32Array>} cosines, -1 to 1, a value for each window
 */
export function similarities(recordings, { recording, start, end }) {
  const mean = meanEmbedding(recordings);
  const query = new Float64Array(mean.length);
  const [first, last] = windowsOf(recording, start, end);
  for (let w = first; w < last; w++) {
    centred(recording.embedding(w), mean).forEach((value, k) => (query[k] += value));
  }
  const length = Math.hypot(...query) || 1;
  const result = new Map();
  for (const other of recordings) {
    const scores = new Float32Array(other.windows);
    const rows = other.embeddings.view();
    for (let w = 0, at = 0; w < scores.length; w++) {
      let dot = 0;
      let square = 0;
      for (let k = 0; k < query.length; k++, at++) {
        const value = rows[at] - mean[k];
        dot += value * query[k];
        square += value * value;
      }
      scores[w] = square > 0 ? dot / length / Math.sqrt(square) : 0;
    }
    result.set(other, scores);
  }
  return result;
}

/** The best windows, best first, none within a second of a better one or of the stretch that was asked for. */
export function nearest(scores, { recording, start, end }, limit) {
  const all = [];
  for (const [other, values] of scores) {
    const [first, last] = other.whole;
    for (let window = first; window < last; window++) {
      const time = window * HOP;
      if (other === recording && time > start - 0.5 && time < end + 0.5) continue;
      // Of windows side by side the summit alone is wanted: that spares sorting the rest.
      if (values[window] < values[window - 1] || values[window] < values[window + 1]) continue;
      all.push({ recording: other, window, time, score: values[window] });
    }
  }
  all.sort((a, b) => b.score - a.score);
  const chosen = [];
  for (const match of all) {
    if (chosen.length === limit) break;
    if (!chosen.some((c) => c.recording === match.recording && Math.abs(c.time - match.time) < 1)) chosen.push(match);
  }
  return chosen;
}
