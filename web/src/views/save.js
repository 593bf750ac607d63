// Take it home.

import { detections } from '../classes.js';
import { $, download, element } from '../dom.js';
import { audacityLabels, embeddingsCsv, scoresCsv } from '../labels.js';

export function saveView(session) {
  const offers = [
    {
      title: 'Labels of what was found',
      about: 'The matches of the marked sound in the recording that is shown, as an Audacity label track.',
      ready: () => session.matches.some((m) => m.recording === session.current),
      save: () => download(`${stem(session.current)}.txt`, [audacityLabels(matchLabels(session))], 'text/plain'),
    },
    {
      title: 'Labels of the classes',
      about: 'Where each class is over its threshold in the recording that is shown, as an Audacity label track.',
      ready: () => Boolean(session.current?.windows && session.classes?.weights),
      save: () => download(`${stem(session.current)}.txt`, [audacityLabels(classLabels(session))], 'text/plain'),
    },
    {
      title: 'Embeddings',
      about: 'A row for each window of every recording, 64 values each, as comma-separated values.',
      ready: () => session.heard.length > 0,
      save: () => download('embeddings.csv', embeddingsCsv(session.heard), 'text/csv'),
    },
    {
      title: 'Scores',
      about: 'A row for each window of every recording, a column for each class, 0 to 1.',
      ready: () => Boolean(session.heard.length && session.classes?.weights),
      save: () => download('scores.csv', scoresCsv(session.heard, session.classes), 'text/csv'),
    },
  ];
  const buttons = offers.map(({ title, save }) => element('button', { className: 'small', onclick: save, 'aria-label': `Save: ${title}` }, 'Save'));
  $('panel-save').append(
    element('p', { className: 'explain' }, 'Files are made in this page and go to your downloads. The classes themselves are saved under Teach.'),
    element(
      'div',
      { className: 'downloads' },
      ...offers.map(({ title, about }, k) =>
        element('div', { className: 'download' }, element('h3', {}, title), element('p', {}, about), buttons[k]),
      ),
    ),
  );
  const draw = () => offers.forEach(({ ready }, k) => (buttons[k].disabled = !ready()));
  session.on('files current found classes', draw);
  draw();
}

const stem = (recording) => recording.name.replace(/\.[^.]*$/, '');

function matchLabels({ matches, current }) {
  return matches
    .map(({ recording, time, score }, k) => ({ recording, start: time - 0.5, end: time + 0.5, text: `${k + 1} (${score.toFixed(2)})` }))
    .filter(({ recording }) => recording === current);
}

function classLabels({ classes, current }) {
  return classes.score(current).flatMap((scores, k) => {
    const { name, threshold } = classes.list[k];
    return detections(scores, threshold, current.seconds).map((d) => ({ ...d, text: name }));
  });
}
