/**
 * dkimpy (Debian's python3-dkim) as a verifier of DKIM signatures that is none of ours: messages in,
 * what it says of each signature out. DNS is the records it is told.
 */
import { spawnSync } from 'node:child_process';

/** Debian installs modules for its own Python, which need not be the first on the PATH. */
const python = ['python3', '/usr/bin/python3'].find(
  (command) => spawnSync(command, ['-c', 'import dkim'], { stdio: 'ignore' }).status === 0,
);

/** Why there is no dkimpy here; false when there is. */
export const dkimpyMissing: string | false =
  python === undefined && 'python3-dkim is not installed';

const SCRIPT = `
import base64, json, sys
import dkim
asked = json.load(sys.stdin)
records = {name: text.encode() for name, text in asked['records'].items()}
def lookup(name, timeout=5):
    return records.get((name.decode() if isinstance(name, bytes) else name).rstrip('.'))
said = []
for text in asked['messages']:
    message = base64.b64decode(text)
    signatures = []
    while True:
        d = dkim.DKIM(message, tlsrpt=asked['tlsrpt'], timeout=5)
        try:
            if not [1 for name, value in d.headers if name.lower() == b'dkim-signature'][len(signatures):]:
                break
            valid = bool(d.verify(idx=len(signatures), dnsfunc=lookup))
            error = ''
        except dkim.DKIMException as e:
            valid, error = False, str(e)
        tags = {name.decode(): value.decode() for name, value in (d.signature_fields or {}).items()}
        signatures.append({'valid': valid, 'error': error, 'tags': tags})
    said.append(signatures)
json.dump(said, sys.stdout)
`;

export interface VerifiedSignature {
  readonly valid: boolean;
  readonly error: string;
  /** Of the field: d, s, h, bh and so on. */
  readonly tags: Readonly<Record<string, string>>;
}

export interface Verification {
  /** TXT records, by name. */
  readonly records: Readonly<Record<string, string>>;
  /** As the receiver of a TLS report (RFC 8460 §3): the key record must list the service. */
  readonly tlsrpt?: 'strict';
}

/** Verify each signature of each message, the topmost first. */
export function verifyAll(
  messages: readonly Buffer[],
  { records, tlsrpt }: Verification,
): readonly (readonly VerifiedSignature[])[] {
  const asked = { messages: messages.map((one) => one.toString('base64')), records };
  const { stdout, stderr, status } = spawnSync(python ?? 'python3', ['-c', SCRIPT], {
    input: JSON.stringify({ ...asked, tlsrpt: tlsrpt ?? false }),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(`dkimpy failed: ${stderr}`);
  return JSON.parse(stdout);
}

/** The same for one message. */
export function verifyDkim(
  message: Buffer,
  verification: Verification,
): readonly VerifiedSignature[] {
  return verifyAll([message], verification)[0] ?? [];
}
