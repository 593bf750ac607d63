// What sounds like the marked stretch, best first.

import { $, announce, element } from '../dom.js';
import { MARK, clock, drawSpectrogram, prepare } from '../draw.js';

const MARGIN = 0.3; // seconds shown around a window

export function similarView(session, player, timeline) {
  const explain = element('p', { className: 'explain' });
  const list = element('ol', { className: 'matches', 'aria-label': 'What sounds alike, best first' });
  $('panel-similar').append(explain, list);

  const draw = () => {
    const { query, matches, recordings } = session;
    const waiting = recordings.some((r) => r.state === 'reading' || r.state === 'listening');
    if (!query) explain.textContent = 'Drag over a sound in the spectrogram, or click it: the windows that sound most like it are listed here and framed above. Click one to hear it.';
    else if (!matches.length) explain.textContent = 'Nothing else was heard yet to compare it with. Open more, or longer, recordings.';
    else explain.textContent = `Like ${clock(query.start)} – ${clock(query.end)} of ${query.recording.name}, ${where(session)}${waiting ? ', so far' : ''}.`;
    list.replaceChildren(...matches.map((match, k) => card(match, k, player, timeline)));
    requestAnimationFrame(() => list.querySelectorAll('canvas').forEach((canvas, k) => thumbnail(canvas, session.matches[k])));
  };
  session.on('found', () => {
    draw();
    const { matches } = session;
    if (matches.length) announce(`${matches.length} windows found. The best: ${clock(matches[0].time)} of ${matches[0].recording.name}.`);
  });
  session.on('files', draw);
  player.addEventListener('change', () => {
    list.querySelectorAll('.match').forEach((button, k) => {
      const match = session.matches[k];
      button.classList.toggle('playing', player.recording === match?.recording && Math.abs(player.time - match.time) < 0.55);
    });
  });
  draw();
}

function where(session) {
  const files = session.heard.length;
  return files === 1 ? 'in this recording' : `among ${files} recordings`;
}

function card(match, index, player, timeline) {
  const { recording, time, score } = match;
  const hear = () => {
    timeline.reveal(recording, time - 0.5, time + 0.5);
    player.play(recording, time - 0.5, time + 0.5);
  };
  const alike = `${Math.round(100 * Math.max(score, 0))} %`;
  return element(
    'li',
    {},
    element(
      'button',
      { className: 'match', onclick: hear, title: 'Play' },
      element('canvas', { 'aria-hidden': 'true' }),
      element(
        'span',
        { className: 'caption' },
        element('span', { className: 'rank' }, index + 1),
        element('span', {}, hidden(' at '), clock(time), hidden(', ')),
        element('span', { className: 'score', title: 'cosine of the angle between the two, the mean of all windows taken off' }, alike, hidden(' alike')),
        element('span', { className: 'where' }, hidden(' in '), recording.name),
      ),
    ),
  );
}

/** Words for those who do not see where things stand. */
function hidden(text) {
  return element('span', { className: 'visually-hidden' }, text);
}

function thumbnail(canvas, match) {
  if (!match || !canvas.clientWidth) return;
  const { context, width, height } = prepare(canvas);
  const from = match.time - 0.5 - MARGIN;
  const span = 1 + 2 * MARGIN;
  drawSpectrogram(context, match.recording, from, from + span, { x: 0, y: 0, width, height });
  context.fillStyle = MARK;
  for (const edge of [MARGIN, 1 + MARGIN]) context.fillRect((edge / span) * width - 0.5, height - 8, 1.5, 8);
}
