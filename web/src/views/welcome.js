// The picture on the first page: the example's spectrogram, with its three calls framed. Made from the sound itself.

import { MARK, drawSpectrogram } from '../draw.js';
import { CALLS, CALL_SECONDS, RATE, SECONDS, exampleSamples } from '../example.js';
import { MelStream } from '../logmel.js';
import { Recording } from '../recording.js';
import { Resampler } from '../resample.js';

export async function drawHero(canvas) {
  const { frontend } = await (await fetch(new URL('../../model/model.json', import.meta.url))).json();
  const samples = new Resampler(RATE, frontend.sample_rate).push(exampleSamples());
  const { frames } = new MelStream(frontend, { center: false, hop: 2 * SECONDS }).push(samples);
  const recording = new Recording('', 1, frontend.n_mels);
  recording.add({ embedding: [], peaks: [], frames });
  const context = canvas.getContext('2d');
  const { width, height } = canvas;
  drawSpectrogram(context, recording, 0, SECONDS, { x: 0, y: 0, width, height });
  const perSecond = width / SECONDS;
  CALLS.forEach((at, k) => {
    const [x, w] = [(at - 0.25) * perSecond, (CALL_SECONDS + 0.5) * perSecond];
    context.strokeStyle = k ? '#fff' : MARK;
    context.fillStyle = k ? 'transparent' : 'rgb(94 230 255 / .14)';
    context.lineWidth = 4;
    context.beginPath();
    context.roundRect(x, height * 0.03, w, height * 0.94, 12);
    context.fill();
    context.stroke();
  });
}
