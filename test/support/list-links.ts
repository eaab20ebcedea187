/**
 * Lists every address of another site in our documents, with the places that name it: `node test/support/list-links.ts`.
 * No test asks for them; somebody who has the internet at hand now and then should.
 */
import { readDocuments } from './docs.ts';

const places = new Map<string, string[]>();
for (const { path, targets } of readDocuments()) {
  for (const { text, line } of targets) {
    if (!/^https?:/.test(text)) continue;
    places.set(text, [...(places.get(text) ?? []), `${path}:${line}`]);
  }
}
for (const [address, all] of [...places].sort()) {
  process.stdout.write(`${address}\t${all.join(' ')}\n`);
}
