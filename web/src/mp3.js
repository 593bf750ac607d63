// MP3, decoded by mpg123, as in the Python package.

import { average } from './pieces.js';

/** @returns {AsyncGenerator<Float32Array>} mono blocks; what is damaged is left out, as mpg123 does */
export async function* mp3Blocks(bytes) {
  await import('../codecs/mpg123-decoder.min.js');
  const decoder = new globalThis['mpg123-decoder'].MPEGDecoder();
  await decoder.ready;
  for await (const piece of bytes) yield average(decoder.decode(piece).channelData);
}
