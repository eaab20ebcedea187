/**
 * The files of the admin page, as `make build` put them beside the program (dist/page), read once and served from
 * memory. Script and style sheet have a digest of what is in them in their names, so that a browser keeps
 * them for good and never mixes two versions; the document that names them is asked for each time.
 *
 * The page brings everything with it: its Content-Security-Policy allows this origin alone, and no
 * inline script or style.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { FastifyReply } from 'fastify';
import type { HttpApp } from './http-app.ts';
import { type ClosedReason, closedDocument, document } from './page-document.ts';

/** What is served of the page. */
export interface PageFiles {
  readonly script: PageFile;
  readonly style: PageFile;
  readonly icon: PageFile;
}

interface PageFile {
  readonly path: string;
  readonly type: string;
  readonly body: Buffer;
}

/** Beside the program that was built; of one that runs from its sources, where the build puts it. */
const BUILT = import.meta.url.endsWith('.ts') ? '../../dist/page/' : '../page/';

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy':
    'camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()',
};
const FOR_GOOD = 'public, max-age=31536000, immutable';

/** Read what was built; undefined where nothing was. */
export async function readPageFiles(
  directory = new URL(BUILT, import.meta.url),
): Promise<PageFiles | undefined> {
  const read = (name: string) => readFile(new URL(name, directory));
  try {
    const [script, style, icon] = await Promise.all([
      read('page.js'),
      read('page.css'),
      read('icon.svg'),
    ]);
    return {
      script: fileOf('page', 'js', script),
      style: fileOf('page', 'css', style),
      icon: fileOf('icon', 'svg', icon),
    };
  } catch {
    return undefined;
  }
}

const TYPES = {
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
} as const;

function fileOf(name: string, ending: keyof typeof TYPES, body: Buffer): PageFile {
  const digest = createHash('sha256').update(body).digest('hex').slice(0, 16);
  return { path: `/page/${name}-${digest}.${ending}`, type: TYPES[ending], body };
}

/** Serve the page at `/`; where there is no API, or nothing was built, a page that says why. */
export function addPage(app: HttpApp, files: PageFiles | undefined, closed?: ClosedReason): void {
  const why = closed ?? (files ? undefined : { reason: 'not-built' as const });
  const html = why ? closedDocument(why, files) : files ? document(files) : '';
  const etag = `"${createHash('sha256').update(html).digest('hex').slice(0, 32)}"`;
  app.get('/', async (request, reply) => {
    reply.headers({ ...HEADERS, etag, 'cache-control': 'no-cache' });
    if (request.headers['if-none-match'] === etag) return reply.code(304).send();
    return reply.type('text/html; charset=utf-8').send(html);
  });
  app.get('/favicon.ico', async (_request, reply) => {
    return files ? reply.redirect(files.icon.path, 308) : reply.code(204).send();
  });
  for (const file of files ? [files.script, files.style, files.icon] : []) {
    app.get(file.path, async (_request, reply) => sendFile(reply, file));
  }
}

function sendFile(reply: FastifyReply, { type, body }: PageFile): FastifyReply {
  return reply
    .headers({ ...HEADERS, 'cache-control': FOR_GOOD })
    .type(type)
    .send(body);
}
