// Painting recordings: what several views share.

import { PALETTE } from './palette.js';
import { FRAME } from './recording.js';

export const MARK = '#5ee6ff'; // the stretch that was marked: a colour that the palette has not

/** Fits a canvas to its box; returns its context, in CSS pixels, and the size. */
export function prepare(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  const [w, h] = [Math.max(Math.round(width * ratio), 1), Math.max(Math.round(height * ratio), 1)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let scratch = null;

/** The spectrogram from second `start` to `end` in a box; where several columns share a pixel, their loudest shows. */
export function drawSpectrogram(context, recording, start, end, { x, y, width, height }) {
  const { bands, columns } = recording;
  const pixels = Math.min(Math.max(Math.round(width), 1), 4096);
  scratch ??= new OffscreenCanvas(1, 1);
  [scratch.width, scratch.height] = [pixels, bands];
  const image = new ImageData(pixels, bands);
  const out = new Uint32Array(image.data.buffer);
  const [low, high] = recording.range;
  const colour = Uint32Array.from({ length: 256 }, (_, level) => {
    return PALETTE[Math.round(Math.min(Math.max((level - low) / (high - low), 0), 1) * 255)];
  });
  const mel = recording.mel.view();
  const perPixel = (end - start) / FRAME / pixels;
  for (let px = 0; px < pixels; px++) {
    const from = Math.floor(start / FRAME + px * perPixel);
    const to = Math.max(Math.floor(start / FRAME + (px + 1) * perPixel), from + 1);
    if (from < 0 || from >= columns) continue;
    for (let band = 0; band < bands; band++) {
      let level = 0;
      for (let c = from; c < to && c < columns; c++) level = Math.max(level, mel[c * bands + band]);
      out[(bands - 1 - band) * pixels + px] = colour[level];
    }
  }
  scratch.getContext('2d').putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(scratch, x, y, width, height);
}

/** The outline of the waveform, scaled to the loudest moment of the recording. */
export function drawWaveform(context, recording, start, end, { x, y, width, height }, colour) {
  const peaks = recording.peaks.view();
  const columns = peaks.length / 2;
  let most = 1;
  for (const value of peaks) most = Math.max(most, Math.abs(value));
  const scale = height / 2 / most;
  const perPixel = (end - start) / FRAME / width;
  context.fillStyle = colour;
  for (let px = 0; px < width; px++) {
    const from = Math.floor(start / FRAME + px * perPixel);
    const to = Math.max(Math.floor(start / FRAME + (px + 1) * perPixel), from + 1);
    if (from < 0 || from >= columns) continue;
    let low = 127;
    let high = -127;
    for (let c = from; c < to && c < columns; c++) {
      low = Math.min(low, peaks[2 * c]);
      high = Math.max(high, peaks[2 * c + 1]);
    }
    const top = y + height / 2 - high * scale;
    context.fillRect(x + px, top, 1, Math.max((high - low) * scale, 1));
  }
}

/** 83.26 -> "1:23.3"; hours where there are any. */
export function clock(seconds, digits = 1) {
  const tenths = Math.max(seconds, 0).toFixed(digits);
  const whole = Math.floor(Number(tenths));
  const [h, m] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const s = (Number(tenths) % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, '0');
  return h ? `${h}:${String(m).padStart(2, '0')}:${s}` : `${m}:${s}`;
}
