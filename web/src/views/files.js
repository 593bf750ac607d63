// The list of what is open.

import { $, element, swatch, throttled } from '../dom.js';
import { clock } from '../draw.js';
import { distinctColour } from '../palette.js';

const FORMATS = { wav: 'WAV', flac: 'FLAC', mp3: 'MP3', ogg: 'Ogg', opus: 'Opus', m4a: 'AAC', webm: 'WebM' };

export function filesView(session) {
  const draw = () => {
    const focused = document.activeElement?.dataset?.key;
    $('files').replaceChildren(...session.recordings.map((recording, k) => entry(session, recording, k)));
    if (focused) document.querySelector(`[data-key="${focused}"]`)?.focus();
  };
  session.on('files current', draw);
  session.on('progress', throttled(300, draw));
}

function entry(session, recording, index) {
  const current = recording === session.current;
  const choose = element(
    'button',
    { className: 'choose', onclick: () => session.show(recording), title: recording.name, 'data-key': `choose-${recording.id}` },
    element('span', { className: 'name' }, swatch(distinctColour(index)), recording.name),
    element('span', { className: 'about' }, about(recording)),
  );
  if (current) choose.setAttribute('aria-current', 'true');
  const remove = element(
    'button',
    { className: 'remove plain', onclick: () => session.remove(recording), 'aria-label': `Close ${recording.name}`, 'data-key': `close-${recording.id}` },
    '×',
  );
  const item = element('li', { className: `file ${recording.state}${current ? ' current' : ''}` }, choose);
  if (recording.state !== 'listening') item.append(remove);
  if (recording.state === 'reading') {
    const bar = element('progress', { max: 1, 'aria-label': `Reading ${recording.name}` });
    if (recording.announced) bar.value = recording.heard / recording.announced;
    item.append(bar);
  }
  return item;
}

function about(recording) {
  const { state, seconds, format, rate, windows, note } = recording;
  if (state === 'waiting') return 'waiting';
  if (state === 'reading' && !windows) return 'reading…';
  const source = format ? `${FORMATS[format]} ${rate / 1000} kHz` : `${rate / 1000} kHz`;
  const count = state === 'done' ? '' : `${windows.toLocaleString('en')} windows`;
  return [clock(seconds, seconds < 10 ? 1 : 0), source, count, note].filter(Boolean).join(' · ');
}
