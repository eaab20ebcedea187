/** A sender's one message to a destination does not wait behind the hundreds of somebody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runStsrelay } from '../support/cli.ts';
import { startPretendInternet } from '../support/pretend-internet.ts';
import { openSession } from '../support/relay-mail.ts';
import { startRelay } from '../support/relay-process.ts';

test('senders take turns', async () => {
  const net = await startPretendInternet();
  try {
    const busy = await net.domain('busy.test');
    const [host] = busy.mx;
    assert.ok(host);
    await using relay = await startRelay({
      settings: [net.relaySettings(), { destinations: { default: { connections: 1 } } }],
    });
    const cli = (...args: string[]) => runStsrelay([...args, '--config', relay.configFile]);
    await cli('domain', 'pause', 'busy.test');
    using client = await openSession({ port: relay.smtpPort });
    const send = (from: string, n: number) =>
      client.deliver({ from, to: 'a@busy.test', data: `Subject: ${n}\r\n\r\nx\r\n` });
    for (let n = 0; n < 60; n++) await send(`news+a${n}=busy.test@lists.test`, n);
    const { accepted } = await send('ann@home.test', 60);
    assert.ok(accepted);
    await cli('domain', 'resume', 'busy.test');
    const got = await host.waitForMessages(61);
    const at = got.findIndex(({ data }) => data.includes('Subject: 60\r\n'));
    assert.ok(at <= 3, `it was number ${at + 1}`);
  } finally {
    await net.close();
  }
});
