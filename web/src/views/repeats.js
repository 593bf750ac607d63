// The self-similarity matrix of the recording that is shown: bright off the diagonal where something comes again.

import { $, element, perFrame } from '../dom.js';
import { MARK, clock, prepare } from '../draw.js';
import { PALETTE, cssColour } from '../palette.js';
import { HOP } from '../recording.js';
import { centred, meanEmbedding } from '../similarity.js';

const MOST = 480; // rows; of a longer recording each is the mean of some windows

export function repeatsView(session, player, timeline) {
  const canvas = element('canvas', { id: 'matrix-canvas', tabIndex: 0, role: 'slider', 'aria-label': 'Two moments to compare; the second one moves', 'aria-valuemin': '0', 'aria-valuemax': '1', 'aria-valuenow': '0' });
  const explain = element('p', { className: 'explain' }, 'Every moment of this recording against every other: bright where they sound alike. A bright line beside the diagonal is a passage that comes again, a bright square a steady sound. Click to hear the one, then the other.');
  const here = element('p', { className: 'here' });
  const ramp = element('canvas', { className: 'ramp', 'aria-hidden': 'true' });
  const side = element('div', { className: 'legend' }, element('div', {}, ramp, element('div', { className: 'ends' }, element('span', {}, 'unlike'), element('span', {}, 'alike'))), here);
  $('panel-repeats').append(explain, element('div', { className: 'plot square' }, canvas, side));

  let matrix = null; // {size, step, values} of the recording shown
  let cross = [0, 0]; // the two moments, as rows

  const draw = perFrame(() => {
    const recording = session.current;
    if ($('panel-repeats').hidden || !recording?.windows) return;
    matrix ??= selfSimilarity(recording);
    const { size, values } = matrix;
    const picture = new OffscreenCanvas(size, size);
    const image = new ImageData(size, size);
    const out = new Uint32Array(image.data.buffer);
    values.forEach((value, k) => (out[k] = PALETTE[Math.round(Math.min(Math.max(value, 0), 1) * 255)]));
    picture.getContext('2d').putImageData(image, 0, 0);
    const { context, width, height } = prepare(canvas);
    context.imageSmoothingEnabled = size > width;
    context.drawImage(picture, 0, 0, width, height);
    context.fillStyle = MARK;
    context.fillRect(((cross[0] + 0.5) / size) * width - 0.5, 0, 1, height);
    context.fillRect(0, ((cross[1] + 0.5) / size) * height - 0.5, width, 1);
    const shade = prepare(ramp);
    for (let px = 0; px < shade.width; px++) {
      shade.context.fillStyle = cssColour(px / shade.width);
      shade.context.fillRect(px, 0, 1.5, shade.height);
    }
  });

  const time = (row) => (row + 0.5) * matrix.step * HOP;
  const move = (x, y) => {
    if (!matrix) return;
    const clamp = (v) => Math.min(Math.max(v, 0), matrix.size - 1);
    cross = [clamp(x), clamp(y)];
    const alike = Math.max(matrix.values[cross[1] * matrix.size + cross[0]], 0);
    here.textContent = `${clock(time(cross[1]))} and ${clock(time(cross[0]))}: ${Math.round(100 * alike)} % alike`;
    canvas.setAttribute('aria-valuemax', matrix.size - 1);
    canvas.setAttribute('aria-valuenow', cross[0]);
    canvas.setAttribute('aria-valuetext', here.textContent);
    draw();
  };
  const hear = async () => {
    const recording = session.current;
    if (!matrix || !recording) return;
    const [second, first] = cross.map(time);
    timeline.reveal(recording, first - 0.5, first + 0.5);
    await player.play(recording, first - 0.5, first + 0.5);
    const next = () => {
      if (player.recording) return;
      player.removeEventListener('change', next);
      timeline.reveal(recording, second - 0.5, second + 0.5);
      player.play(recording, second - 0.5, second + 0.5);
    };
    player.addEventListener('change', next);
  };
  const rowsAt = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const { size } = matrix ?? { size: 0 };
    return [Math.floor(((clientX - left) / width) * size), Math.floor(((clientY - top) / height) * size)];
  };
  canvas.onpointermove = (event) => move(...rowsAt(event));
  canvas.onclick = (event) => {
    move(...rowsAt(event));
    hear();
  };
  canvas.onkeydown = (event) => {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const [x, y] = steps[event.key] ?? [0, 0];
    if (event.key === 'Enter' || event.key === ' ') hear();
    else if (x || y) move(cross[0] + x, cross[1] + y);
    else return;
    event.preventDefault();
  };
  session.on('current', () => {
    matrix = null;
    cross = [0, 0];
    here.textContent = '';
    draw();
  });
  session.on('progress files', () => ((matrix = null), draw()));
  new ResizeObserver(draw).observe(canvas);
}

function selfSimilarity(recording) {
  const [from, to] = recording.whole;
  const step = Math.max(Math.ceil((to - from) / MOST), 1);
  const size = Math.max(Math.floor(recording.windows / step), 1);
  const mean = meanEmbedding([recording]);
  const rows = Array.from({ length: size }, (_, r) => {
    const sum = new Float64Array(mean.length);
    for (let w = r * step; w < (r + 1) * step; w++) recording.embedding(w).forEach((v, k) => (sum[k] += v / step));
    return centred(sum, mean);
  });
  const values = new Float32Array(size * size);
  for (let a = 0; a < size; a++) {
    for (let b = 0; b <= a; b++) {
      let dot = 0;
      for (let k = 0; k < mean.length; k++) dot += rows[a][k] * rows[b][k];
      values[a * size + b] = values[b * size + a] = dot;
    }
  }
  return { size, step, values };
}
