// What people take home, in the formats of the Python package: Audacity's labels, and tables of comma-separated values.

import { HOP } from './recording.js';

const WINDOW = 1; // seconds

/** An Audacity label track: start, end and text of each line, between tabs. */
export function audacityLabels(labels) {
  const clean = (text) => text.replace(/[\t\r\n]+/g, ' ');
  return [...labels]
    .sort((a, b) => a.start - b.start || a.end - b.end)
    .map(({ start, end, text }) => `${start.toFixed(6)}\t${end.toFixed(6)}\t${clean(text)}\n`)
    .join('');
}

/** @returns {string[]} parts of one file: path,start,end,channel,label,e0,... with a row for each window */
export function embeddingsCsv(recordings) {
  const { dimension } = recordings[0];
  const parts = [`path,start,end,channel,label,${Array.from({ length: dimension }, (_, k) => `e${k}`).join(',')}\n`];
  for (const recording of recordings) {
    for (let w = 0; w < recording.windows; w += 1000) {
      const lines = [];
      for (let k = w; k < Math.min(w + 1000, recording.windows); k++) {
        lines.push(`${place(recording, k)},,,${Array.from(recording.embedding(k), digits).join(',')}\n`);
      }
      parts.push(lines.join(''));
    }
  }
  return parts;
}

/** @returns {string[]} parts of one file: path,start,end and a column for each class */
export function scoresCsv(recordings, classes) {
  const parts = [`path,start,end,${classes.list.map((c) => quoted(c.name)).join(',')}\n`];
  for (const recording of recordings) {
    const scores = classes.score(recording);
    const lines = [];
    for (let w = 0; w < recording.windows; w++) {
      lines.push(`${place(recording, w)},${scores.map((s) => s[w].toFixed(6)).join(',')}\n`);
    }
    parts.push(lines.join(''));
  }
  return parts;
}

function place(recording, window) {
  const start = window * HOP - WINDOW / 2;
  return `${quoted(recording.name)},${seconds(start)},${seconds(start + WINDOW)}`;
}

function seconds(value) {
  const text = String(Number(value.toFixed(6)));
  return text.includes('.') ? text : `${text}.0`;
}

/** As C's %.9g prints a float32: as many digits as give it back. */
function digits(value) {
  const [mantissa, exponent] = value.toExponential(8).split('e');
  if (exponent >= -4 && exponent < 9) return String(Number(value.toPrecision(9)));
  return `${Number(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
