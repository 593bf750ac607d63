// The recording that is shown: waveform, spectrogram, what is marked and found.

import { $, announce, perFrame, throttled } from '../dom.js';
import { MARK, clock, drawSpectrogram, drawWaveform, prepare } from '../draw.js';
import { melEdges } from '../logmel.js';
import { HOP } from '../recording.js';
import { Tracks } from './tracks.js';

const WAVE = 52; // heights in CSS pixels
const AXIS = 22;
const GAP = 6;
const LEAST = 1.5; // seconds on the screen when zoomed in all the way
const AT_FIRST = 60; // seconds of a long recording that are shown when it is opened
const LIVE = 20; // seconds that are shown of a microphone
const HERTZ = [500, 1000, 2000, 3000];
const CLICK = 4; // pixels by which a pointer may stray and still have clicked

export class Timeline {
  #session;
  #player;
  #model;
  #tracks;
  view = { start: 0, end: 1 }; // seconds in sight
  #pinned = false; // whether the view stays where it is while more is heard
  #cursor = 0; // seconds, for the keyboard
  #hover = null;
  #drag = null;
  #paint = perFrame(() => this.#drawPicture());
  #paintOver = perFrame(() => this.#drawOverlay());
  #paintLater = throttled(150, () => this.#progressed());

  constructor(session, player, model) {
    this.#session = session;
    this.#player = player;
    this.#model = model;
    this.#tracks = new Tracks(session);
    this.#listen();
    new ResizeObserver(() => this.#paint()).observe($('overlay'));
  }

  get #recording() {
    return this.#session.current;
  }

  /** Brings a stretch of a recording into sight. */
  reveal(recording, start, end) {
    if (recording !== this.#recording) this.#session.show(recording);
    this.#cursor = (start + end) / 2;
    if (start < this.view.start || end > this.view.end) {
      const span = this.view.end - this.view.start;
      this.#look((start + end - span) / 2, (start + end + span) / 2);
    }
    this.#paint();
  }

  #look(start, end) {
    const live = this.#recording?.state === 'listening'; // what is still to come has its place already
    const total = Math.max(this.#recording?.seconds ?? 1, live ? LIVE : LEAST);
    const span = Math.min(Math.max(end - start, LEAST), total);
    const from = Math.min(Math.max(start + (end - start - span) / 2, 0), total - span);
    this.view = { start: from, end: from + span };
    this.#paint();
  }

  #zoom(factor, around = (this.view.start + this.view.end) / 2) {
    this.#pinned = true;
    const { start, end } = this.view;
    this.#look(around - (around - start) * factor, around + (end - around) * factor);
  }

  #showAnew() {
    const recording = this.#recording;
    this.#pinned = false;
    this.#hover = null;
    if (!recording) return;
    const { mark } = this.#session;
    this.#cursor = mark?.recording === recording ? (mark.start + mark.end) / 2 : 0;
    $('timeline-title').textContent = recording.name;
    this.#look(0, recording.seconds > 3 * AT_FIRST ? AT_FIRST : recording.seconds);
    this.#tracks.build();
  }

  #progressed() {
    const recording = this.#recording;
    if (!recording) return;
    if (recording.state === 'listening') {
      if (!this.#pinned) this.#look(recording.heard - LIVE, Math.max(recording.heard, LIVE));
    } else if (!this.#pinned && recording.seconds <= 3 * AT_FIRST) this.#look(0, recording.seconds);
    else if (this.view.end - this.view.start <= LEAST) this.#look(0, AT_FIRST);
    this.#paint();
  }

  // Input

  #listen() {
    const { overlay, overview, play } = { overlay: $('overlay'), overview: $('overview'), play: $('play') };
    const session = this.#session;
    session.on('current', () => this.#showAnew());
    session.on('progress files', () => this.#paintLater());
    session.on('mark', () => (this.#paintOver(), this.#describe()));
    session.on('found', () => (this.#tracks.build(), this.#paint()));
    session.on('classes', () => (this.#tracks.build(), this.#paint()));
    session.on('threshold', () => this.#tracks.draw(this.view, this.#gutter()));
    this.#player.addEventListener('change', () => this.#playing());
    play.onclick = () => this.#togglePlay();
    $('zoom-in').onclick = () => this.#zoom(0.5);
    $('zoom-out').onclick = () => this.#zoom(2);
    $('zoom-fit').onclick = () => (this.#zoom(Infinity), this.#look(0, Infinity));
    overlay.onkeydown = (event) => this.#key(event);
    overlay.onpointerdown = (event) => this.#pressed(event);
    overlay.onpointermove = (event) => this.#moved(event);
    overlay.onpointerup = (event) => this.#released(event);
    overlay.onpointercancel = () => ((this.#drag = null), this.#paintOver());
    overlay.onpointerleave = () => ((this.#hover = null), this.#paintOver());
    overlay.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    const pan = (event) => {
      if (!event.buttons || !this.#recording) return;
      const { left, width } = overview.getBoundingClientRect();
      const middle = ((event.clientX - left) / width) * this.#recording.seconds;
      const half = (this.view.end - this.view.start) / 2;
      this.#pinned = true;
      this.#look(middle - half, middle + half);
    };
    overview.onpointerdown = (event) => (overview.setPointerCapture(event.pointerId), pan(event));
    overview.onpointermove = pan;
  }

  #gutter() {
    return parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--gutter'));
  }

  #timeAt(event) {
    const { left, width } = $('overlay').getBoundingClientRect();
    const gutter = this.#gutter();
    const share = (event.clientX - left - gutter) / (width - gutter);
    const { start, end } = this.view;
    return Math.min(Math.max(start + share * (end - start), 0), this.#recording.seconds);
  }

  #pressed(event) {
    if (!this.#recording || event.button) return;
    $('overlay').setPointerCapture(event.pointerId);
    this.#drag = { from: this.#timeAt(event), x: event.clientX, moved: false };
  }

  #moved(event) {
    if (!this.#recording) return;
    this.#hover = this.#timeAt(event);
    if (this.#drag && Math.abs(event.clientX - this.#drag.x) > CLICK) this.#drag.moved = true;
    this.#paintOver();
  }

  #released(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    const to = this.#timeAt(event);
    if (drag.moved) this.#mark(Math.min(drag.from, to), Math.max(drag.from, to));
    else this.#mark(drag.from - 0.5, drag.from + 0.5);
    this.#session.find();
  }

  #mark(start, end) {
    const recording = this.#recording;
    const limits = [Math.max(start, 0), Math.min(end, recording.seconds)];
    this.#cursor = (limits[0] + limits[1]) / 2;
    this.#session.setMark({ recording, start: limits[0], end: limits[1] });
  }

  #wheel(event) {
    if (!this.#recording) return;
    const { start, end } = this.view;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.#zoom(1.002 ** event.deltaY, this.#timeAt(event));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      event.preventDefault();
      const by = ((event.deltaX || event.deltaY) / $('overlay').clientWidth) * (end - start);
      this.#pinned = true;
      this.#look(start + by, end + by);
    }
  }

  #key(event) {
    const recording = this.#recording;
    if (!recording || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: -HOP, ArrowRight: HOP, PageUp: -5, PageDown: 5, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      const moved = Math.min(Math.max(this.#cursor + steps[event.key], 0), recording.seconds);
      const { mark } = this.#session;
      if (event.shiftKey && mark?.recording === recording) {
        const forward = steps[event.key] > 0;
        const end = Math.min(Math.max(mark.end + steps[event.key], mark.start + HOP), recording.seconds);
        this.#session.setMark({ recording, start: mark.start, end: forward || end > mark.start ? end : mark.end });
      } else this.#mark(moved - 0.5, moved + 0.5);
      const { start, end } = this.#session.mark;
      this.reveal(recording, start, end);
      this.#cursor = moved; // a mark at the very beginning or end has its middle elsewhere
      this.#describe();
    } else if (event.key === 'Enter') {
      if (this.#session.mark?.recording !== recording) this.#mark(this.#cursor - 0.5, this.#cursor + 0.5);
      this.#session.find();
    } else if (event.key === ' ') this.#togglePlay();
    else if (event.key === '+' || event.key === '=') this.#zoom(0.5, this.#cursor);
    else if (event.key === '-') this.#zoom(2, this.#cursor);
    else return;
    event.preventDefault();
  }

  #togglePlay() {
    const recording = this.#recording;
    if (this.#player.recording) return this.#player.stop();
    if (!recording) return;
    if (!recording.url) return announce('Stop the microphone to listen to what it heard.');
    const { mark } = this.#session;
    if (mark?.recording === recording) this.#player.play(recording, mark.start, mark.end);
    else this.#player.play(recording, this.view.start, recording.seconds);
  }

  #playing() {
    const on = this.#player.recording !== null;
    $('play').classList.toggle('playing', on);
    $('play').setAttribute('aria-label', on ? 'Stop' : 'Play');
    if (this.#player.recording === this.#recording && this.#recording && this.#player.time > this.view.end) {
      this.#look(this.view.end, 2 * this.view.end - this.view.start);
    }
    this.#paintOver();
    this.#describe();
  }

  #describe() {
    const recording = this.#recording;
    if (!recording) return;
    const { mark } = this.#session;
    const marked = mark?.recording === recording;
    const here = marked ? `${clock(mark.start)} – ${clock(mark.end)}` : '';
    const playing = this.#player.recording === recording ? `${clock(this.#player.time)} / ` : '';
    $('clock').textContent = here && !playing ? here : `${playing}${clock(recording.seconds)}`;
    const overlay = $('overlay');
    overlay.setAttribute('aria-valuemax', recording.seconds.toFixed(1));
    overlay.setAttribute('aria-valuenow', this.#cursor.toFixed(1));
    overlay.setAttribute('aria-valuetext', marked ? `marked ${clock(mark.start)} to ${clock(mark.end)}` : clock(this.#cursor));
  }

  // Painting

  #boxes({ width, height }) {
    const x = this.#gutter();
    const inner = width - x;
    return {
      wave: { x, y: 0, width: inner, height: WAVE },
      sound: { x, y: WAVE + GAP, width: inner, height: height - WAVE - GAP - AXIS },
      all: { x, y: 0, width: inner, height: height - AXIS },
    };
  }

  #drawPicture() {
    const recording = this.#recording;
    if (!recording || $('workspace').hidden) return;
    const { context, width, height } = prepare($('picture'));
    const { wave, sound } = this.#boxes({ width, height });
    const { start, end } = this.view;
    const style = getComputedStyle(document.documentElement);
    const [ink, line] = [style.getPropertyValue('--muted'), style.getPropertyValue('--line')];
    context.fillStyle = style.getPropertyValue('--plot');
    context.fillRect(sound.x, sound.y, sound.width, sound.height);
    drawWaveform(context, recording, start, end, wave, ink);
    drawSpectrogram(context, recording, start, end, sound);
    context.font = '11px system-ui, sans-serif';
    context.fillStyle = ink;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const edges = melEdges(this.#model.frontEnd);
    for (const hz of HERTZ) {
      const band = edges.findIndex((edge) => edge >= hz) - 1;
      const y = sound.y + sound.height * (1 - band / recording.bands);
      context.fillText(hz >= 1000 ? `${hz / 1000}k` : hz, sound.x - 6, y);
    }
    context.textAlign = 'center';
    context.textBaseline = 'top';
    const step = tickStep((end - start) / (sound.width / 80));
    for (let t = Math.ceil(start / step - 1e-9) * step; t <= end + 1e-9; t += step) {
      const x = sound.x + ((t - start) / (end - start)) * sound.width;
      context.fillStyle = line;
      context.fillRect(x - 0.5, sound.y + sound.height, 1, 4);
      context.fillStyle = ink;
      const label = clock(t, step < 1 ? 1 : 0);
      context.fillText(label, Math.min(Math.max(x, sound.x + 12), width - 16), sound.y + sound.height + 7);
    }
    this.#drawOverview();
    this.#drawOverlay();
    this.#tracks.draw(this.view, this.#gutter());
    this.#describe();
  }

  #drawOverview() {
    const recording = this.#recording;
    const { context, width, height } = prepare($('overview'));
    const total = recording.seconds || 1;
    const at = (t) => (t / total) * width;
    drawSpectrogram(context, recording, 0, total, { x: 0, y: 0, width, height });
    const { start, end } = this.view;
    if (end - start < total - 0.01) {
      context.fillStyle = 'rgb(0 0 0 / .55)';
      context.fillRect(0, 0, at(start), height);
      context.fillRect(at(end), 0, width - at(end), height);
      context.strokeStyle = '#fff';
      context.lineWidth = 1.5;
      context.strokeRect(at(start) + 0.75, 0.75, Math.max(at(end) - at(start) - 1.5, 2), height - 1.5);
    }
    const { mark, matches } = this.#session;
    context.fillStyle = '#fff';
    for (const match of matches) if (match.recording === recording) context.fillRect(at(match.time) - 1, 0, 2, 8);
    context.fillStyle = MARK;
    if (mark?.recording === recording) context.fillRect(at(mark.start), 0, Math.max(at(mark.end) - at(mark.start), 2), 8);
  }

  #drawOverlay() {
    const recording = this.#recording;
    if (!recording || $('workspace').hidden) return;
    const { context, width, height } = prepare($('overlay'));
    const { all, sound } = this.#boxes({ width, height });
    const { start, end } = this.view;
    const at = (t) => all.x + ((t - start) / (end - start)) * all.width;
    context.save();
    context.beginPath();
    context.rect(all.x, 0, all.width, height);
    context.clip();
    this.#session.matches.forEach((match, rank) => {
      if (match.recording !== recording || match.time < start - 1 || match.time > end + 1) return;
      const [left, right] = [at(match.time - 0.5), at(match.time + 0.5)];
      const playing = this.#player.recording === recording && Math.abs(this.#player.time - match.time) <= 0.5;
      context.globalAlpha = Math.min(Math.max((match.score - 0.2) / 0.6, 0.3), 1); // the less alike, the fainter
      context.strokeStyle = playing ? MARK : '#fff';
      context.lineWidth = 2;
      context.beginPath();
      context.roundRect(left + 1, sound.y + 1, Math.max(right - left - 2, 3), sound.height - 2, 5);
      context.stroke();
      context.globalAlpha = Math.max(context.globalAlpha, 0.7);
      badge(context, rank + 1, left + 1, sound.y + 1);
      context.globalAlpha = 1;
    });
    const drag = this.#drag?.moved && this.#hover !== null ? this.#drag : null;
    const { mark } = this.#session;
    const shown = drag
      ? { start: Math.min(drag.from, this.#hover), end: Math.max(drag.from, this.#hover) }
      : mark?.recording === recording ? mark : null;
    if (shown) {
      const [left, right] = [at(shown.start), at(shown.end)];
      context.fillStyle = 'rgb(94 230 255 / .16)';
      context.fillRect(left, 0, right - left, all.height);
      context.fillStyle = MARK;
      context.fillRect(left - 1, 0, 2, all.height);
      context.fillRect(right - 1, 0, 2, all.height);
    }
    if (this.#hover !== null && !drag) {
      context.fillStyle = 'rgb(255 255 255 / .5)';
      context.fillRect(at(this.#hover), sound.y, 1, sound.height);
    }
    if (this.#player.recording === recording) {
      context.fillStyle = '#fff';
      context.fillRect(at(this.#player.time) - 1, sound.y, 2, sound.height);
    }
    context.restore();
  }
}

function badge(context, rank, x, y) {
  context.font = '600 11px system-ui, sans-serif';
  const width = 11 + 6.5 * String(rank).length;
  context.fillStyle = '#fff';
  context.beginPath();
  context.roundRect(x, y, width, 16, [5, 0, 5, 0]);
  context.fill();
  context.fillStyle = '#120d24';
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(rank, x + width / 2, y + 8.5);
}

/** The next of 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30 s, 1, 2, 5 min, ... */
function tickStep(least) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  return steps.find((step) => step >= least) ?? 7200;
}
