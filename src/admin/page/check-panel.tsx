/**
 * `stsrelay check` of one domain: begun here, watched while it runs, and what it found: the verdict, findings with
 * what to do about each, and the hosts.
 */
import { useState } from 'preact/hooks';
import { headline } from '../../check/headline.ts';
import type { Examination, Finding, HostFacts, Severity } from '../../check/types.ts';
import type { CheckView } from '../checks.ts';
import { api } from './api.ts';
import { BusyButton, useBusy } from './forms.tsx';
import { useLive } from './live.ts';
import { Ago, Badge, Cell, Empty, Panel, Table, type Tone } from './parts.tsx';
import { counted } from './words.ts';

const WHILE_IT_RUNS_MS = 1000;
const TONES: { readonly [K in Severity]: Tone } = {
  error: 'bad',
  warning: 'warn',
  info: 'info',
  ok: 'good',
};

/** The last check of `domain` that the relay remembers, and the way to another one. */
export function CheckPanel({ domain }: { readonly domain: string }) {
  const [isRunning, setRunning] = useState(false);
  const [begun, setBegun] = useState<CheckView | undefined>(undefined);
  const [connect, setConnect] = useState(true);
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, run] = useBusy();
  const live = useLive(
    `check ${domain}`,
    async () => {
      const { checks } = await api.checks();
      // Asked for only where there is one: a browser counts each 404 as an error of the page.
      const isThere = checks.some((one) => one.domain === domain);
      const now = isThere ? await api.check(domain) : undefined;
      setRunning(now?.state === 'running');
      setBegun(undefined);
      return { check: now };
    },
    isRunning ? WHILE_IT_RUNS_MS : 0,
  );
  const check = begun ?? live.now?.check;
  async function begin(): Promise<void> {
    setError(undefined);
    try {
      setBegun(await api.startCheck(domain, connect));
      setRunning(true);
      live.again();
    } catch (failure) {
      setError((failure as Error).message);
    }
  }
  const working = check?.state === 'running';
  return (
    <Panel
      title="Check"
      aside={
        <>
          <label class="check">
            <input
              type="checkbox"
              checked={connect}
              onChange={(event) => setConnect(event.currentTarget.checked)}
            />
            Connect to its hosts
          </label>
          <BusyButton busy={busy || working} working="Checking…" onClick={() => void run(begin)}>
            {check ? 'Check again' : 'Check now'}
          </BusyButton>
        </>
      }
    >
      {(error ?? live.error) === undefined ? null : (
        <p class="notice bad" role="alert">
          {error ?? live.error}
        </p>
      )}
      <div role="status">{working ? <Progress check={check} /> : null}</div>
      {check === undefined ? (
        <p class="hint">
          DNS, the policy, and a TLS handshake with each host, as a delivery would have them. It
          sends no mail, changes nothing, and takes a minute at most.
        </p>
      ) : null}
      {check?.state === 'failed' ? (
        <p class="notice bad">There is no answer: {check.error}.</p>
      ) : null}
      {check?.result ? <Found check={check} result={check.result} /> : null}
    </Panel>
  );
}

function Progress({ check }: { readonly check: CheckView | undefined }) {
  return (
    <p class="progress">
      <span>Looking at: {check?.step ?? 'DNS'}…</span>
      <progress aria-label="The check runs" />
    </p>
  );
}

function Found({ check, result }: { readonly check: CheckView; readonly result: Examination }) {
  const { verdict, findings, facts } = result;
  const wrong = findings.filter(({ severity }) => severity !== 'ok');
  const fine = findings.filter(({ severity }) => severity === 'ok');
  const said = headline(result);
  return (
    <>
      <p class="big">
        <Badge tone={toneOf(result)}>{verdict.outcome}</Badge>{' '}
        <b>
          {said.charAt(0).toUpperCase()}
          {said.slice(1)}.
        </b>
      </p>
      <p>{verdict.why}</p>
      <p class="hint">
        Checked <Ago at={check.finishedAt} />
        {check.connect ? '' : ', without connecting to its hosts'}
        {facts.timedOut ? '; the time was over before everything was looked at' : ''}.
      </p>
      {wrong.length === 0 ? <Empty>Nothing is wrong.</Empty> : <Findings findings={wrong} />}
      {fine.length === 0 ? null : (
        <details>
          <summary>{counted(fine.length, 'thing is', 'things are')} as they should be</summary>
          <Findings findings={fine} />
        </details>
      )}
      {facts.hosts.length === 0 ? null : <Hosts hosts={facts.hosts} />}
    </>
  );
}

function toneOf({ ok, verdict: { outcome } }: Examination): Tone {
  if (outcome === 'deferred' || outcome === 'bounced') return 'bad';
  return ok ? 'good' : 'warn';
}

function Findings({ findings }: { readonly findings: readonly Finding[] }) {
  return (
    <ul class="findings" aria-label="Findings">
      {findings.map(({ severity, code, subject, text, fix, rfc }, i) => (
        <li key={i}>
          <p>
            <Badge tone={TONES[severity]}>{severity}</Badge> <b>{subject}</b>{' '}
            <span class="faint">
              {code}
              {rfc === undefined ? '' : `, ${rfc}`}
            </span>
          </p>
          <p>{text}</p>
          {fix === undefined ? null : (
            <p class="fix">
              <b>What to do:</b> {fix}
            </p>
          )}
        </li>
      ))}
    </ul>
  );
}

function Hosts({ hosts }: { readonly hosts: readonly HostFacts[] }) {
  return (
    <Table caption="Its hosts" head={['Host', '#Preference', 'Address', 'TLS', 'Certificate']}>
      {hosts.flatMap(({ host, preference, foundAddresses, addresses }) => {
        const rows = addresses.length > 0 ? addresses : [{ address: foundAddresses.join(', ') }];
        return rows.map((row, i) => {
          const { address } = row;
          const { tls, certificate } = 'mode' in row ? row : {};
          return (
            <tr key={`${host} ${address} ${i}`}>
              <Cell name="Host">{host}</Cell>
              <Cell name="Preference" right>
                {preference}
              </Cell>
              <Cell name="Address">{address || <span class="faint">–</span>}</Cell>
              <Cell name="TLS">{tls ? tls.version : <span class="faint">–</span>}</Cell>
              <Cell name="Certificate">
                {certificate ? (
                  <>
                    {tls?.verdict.verified ? (
                      <Badge tone="good">verified</Badge>
                    ) : (
                      <Badge tone="warn">not verified</Badge>
                    )}{' '}
                    <span class="nowrap">until {certificate.validTo.slice(0, 10)}</span>
                  </>
                ) : (
                  <span class="faint">–</span>
                )}
              </Cell>
            </tr>
          );
        });
      })}
    </Table>
  );
}
