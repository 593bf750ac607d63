// Teach it: classes, their marks, their thresholds.

import { Classes, detections } from '../classes.js';
import { $, announce, complain, download, element, swatch } from '../dom.js';

export function teachView(session) {
  const explain = element(
    'p',
    { className: 'explain' },
    'Mark a sound above, name it, and add it; two or three examples are often enough. Its score appears under the spectrogram: drag the dashed line to set from where on it counts. Mark a few stretches of background too; without any, the rest of what is open stands in for it.',
  );
  const name = element('input', { type: 'text', id: 'class-name', placeholder: 'bird, knock, engine…', maxLength: 60, autocomplete: 'off' });
  const add = element('button', { className: 'primary' }, 'Add the marked sound');
  const form = element('div', { className: 'row' }, element('label', { for: 'class-name' }, 'New class'), name, add);
  const list = element('div', { className: 'classes' });
  const picker = element('input', { type: 'file', accept: '.json,application/json', hidden: true, 'aria-label': 'A file of classes' });
  const save = element('button', {}, 'Save classes');
  const load = element('button', { onclick: () => picker.click() }, 'Load classes');
  $('panel-teach').append(explain, form, list, element('div', { className: 'row' }, save, load, picker));

  const mark = (target) => {
    const { recording, start, end } = session.mark;
    session.classes.mark(target, recording, start, end);
    session.retrain();
    announce(`${target.name}: ${target.examples.length} marked.`);
  };
  const addClass = () => {
    const wanted = name.value.trim();
    if (!wanted) return name.focus();
    const known = session.classes.list.find((c) => c.name === wanted);
    name.value = '';
    mark(known ?? session.classes.add(wanted));
  };
  add.onclick = addClass;
  name.onkeydown = (event) => {
    if (event.key === 'Enter' && !add.disabled) addClass();
  };
  save.onclick = () => {
    download('classes.json', [JSON.stringify(session.classes, null, 1)], 'application/json');
  };
  picker.onchange = async () => {
    const [file] = picker.files;
    picker.value = '';
    if (file) await loadClasses(session, file);
  };

  const draw = () => {
    const { classes, mark: marked } = session;
    add.disabled = !marked;
    add.title = marked ? '' : 'Mark a stretch of the spectrogram first';
    save.disabled = !classes?.list.length;
    if (!classes) return;
    const found = count(session);
    const focused = document.activeElement?.dataset?.key;
    const rows = classes.list.map((c, k) => row(session, c, k, mark, found[k]));
    if (classes.list.length) rows.push(row(session, classes.background, 'background', mark));
    list.replaceChildren(...rows);
    if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
  };
  session.on('mark classes files', draw);
  session.on('threshold', () => {
    const found = count(session);
    session.classes.list.forEach((c, k) => {
      const shown = list.children[k];
      shown.querySelector('input').value = c.threshold;
      shown.querySelector('output').textContent = c.threshold.toFixed(2);
      shown.querySelector('.about').textContent = summary(c, found[k]);
    });
  });
  draw();
}

/** Classes from a file, in place of those there are. Says what is wrong with it. */
export async function loadClasses(session, file) {
  try {
    session.classes = Classes.parse(await file.text(), session.classes.model);
    session.retrain();
    announce(`${session.classes.list.length} classes loaded.`);
  } catch (error) {
    complain(`${file.name} ${error.message}`);
  }
}

function row(session, taught, key, mark, found) {
  const background = key === 'background';
  const put = element('button', { className: 'small', 'data-key': `mark-${key}`, 'aria-label': `Add mark to ${taught.name}`, onclick: () => mark(taught) }, 'Add mark');
  put.disabled = !session.mark;
  const word = background ? 'Clear' : 'Remove';
  const clear = element('button', { className: 'small plain', 'data-key': `clear-${key}`, 'aria-label': `${word} ${taught.name}` }, word);
  clear.onclick = () => {
    if (background) taught.examples = [];
    else session.classes.list.splice(key, 1);
    session.retrain();
  };
  const label = element('label', {}, background ? '' : 'Threshold');
  if (!background) {
    const shown = element('output', {}, taught.threshold.toFixed(2));
    const slider = element('input', { type: 'range', min: '0.01', max: '0.99', step: '0.01', value: taught.threshold, 'aria-label': `Threshold of ${taught.name}`, 'data-key': `threshold-${key}` });
    slider.oninput = () => {
      taught.threshold = Number(slider.value);
      session.emit('threshold');
    };
    label.append(slider, shown);
  }
  return element(
    'div',
    { className: 'class', role: 'group', 'aria-label': taught.name },
    background ? element('span') : swatch(taught.colour),
    element('span', { className: 'title' }, background ? 'Background' : taught.name),
    element('span', { className: 'about' }, summary(taught, found)),
    label,
    element('span', { className: 'buttons' }, put, clear),
  );
}

function summary(taught, found) {
  const marked = `${taught.examples.length} marked`;
  if (!found) return taught.examples.length ? marked : 'none marked: the rest stands in';
  return `${marked} · found ${found.times} × in ${found.files} ${found.files === 1 ? 'file' : 'files'}`;
}

function count(session) {
  const totals = session.classes?.list.map(() => ({ times: 0, files: 0 })) ?? [];
  for (const recording of session.heard) {
    session.classes?.score(recording)?.forEach((scores, k) => {
      const { length } = detections(scores, session.classes.list[k].threshold, recording.seconds);
      totals[k].times += length;
      totals[k].files += length > 0;
    });
  }
  return totals;
}
