/**
 * The first and the last words of the tour: what it is; what there is; where to read on; and, where it
 * stays up, everything to play with.
 */
import type { Screen } from './screen.ts';
import { SENDER, type Stage } from './stage.ts';

/** Said while everything is being started. */
export function greet(screen: Screen): void {
  screen.heading('stsrelay: a tour');
  screen.say(
    'An outbound SMTP relay that enforces MTA-STS and DANE, with a small pretend internet around it: DNS, policy hosts, MX hosts and a certificate authority on loopback. Nothing leaves this machine, nothing stays behind. What you see of the relay is its own: its log, its command line, its metrics.',
  );
}

/** Said when it is there. */
export function describe(screen: Screen, { internet, relay }: Stage): void {
  const { dns, network, mxPort, httpsPort } = internet;
  screen.lines(['']);
  screen.labelled([
    ['relay', `127.0.0.1:${relay.smtpPort}, process ${relay.pid}, with a Redis of its own`],
    ['settings', relay.configFile],
    ['DNS', dns.endpoint],
    ['MX hosts', `${network}.10 to .20, port ${mxPort}`],
    ['policies', `${network}.2, port ${httpsPort}`],
  ]);
}

const KEPT = ['make demo KEEP=1', 'this tour, which then stays up to be played with'] as const;

/** What can be read next. */
export function whereToGo(screen: Screen, { isKept }: { readonly isKept: boolean }): void {
  screen.heading('Where to go from here');
  screen.labelled([
    ['README.md', 'what it does, how a message is judged, how to configure it'],
    ['docs/queue.md', 'why a message waits, and what can be done about it'],
    ['docs/tls-reports.md', 'what is reported to whom, and when'],
    ['docs/operations.md', 'metrics, dashboards, alerts'],
    ['make run', 'a relay on 127.0.0.1:2525 for real mail'],
    ...(isKept ? [] : [KEPT]),
  ]);
}

/** How to go on with what was started. */
export async function invite(screen: Screen, { relay, tokenFile }: Stage): Promise<void> {
  const http = `http://127.0.0.1:${relay.httpPort}`;
  const page = await relay.http('/', { headers: { accept: 'text/html' } });
  await page.body?.cancel();
  const bearer = `-H "Authorization: Bearer $(cat ${tokenFile})"`;
  screen.heading('It stays up until Ctrl-C');
  screen.say('In another terminal, in this folder:');
  screen.lines([
    '',
    `  export STSRELAY_CONFIG=${relay.configFile}`,
    '  npm run -s stsrelay -- status',
    '  npm run -s stsrelay -- queue list',
    '  npm run -s stsrelay -- policy show attacked.example',
    '  npm run -s stsrelay -- check expired.example',
    `  swaks --server 127.0.0.1:${relay.smtpPort} --from ${SENDER} --to bob@expired.example`,
    '',
    ...(page.ok ? [`  admin page   ${http}/  (token: ${tokenFile})`] : []),
    `  API          curl -s ${bearer} ${http}/api/v1/status`,
    `  metrics      ${http}/metrics`,
    `  TLS reports  ${relay.dataDir}/reports, from midnight UTC on; until then: tlsrpt show`,
    '  the domains  test/demo/postures.ts',
    '',
  ]);
}
