// A plain web server of folders under paths, as a page finds it at any host.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';

const TYPES = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
};

/**
 * @param {Record<string, string>} folders path, with slashes at both ends, to folder
 * @param {(body: string) => void} [onPost] gets what is posted
 * @returns {Promise<{url: string, stop: () => void}>} `url` without a slash at its end
 */
export async function serveStatic(folders, onPost = () => {}) {
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      let body = '';
      for await (const part of request) body += part;
      response.end();
      return onPost(body);
    }
    const path = decodeURIComponent(new URL(request.url, 'http://x').pathname);
    const [base] = Object.keys(folders).filter((prefix) => path.startsWith(prefix));
    try {
      if (!base) throw new Error('no such folder');
      const file = join(folders[base], normalize(path.slice(base.length) || 'index.html'));
      const content = await readFile(file);
      response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
      response.end(content);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => (server.close(), server.closeAllConnections());
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}
