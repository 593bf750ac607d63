// Starts the page in Chromium, as the command edgel3-onnx --demo serves it.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const QUIET = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** The folder from which --demo serves the page. */
export function builtPage() {
  const code = `from edgel3_onnx.command import demo
with demo.server(0) as server: print(server.folder, end="")`;
  return String(execFileSync(process.env.PYTHON ?? 'python3', ['-c', code]));
}

/** Serves the page on a free port. @returns {Promise<{url: string, stop: () => Promise<void>}>} */
export async function serve() {
  const python = process.env.PYTHON ?? 'python3';
  const server = spawn(python, ['-m', 'edgel3_onnx', '--demo', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise((resolve, reject) => {
    server.stdout.once('data', (data) => resolve(String(data)));
    server.once('exit', (code) => reject(new Error(`--demo ended with ${code}`)));
  });
  const url = line.match(/http:\S+/)[0];
  const stop = () => new Promise((resolve) => (server.once('exit', resolve), server.kill('SIGTERM')));
  return { url, stop };
}

/**
 * A browser with a profile of its own, and every address that it asked for.
 *
 * @param {{args?: string[], width?: number, height?: number, dark?: boolean, permissions?: string[],
 *   serviceWorkers?: 'allow' | 'block'}} options
 */
export async function browse({ args = [], width = 1280, height = 900, dark = false, permissions = [], serviceWorkers = 'allow' } = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'edgel3-onnx-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [...QUIET, '--no-sandbox', ...args],
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    permissions,
    serviceWorkers,
    acceptDownloads: true,
  });
  const requests = [];
  const problems = [];
  context.on('request', (request) => requests.push(request.url()));
  const page = context.pages()[0] ?? (await context.newPage());
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, page, profile, requests, problems, close };
}

/** Opens files and waits until all are read. */
export async function openFiles(page, files) {
  const before = await page.evaluate(() => edgel3.session.recordings.length);
  await page.setInputFiles('#picker', files);
  await settled(page, before + (Array.isArray(files) ? files.length : 1));
}

/** Waits until so many recordings are read. @throws {Error} with the first line of complaint, if there is one */
export async function settled(page, count) {
  const settle = (expected) => {
    const { recordings } = edgel3.session;
    const line = document.querySelector('.alert > span')?.textContent;
    return line ?? (recordings.length >= expected && recordings.every((r) => r.state === 'done'));
  };
  const outcome = await (await page.waitForFunction(settle, count, { timeout: 120000 })).jsonValue();
  if (outcome !== true) throw new Error(outcome);
}

/** Drags the pointer over the spectrogram from one second to another, as far as they are in sight. */
export async function drag(page, from, to) {
  const box = await page.locator('#overlay').boundingBox();
  const { start, end, gutter } = await page.evaluate(() => ({
    ...edgel3.timeline.view,
    gutter: parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--gutter')),
  }));
  const x = (t) => box.x + gutter + ((t - start) / (end - start)) * (box.width - gutter);
  await page.mouse.move(x(from), box.y + 150);
  await page.mouse.down();
  await page.mouse.move(x((from + to) / 2), box.y + 160);
  await page.mouse.move(x(to), box.y + 150);
  await page.mouse.up();
}
