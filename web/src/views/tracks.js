// The rows of scores under the spectrogram: how alike every moment is to the marked sound, and each class's score.

import { $, element } from '../dom.js';
import { prepare } from '../draw.js';
import { HOP } from '../recording.js';

export class Tracks {
  #session;
  #rows = [];

  constructor(session) {
    this.#session = session;
  }

  /** Rows for what there is to show of the recording in sight. */
  build() {
    const { similarity, classes, current: recording } = this.#session;
    const rows = [];
    if (!recording) return;
    if (similarity) rows.push({ title: 'Like the marked sound', colour: null, values: similarity.get(recording) });
    classes?.list.forEach((c, k) => {
      if (c.examples.length) rows.push({ title: c.name, colour: c.colour, taught: c, index: k });
    });
    $('tracks').replaceChildren(
      ...rows.map((row) => {
        const canvas = element('canvas', { 'aria-hidden': 'true' });
        row.canvas = canvas;
        if (row.taught) this.#dragThreshold(canvas, row.taught);
        const title = element('span', { className: 'title' }, row.title);
        return element('div', { className: row.taught ? 'track draggable' : 'track' }, canvas, title);
      }),
    );
    this.#rows = rows;
  }

  #dragThreshold(canvas, taught) {
    const set = (event) => {
      if (!event.buttons) return;
      const { top, height } = canvas.getBoundingClientRect();
      taught.threshold = Math.min(Math.max(1 - (event.clientY - top) / height, 0.01), 0.99);
      this.#session.emit('threshold');
    };
    canvas.onpointerdown = (event) => (canvas.setPointerCapture(event.pointerId), set(event));
    canvas.onpointermove = set;
  }

  /** Draws the rows from second `start` to `end`, `x0` pixels from the left. */
  draw({ start, end }, x0) {
    const recording = this.#session.current;
    if (!recording) return;
    const style = getComputedStyle(document.documentElement);
    const scores = this.#session.classes?.score(recording);
    for (const { canvas, values, colour, taught, index } of this.#rows) {
      const shown = taught ? scores?.[index] : values;
      const { context, width, height } = prepare(canvas);
      context.fillStyle = style.getPropertyValue('--sunken');
      context.beginPath();
      context.roundRect(x0, 0, width - x0, height, 6);
      context.fill();
      if (!shown) continue;
      context.save();
      context.clip();
      context.beginPath();
      context.moveTo(x0, height);
      for (let px = 0; px <= width - x0; px++) {
        const [a, b] = [px, px + 1].map((p) => (start + (p / (width - x0)) * (end - start)) / HOP);
        let value = interpolated(shown, a);
        for (let w = Math.ceil(a); w < b; w++) value = Math.max(value, shown[w] ?? 0);
        context.lineTo(x0 + px, height - Math.max(value, 0) * (height - 3));
      }
      context.lineTo(width, height);
      context.fillStyle = colour ?? style.getPropertyValue('--accent');
      context.globalAlpha = 0.85;
      context.fill();
      context.globalAlpha = 1;
      if (taught) {
        const y = height - taught.threshold * (height - 3);
        context.fillStyle = style.getPropertyValue('--ink');
        for (let x = x0; x < width; x += 7) context.fillRect(x, y - 0.75, 4, 1.5);
      }
      context.restore();
    }
  }
}

function interpolated(values, at) {
  const k = Math.floor(at);
  if (k < 0 || k + 1 >= values.length) return values[Math.min(Math.max(k, 0), values.length - 1)] ?? 0;
  return values[k] + (at - k) * (values[k + 1] - values[k]);
}
