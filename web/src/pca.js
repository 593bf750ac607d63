// The two directions in which the windows differ most.

const MOST = 20000; // windows that are drawn; of more, every second, third, ... is taken
const ITERATIONS = 100;

/** @returns {{points: {recording, window}[], x: Float32Array, y: Float32Array, explained: number[]}} shares of variance */
export function principalComponents(recordings) {
  const total = recordings.reduce((n, { whole: [first, last] }) => n + last - first, 0);
  const step = Math.ceil(total / MOST);
  const points = [];
  for (const recording of recordings) {
    const [first, last] = recording.whole;
    for (let window = first; window < last; window += step) points.push({ recording, window });
  }
  const x = new Float32Array(points.length);
  const y = new Float32Array(points.length);
  if (points.length < 3) return { points, x, y, explained: [0, 0] };
  const d = recordings[0].dimension;
  const mean = new Float64Array(d);
  for (const { recording, window } of points) recording.embedding(window).forEach((v, k) => (mean[k] += v / points.length));
  const covariance = Array.from({ length: d }, () => new Float64Array(d));
  for (const { recording, window } of points) {
    const row = recording.embedding(window);
    for (let i = 0; i < d; i++) for (let j = 0; j <= i; j++) covariance[i][j] += (row[i] - mean[i]) * (row[j] - mean[j]);
  }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) covariance[j][i] = covariance[i][j];
  const variance = covariance.reduce((sum, row, k) => sum + row[k], 0) || 1;
  const first = leading(covariance);
  for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) covariance[i][j] -= first.value * first.vector[i] * first.vector[j];
  const second = leading(covariance);
  points.forEach(({ recording, window }, n) => {
    const row = recording.embedding(window);
    for (let k = 0; k < d; k++) {
      x[n] += (row[k] - mean[k]) * first.vector[k];
      y[n] += (row[k] - mean[k]) * second.vector[k];
    }
  });
  return { points, x, y, explained: [first.value / variance, second.value / variance] };
}

/** The largest eigenvalue of a symmetric matrix and its vector, by power iteration; the vector's sign is fixed. */
function leading(matrix) {
  let vector = Float64Array.from(matrix, (row, k) => row[k] + 1e-9 * (k + 1));
  let value = 0;
  for (let n = 0; n < ITERATIONS; n++) {
    const product = Float64Array.from(matrix, (row) => row.reduce((sum, v, k) => sum + v * vector[k], 0));
    value = Math.hypot(...product);
    if (value === 0) return { value, vector };
    vector = product.map((v) => v / value);
  }
  const largest = vector.reduce((best, v) => (Math.abs(v) > Math.abs(best) ? v : best), 0);
  return { value, vector: largest < 0 ? vector.map((v) => -v) : vector };
}
