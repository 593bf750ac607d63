// The thread that decodes one file. Each message asks for a block; the first one names the file and its header.

import { mp3Blocks } from './mp3.js';
import { opusBlocks } from './opus.js';
import { DamageError, joined, pieces } from './pieces.js';

const BLOCKS = { mp3: mp3Blocks, opus: opusBlocks };
const READ = 1 << 16; // bytes: seconds of sound, not minutes
let blocks = null;

onmessage = async ({ data }) => {
  try {
    if (data) {
      const { file, header } = data;
      blocks = seconds(BLOCKS[header.codec](pieces(file, header.start, READ), header), header.rate);
    }
    const { value: samples, done } = await blocks.next();
    postMessage({ samples, done }, samples ? [samples.buffer] : []);
  } catch (error) {
    postMessage({ failed: error.message, damaged: error instanceof DamageError });
  }
};

/** The blocks joined to a second or more each; the last may be shorter. */
async function* seconds(shorter, rate) {
  let held = [];
  let length = 0;
  const take = () => {
    const all = joined(held);
    held = [];
    length = 0;
    return all;
  };
  try {
    for await (const block of shorter) {
      held.push(block);
      length += block.length;
      if (length >= rate) yield take();
    }
  } catch (error) {
    if (length) yield take(); // what comes before the damage
    throw error;
  }
  if (length) yield take();
}
