// Ogg (RFC 3533): pages out of bytes as they come, each checked against its sum and its number.

import { kindOf } from './identify.js';
import { DamageError, joined } from './pieces.js';

const HEAD = 27; // bytes before a page's table of sizes
const SUMS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte << 24;
  for (let bit = 0; bit < 8; bit++) sum = sum & 0x80000000 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  return sum;
});

/**
 * The pages of the recording, and of those joined to it; a stream beside them, of pictures, is left out.
 *
 * @param {AsyncIterable<Uint8Array>} bytes
 * @param {{codec: string, rate: number, channels: number}} header of the recording, as `identify` returns it
 * @returns {AsyncGenerator<{bytes, body, sizes, first, last, position}>} `first` and `last` of their recording;
 *   `position`: at the page's end, in samples, or -1 where nothing ends on it
 * @throws {DamageError} where a page is damaged, missing or cut, and where a recording of another kind is joined
 */
export async function* oggPages(bytes, header) {
  let held = new Uint8Array(0);
  let serial = null;
  let expected = 0; // number of the next page
  let ended = true;
  for await (const more of bytes) {
    held = joined([held, more]);
    for (let page = parse(held); page; page = parse(held)) {
      held = held.subarray(page.bytes.length);
      if (page.first && ended) {
        const kind = kindOf(page.body);
        if (['codec', 'rate', 'channels'].some((key) => kind?.[key] !== header[key])) {
          throw new DamageError('a recording of another kind is joined to it');
        }
        serial = page.serial;
        expected = page.number;
      }
      if (page.serial !== serial) continue;
      if (page.number !== expected) throw new DamageError('a page is missing');
      expected++;
      ended = page.last;
      yield page;
    }
  }
  if (held.length) throw new DamageError('the file ends within a page');
}

function parse(bytes) {
  if (bytes.length < HEAD || bytes.length < HEAD + bytes[26]) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  if (view.getUint32(0) !== 0x4f676753) throw new DamageError('there is no page where one must begin'); // OggS
  const sizes = bytes.subarray(HEAD, HEAD + bytes[26]);
  const body = HEAD + sizes.length;
  const end = sizes.reduce((sum, size) => sum + size, body);
  if (bytes.length < end) return null;
  const page = bytes.slice(0, end);
  if (checksum(page) !== view.getUint32(22, true)) throw new DamageError('a page does not match its checksum');
  return {
    bytes: page,
    body: page.subarray(body),
    sizes: page.subarray(HEAD, body),
    first: (page[5] & 2) !== 0,
    last: (page[5] & 4) !== 0,
    position: Number(view.getBigInt64(6, true)),
    serial: view.getUint32(14, true),
    number: view.getUint32(18, true),
  };
}

/** The pages as a file of their own: numbered from 0. */
export function oggFile(pages) {
  return joined(
    pages.map(({ bytes }, number) => {
      const page = bytes.slice();
      const view = new DataView(page.buffer);
      view.setUint32(18, number, true);
      view.setUint32(22, checksum(page), true);
      return page;
    }),
  );
}

function checksum(page) {
  let sum = 0;
  for (let n = 0; n < page.length; n++) {
    const byte = n < 22 || n >= 26 ? page[n] : 0; // the sum itself counts as zeros
    sum = (sum << 8) ^ SUMS[(sum >>> 24) ^ byte];
  }
  return sum >>> 0;
}
