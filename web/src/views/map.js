// All windows as points: near each other where they sound alike.

import { $, announce, element, perFrame, swatch } from '../dom.js';
import { MARK, clock, prepare } from '../draw.js';
import { cssColour, distinctColour } from '../palette.js';
import { principalComponents } from '../pca.js';

const NEAR = 18; // pixels from which a point is taken
const MARGIN = 22;

export function mapView(session, player, timeline) {
  const canvas = element('canvas', { id: 'map-canvas', tabIndex: 0, role: 'slider', 'aria-label': 'Windows on the map, in the order of time', 'aria-valuemin': '0', 'aria-valuemax': '0', 'aria-valuenow': '0' });
  const colour = element('select', { id: 'map-colour' }, ...['File', 'Time', 'Class'].map((name) => element('option', { value: name.toLowerCase() }, name)));
  const hover = element('input', { type: 'checkbox', id: 'map-hover', checked: true });
  const legend = element('ul');
  const here = element('p', { className: 'here' });
  const side = element(
    'div',
    { className: 'legend' },
    element('label', {}, 'Colour by', colour),
    legend,
    element('label', {}, hover, 'Hear what I point at'),
    here,
  );
  const explain = element('p', { className: 'explain' });
  $('panel-map').append(explain, element('div', { className: 'plot' }, canvas, side));

  let components = null; // made anew when the panel is shown after something changed
  let at = -1; // the point under the pointer, or chosen by keys
  let places = []; // of the points, in pixels

  const draw = perFrame(() => {
    if ($('panel-map').hidden) return;
    components ??= principalComponents(session.heard);
    const { points, x, y, explained } = components;
    const { context, width, height } = prepare(canvas);
    explain.textContent = points.length < 3
      ? 'Too little was heard for a map: open a recording of a few seconds.'
      : `Every point is a window of one second; what lies together sounds alike. The two directions carry ${Math.round(100 * (explained[0] + explained[1]))} % of the variance. Point at one to hear it, click to go there.`;
    const scale = [extent(x), extent(y)];
    const colours = colouring(session, colour.value);
    places = points.map((_, k) => [
      MARGIN + scale[0](x[k]) * (width - 2 * MARGIN),
      height - MARGIN - scale[1](y[k]) * (height - 2 * MARGIN),
    ]);
    const radius = points.length > 5000 ? 1.5 : points.length > 800 ? 2.5 : 4;
    context.globalAlpha = points.length > 800 ? 0.7 : 0.9;
    points.forEach((point, k) => {
      context.fillStyle = colours.of(point);
      context.beginPath();
      context.arc(places[k][0], places[k][1], radius, 0, 2 * Math.PI);
      context.fill();
    });
    context.globalAlpha = 1;
    if (points[at]) {
      context.strokeStyle = MARK;
      context.lineWidth = 2.5;
      context.beginPath();
      context.arc(places[at][0], places[at][1], radius + 5, 0, 2 * Math.PI);
      context.stroke();
    }
    legend.replaceChildren(...colours.legend());
    canvas.setAttribute('aria-valuemax', Math.max(points.length - 1, 0));
  });

  const point = (k, hear) => {
    at = k;
    const chosen = components?.points[k];
    here.textContent = chosen ? `${clock(chosen.window / 10)} of ${chosen.recording.name}` : '';
    canvas.setAttribute('aria-valuenow', Math.max(k, 0));
    canvas.setAttribute('aria-valuetext', here.textContent);
    if (chosen && hear) player.play(chosen.recording, chosen.window / 10 - 0.5, chosen.window / 10 + 0.5);
    draw();
  };
  const go = () => {
    const chosen = components?.points[at];
    if (!chosen) return;
    const middle = chosen.window / 10;
    session.setMark({ recording: chosen.recording, start: Math.max(middle - 0.5, 0), end: middle + 0.5 });
    timeline.reveal(chosen.recording, middle - 0.5, middle + 0.5);
    session.find();
    announce(`Went to ${here.textContent}.`);
  };
  canvas.onpointermove = ({ clientX, clientY }) => {
    const { left, top } = canvas.getBoundingClientRect();
    let best = -1;
    let least = NEAR ** 2;
    places.forEach(([px, py], k) => {
      const distance = (px - clientX + left) ** 2 + (py - clientY + top) ** 2;
      if (distance < least) [best, least] = [k, distance];
    });
    if (best !== at) point(best, hover.checked);
  };
  canvas.onclick = go;
  canvas.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (step && components?.points.length) point((at + step + components.points.length) % components.points.length, hover.checked);
    else if (event.key === 'Enter') go();
    else if (event.key === ' ') point(at, true);
    else return;
    event.preventDefault();
  };
  colour.onchange = draw;
  session.on('files progress', () => ((components = null), (at = -1)));
  session.on('files classes threshold', draw);
  new ResizeObserver(draw).observe(canvas);
}

/** A function from values to 0..1, blind to the one in a hundred that lie farthest out. */
function extent(values) {
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(0.005 * sorted.length)] ?? 0;
  const high = sorted[Math.ceil(0.995 * sorted.length) - 1] ?? 1;
  return (value) => Math.min(Math.max((value - low) / (high - low || 1), -0.03), 1.03);
}

function colouring(session, by) {
  const entry = (colour, text) => element('li', { title: text }, swatch(colour), element('span', {}, text));
  if (by === 'time') {
    return {
      of: ({ recording, window }) => cssColour(0.3 + (0.7 * window) / Math.max(recording.windows, 1)),
      legend: () => [0, 0.5, 1].map((t) => entry(cssColour(0.3 + 0.7 * t), ['beginning', 'middle', 'end'][2 * t])),
    };
  }
  if (by === 'class') {
    const list = session.classes?.list ?? [];
    const scores = new Map(session.heard.map((r) => [r, session.classes?.score(r)]));
    const grey = '#7d7790';
    return {
      of: ({ recording, window }) => {
        let best = grey;
        let most = 0;
        scores.get(recording)?.forEach((values, k) => {
          if (values[window] >= list[k].threshold && values[window] > most) [best, most] = [list[k].colour, values[window]];
        });
        return best;
      },
      legend: () => [...list.map((c) => entry(c.colour, c.name)), entry(grey, list.length ? 'none' : 'no classes yet: see Teach')],
    };
  }
  const colours = new Map(session.recordings.map((r, k) => [r, distinctColour(k)]));
  return {
    of: ({ recording }) => colours.get(recording),
    legend: () => session.heard.map((r) => entry(colours.get(r), r.name)),
  };
}
