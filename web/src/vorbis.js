// Cuts Ogg Vorbis between pages into files of some seconds, each with some pages before it: a packet's samples depend on
// the packet before.

import { oggFile, oggPages } from './ogg.js';

const LEAD = 3; // pages

/** @returns {AsyncGenerator<{bytes: ArrayBuffer, samples: number}>} of each piece, how many samples at its end are new */
export async function* vorbisPieces(bytes, header, seconds) {
  let headers = [];
  let pages = [];
  let fresh = 0; // pages at the end of `pages` that were not given yet
  let given = null; // position up to which samples were given; null: none were
  let position = 0;
  const piece = () => {
    const samples = given === null ? Infinity : position - given;
    const { buffer } = oggFile([...headers, ...pages]);
    pages = pages.slice(-LEAD);
    fresh = 0;
    given = position;
    return { bytes: buffer, samples };
  };
  let damage = null;
  try {
    for await (const page of oggPages(bytes, header)) {
      if (page.first) {
        if (fresh) yield piece();
        headers = [];
        pages = [];
        given = null;
        position = 0;
      }
      if (page.position === 0 && !pages.length) {
        headers.push(page);
        continue;
      }
      pages.push(page);
      fresh++;
      if (page.position > 0) position = page.position;
      if (page.position > 0 && position - (given ?? 0) >= seconds * header.rate) yield piece();
    }
  } catch (error) {
    damage = error;
  }
  if (fresh) yield piece(); // also what comes before the damage
  if (damage) throw damage;
}
