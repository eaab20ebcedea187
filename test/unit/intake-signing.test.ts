/**
 * For whom the front door signs: nobody gets a signature for an author that he could not name in MAIL FROM.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { DkimSigner } from '../../src/dkim/signer.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import { type DoorOptions, openDoor, plain } from '../support/front-door.ts';
import { type TempDir, tempDir } from '../support/temp-dir.ts';

let dir: TempDir;
let signer: DkimSigner;

before(() => {
  dir = tempDir();
  const keyFile = dir.file('key.pem');
  writeFileSync(keyFile, rsaPair().keyPem);
  const nothing = () => {};
  const key = { keyFailed: nothing, keyChanged: nothing };
  const events = { signed: nothing, unsigned: nothing, malformed: nothing, ...key };
  signer = new DkimSigner({ clock: systemClock, events });
  const domains = ['one.test', 'two.test'];
  signer.use(domains.map((domain) => ({ domain, selector: 's', keyFile })));
});
after(() => dir.remove());

/** The domains of `authors` that a client gets signatures for. */
async function signedFor(options: DoorOptions, user?: string): Promise<readonly string[]> {
  await using door = await openDoor({ ...options, signer });
  using client = await door.secureSession();
  if (user) assert.equal((await client.send(`AUTH PLAIN ${plain(user, 'secret')}`)).code, 235);
  for (const author of ['a@one.test', 'a@two.test', 'a@three.test']) {
    const to = options.postmaster ? 'postmaster' : 'b@x.test';
    const data = `From: ${author}\r\n\r\nx\r\n`;
    const { accepted, reply } = await client.deliver({ from: '', to, data });
    assert.ok(accepted, reply.raw);
  }
  return door.queue.drafts.entries.flatMap(
    ({ envelope }) => / d=([^;]+);/.exec(envelope?.signature ?? '')?.[1] ?? [],
  );
}

describe('signatures', () => {
  const users = { alice: 'secret' };
  const cases: readonly (readonly [string, DoorOptions, string | undefined, readonly string[]])[] =
    [
      ['a trusted network', {}, undefined, ['one.test', 'two.test']],
      [
        'allowedSenderDomains',
        { access: { allowedSenderDomains: ['two.test'] } },
        undefined,
        ['two.test'],
      ],
      ['a user of any sender', { users }, 'alice', ['one.test', 'two.test']],
      [
        'a user of one domain, who comes from a trusted network',
        { users, allowedSenders: ['*@one.test'] },
        'alice',
        ['one.test'],
      ],
      ['a user of another mailbox', { users, allowedSenders: ['b@one.test'] }, 'alice', []],
      [
        'a stranger, who writes to our postmaster',
        { access: { trustedNetworks: [] }, postmaster: 'ops@home.test' },
        undefined,
        [],
      ],
    ];
  for (const [who, options, user, domains] of cases) {
    test(`${who}: ${domains.join(', ') || 'none'}`, async () => {
      assert.deepEqual(await signedFor(options, user), domains);
    });
  }
});
