/**
 * The kinds of vector file, known by their names, and which module runs each.
 */
import { certIdentity } from './cert-identity.ts';
import { dane } from './dane.ts';
import { dsn } from './dsn.ts';
import { routing } from './routing.ts';
import { stsFlow } from './sts-flow.ts';
import { stsMxMatch } from './sts-mx-match.ts';
import { stsPolicy } from './sts-policy.ts';
import { stsTxt } from './sts-txt.ts';
import { tlsrptReport } from './tlsrpt-report.ts';
import { tlsrptTxt } from './tlsrpt-txt.ts';
import { NotSupported, type VectorKind } from './vector.ts';

/** By the name of the file; undefined: what it is about is not there yet. */
export const KINDS: Readonly<Record<string, VectorKind | undefined>> = {
  'sts-txt': stsTxt,
  'sts-policy': stsPolicy,
  'sts-mx-match': stsMxMatch,
  'cert-identity': certIdentity,
  'null-mx-and-mx-order': routing,
  'sts-flow': stsFlow,
  dsn,
  'tlsrpt-txt': tlsrptTxt,
  'tlsrpt-report': tlsrptReport,
  dane,
};

/** The kind that a file's name contains, the longest where it contains several. */
export function kindOfFile(name: string): string | undefined {
  const plain = name.toLowerCase().replaceAll('_', '-');
  return Object.keys(KINDS)
    .filter((kind) => plain.includes(kind))
    .sort((one, other) => other.length - one.length)[0];
}

const UNSUPPORTED: VectorKind = {
  answer: () => {
    throw new NotSupported('vectors of this kind');
  },
};

/** What runs the cases of a file; of a kind that is not there yet, every one fails. */
export function kindFor(name: string): VectorKind {
  return KINDS[kindOfFile(name) ?? ''] ?? UNSUPPORTED;
}
