// Puts the page together: what is opened goes through the engine into the session; the views show it.

import { Capture } from './capture.js';
import { Classes } from './classes.js';
import { DecodeError, openRecording } from './decode.js';
import { $, announce, complain, throttled } from './dom.js';
import { clock } from './draw.js';
import { Engine } from './engine.js';
import { exampleFile } from './example.js';
import { Player } from './player.js';
import { Recording } from './recording.js';
import { Session } from './session.js';
import { filesView } from './views/files.js';
import { mapView } from './views/map.js';
import { repeatsView } from './views/repeats.js';
import { saveView } from './views/save.js';
import { similarView } from './views/similar.js';
import { loadClasses, teachView } from './views/teach.js';
import { Timeline } from './views/timeline.js';
import { drawHero } from './views/welcome.js';

const AHEAD = 2; // blocks that are decoded while another is embedded

const player = new Player();
const session = new Session(player);
const engine = new Engine();
let queue = Promise.resolve(); // recordings are read one after the other
let capture = null;
let heardOfMicrophones = 0;

const ready = engine.ready.then((model) => {
  session.classes = new Classes(model);
  $('model-line').textContent = `Model ${model.name}, sha256 ${model.digest.slice(0, 12)}…`;
  const timeline = new Timeline(session, player, model);
  globalThis.edgel3.timeline = timeline;
  filesView(session);
  similarView(session, player, timeline);
  teachView(session);
  mapView(session, player, timeline);
  repeatsView(session, player, timeline);
  saveView(session);
  return model;
});
ready.catch((error) => complain(`The page cannot work here: ${error.message}.`));
drawHero($('hero')).catch(() => {}); // `ready` says what is wrong

session.on('files', () => {
  const open = session.recordings.length > 0;
  $('welcome').hidden = open;
  $('workspace').hidden = !open;
});
session.on('progress', throttled(1500, refresh));

/** While more is heard, what was found and taught is brought up to date. */
function refresh() {
  if (session.query) session.find(session.query);
  if (session.classes?.list.some((c) => c.examples.length)) session.retrain();
}

async function open(files) {
  const model = await ready.catch(() => null);
  if (!model) return;
  for (const file of files) {
    if (file.name.endsWith('.json')) {
      await loadClasses(session, file);
      continue;
    }
    const recording = new Recording(file.name, model.dimension, model.frontEnd.n_mels);
    session.add(recording);
    queue = queue.then(() => read(recording, file));
  }
}

async function read(recording, file) {
  if (recording.state === 'removed') return;
  let stream = null;
  const pending = [];
  const answered = async () => {
    recording.add(await pending.shift());
    session.emit('progress');
  };
  try {
    recording.state = 'reading';
    const { format, rate, seconds, note, blocks } = await openRecording(file);
    Object.assign(recording, { format, rate, note, announced: seconds, url: URL.createObjectURL(file) });
    stream = engine.open(rate);
    session.emit('files');
    for await (const block of blocks()) {
      pending.push(stream.push(block));
      if (pending.length > AHEAD) await answered();
      if (recording.state === 'removed') return;
    }
    pending.push(stream.flush());
    while (pending.length) await answered();
    recording.announced = null;
    recording.state = 'done';
    announce(`${recording.name} was read: ${recording.windows} windows.`);
  } catch (error) {
    if (stream) pending.push(stream.flush()); // what was decoded before it is kept
    for (const { value } of await Promise.allSettled(pending)) if (value) recording.add(value);
    const reason = error instanceof DecodeError ? error.message : `could not be read (${error.message})`;
    const kept = recording.windows > 0;
    complain(`${recording.name} ${reason}.${kept ? ` What comes before, ${clock(recording.heard)}, was kept.` : ''}`);
    if (!kept) session.remove(recording);
    else Object.assign(recording, { state: 'done', announced: null, note: 'read in part' });
  } finally {
    stream?.close();
  }
  session.emit('files');
  session.emit('progress');
}

async function toggleMicrophone() {
  if (capture) return capture.stop();
  const model = await ready.catch(() => null);
  if (!model) return;
  try {
    let recording = null;
    const started = await Capture.start(engine, (answer) => {
      if (answer.failed) return complain(`The microphone: ${answer.failed}.`);
      recording.add(answer);
      if (answer.type === 'flush') microphoneStopped(recording, started);
      session.emit('progress');
    });
    capture = started;
    recording = new Recording(`Microphone ${++heardOfMicrophones}`, model.dimension, model.frontEnd.n_mels);
    Object.assign(recording, { state: 'listening', rate: started.rate });
    session.add(recording);
    session.show(recording);
    showMicrophone(true);
    announce('The microphone is on.');
  } catch (error) {
    complain(error.message);
  }
}

function microphoneStopped(recording, stopped) {
  capture = null;
  showMicrophone(false);
  recording.state = 'done';
  recording.url = URL.createObjectURL(stopped.toBlob());
  session.emit('files');
  session.show(recording);
  announce('The microphone is off.');
}

function showMicrophone(on) {
  $('microphone').setAttribute('aria-pressed', String(on));
  $('microphone').querySelector('.label').textContent = on ? 'Stop' : 'Microphone';
}

// Opening

const picker = $('picker');
$('open').onclick = $('open-first').onclick = () => picker.click();
picker.onchange = () => {
  open([...picker.files]);
  picker.value = '';
};
$('example').onclick = () => open([exampleFile()]);
$('microphone').onclick = toggleMicrophone;
addEventListener('dragover', (event) => {
  event.preventDefault();
  $('drop').hidden = false;
});
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) $('drop').hidden = true;
});
addEventListener('drop', (event) => {
  event.preventDefault();
  $('drop').hidden = true;
  open([...event.dataTransfer.files]);
});

// Tabs, as the ARIA practices have them: arrows move between them, one at a time can be reached with Tab.

const tabs = [...document.querySelectorAll('[role="tab"]')];
function choose(tab) {
  for (const other of tabs) {
    const on = other === tab;
    other.setAttribute('aria-selected', String(on));
    other.tabIndex = on ? 0 : -1;
    $(other.getAttribute('aria-controls')).hidden = !on;
  }
  session.emit('files'); // views draw when they are seen
}
tabs.forEach((tab, k) => {
  tab.onclick = () => choose(tab);
  tab.onkeydown = ({ key }) => {
    const to = { ArrowRight: k + 1, ArrowLeft: k - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
    if (to === undefined) return;
    tabs[to % tabs.length].focus();
    choose(tabs[to % tabs.length]);
  };
});

if ('serviceWorker' in navigator) navigator.serviceWorker.register(new URL('../sw.js', import.meta.url)).catch(() => {});

/** For tests, and for whoever opens the console. */
globalThis.edgel3 = { session, player, engine, ready, capture: () => capture };
