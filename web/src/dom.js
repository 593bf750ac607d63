// Elements in one line each.

export const $ = (id) => document.getElementById(id);

/** element('button', {className: 'small', onclick}, 'Save'): properties, `aria-` and `data-` as attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'for') made.setAttribute(name, value);
    else made[name] = value;
  }
  if (tag === 'button') made.type = 'button';
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function swatch(colour) {
  const made = element('span', { className: 'swatch', 'aria-hidden': 'true' });
  made.style.background = colour;
  return made;
}

/** Says something to whoever listens to the page instead of looking at it. */
export function announce(text) {
  $('status').textContent = text;
}

/** A line about something that went wrong, with a button to put it away. */
export function complain(text) {
  const line = element('div', { className: 'alert' }, element('span', {}, text));
  line.append(element('button', { className: 'small plain', onclick: () => line.remove() }, 'Dismiss'));
  $('alerts').append(line);
}

/** Calls `work` at most once per frame of the screen, however often it is asked to. */
export function perFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Calls `work` at most every `ms`, and once more at the end. */
export function throttled(ms, work) {
  let timer = 0;
  let last = 0;
  return () => {
    if (timer) return;
    timer = setTimeout(() => {
      timer = 0;
      last = performance.now();
      work();
    }, Math.max(last + ms - performance.now(), 0));
  };
}

export function download(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  element('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
