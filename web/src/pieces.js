// What the readers of several formats share.

/** Why a file cannot be read any further. What comes before was given. */
export class DamageError extends Error {}

/** The bytes of a file from `start` on, some at a time. */
export async function* pieces(file, start, length) {
  for (let at = start; at < file.size; at += length) yield new Uint8Array(await file.slice(at, at + length).arrayBuffer());
}

/** Arrays of one type as one. */
export function joined(parts) {
  if (parts.length === 1) return parts[0];
  const all = new (parts[0]?.constructor ?? Float32Array)(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

/** @param {Float32Array[]} channels @returns {Float32Array} their mean */
export function average(channels) {
  if (channels.length === 1) return channels[0].slice();
  const mono = new Float32Array(channels[0].length);
  for (let n = 0; n < mono.length; n++) {
    let sum = 0;
    for (const channel of channels) sum += channel[n];
    mono[n] = sum / channels.length;
  }
  return mono;
}
