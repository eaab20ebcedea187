/** TLS reports: the days, what each domain is told of its day, and what became of the report. */
import type { TlsReport } from '../../../protocol/tlsrpt/report.ts';
import { api } from '../api.ts';
import { Dialog, open } from '../dialog.tsx';
import { useLive } from '../live.ts';
import {
  Ago,
  Badge,
  Cell,
  Count,
  Empty,
  Heading,
  Loaded,
  Panel,
  Table,
  type Tone,
} from '../parts.tsx';
import type { ReportPage, ReportSending } from '../report-types.ts';
import { to } from '../route.ts';
import { counted, number } from '../words.ts';

const EVERY_MS = 30_000;
const PAGE = 50;
const TARGET_TONES: Readonly<Record<string, Tone>> = {
  delivered: 'good',
  posted: 'good',
  queued: 'info',
  waiting: 'info',
  'handing-over': 'info',
  failed: 'bad',
  suspended: 'warn',
};

export function ReportsView() {
  const live = useLive('days', api.reportDays, EVERY_MS);
  return (
    <>
      <Heading
        title="TLS reports"
        lead="What domains that ask for it are told each day of how TLS with them went (UTC days)."
      />
      <Loaded live={live}>
        {({ days, suspended }) => (
          <>
            {days.length === 0 ? (
              <Empty>Nothing is counted yet.</Empty>
            ) : (
              <Table
                caption="Days that sessions are counted of"
                head={['Day', '#Domains', '#With TLS', '#Failed', 'Copies']}
              >
                {days.map(({ day, domains, successful, failed, targets }) => (
                  <tr key={day}>
                    <Cell name="Day">
                      <a href={to('reports', day)}>{day}</a>
                    </Cell>
                    <Cell name="Domains" right>
                      <Count value={domains} />
                    </Cell>
                    <Cell name="With TLS" right>
                      <Count value={successful} />
                    </Cell>
                    <Cell name="Failed" right>
                      <Count value={failed} />
                    </Cell>
                    <Cell name="Copies">
                      {Object.entries(targets).map(([state, count]) => (
                        <Badge key={state} tone={TARGET_TONES[state] ?? 'plain'}>
                          {number(count ?? 0)} {state}
                        </Badge>
                      ))}
                    </Cell>
                  </tr>
                ))}
              </Table>
            )}
            {suspended.length > 0 ? (
              <Panel title="Suspended: they keep failing">
                <ul class="rows">
                  {suspended.map(({ domain, rua, failures, reason, until }) => (
                    <li key={`${domain} ${rua}`}>
                      <b>{domain}</b>
                      <span class="grow">
                        {rua}: {reason}
                      </span>
                      <span>
                        {counted(failures, 'time')}; until <Ago at={until} />
                      </span>
                    </li>
                  ))}
                </ul>
              </Panel>
            ) : null}
          </>
        )}
      </Loaded>
    </>
  );
}

export function ReportDayView({ day }: { readonly day: string }) {
  const live = useLive(day, () => api.reports(day, { limit: PAGE }), EVERY_MS);
  const isOver = day < new Date().toISOString().slice(0, 10);
  return (
    <>
      <Heading
        title={`Reports of ${day}`}
        lead={isOver ? 'By policy domain.' : 'The day is not over yet: what they come to so far.'}
      >
        <button
          type="button"
          disabled={!isOver}
          onClick={() => openSend(day, undefined, live.again)}
        >
          Send what has not gone…
        </button>
      </Heading>
      <Loaded live={live}>
        {({ reports, next }) => (
          <>
            {reports.length === 0 ? <Empty>Nothing is counted of this day.</Empty> : null}
            {reports.map((one) => (
              <OneReport
                key={one.domain}
                one={one}
                send={isOver ? () => openSend(day, one.domain, live.again) : undefined}
              />
            ))}
            {next ? (
              <p class="below-table">
                There are more: <code>stsrelay tlsrpt show --day {day}</code> has all of them.
              </p>
            ) : null}
          </>
        )}
      </Loaded>
    </>
  );
}

function OneReport({
  one,
  send,
}: {
  readonly one: ReportPage['reports'][number];
  readonly send: (() => void) | undefined;
}) {
  const { domain, report, sending } = one;
  return (
    <Panel
      title={domain}
      aside={
        send ? (
          <button type="button" class="small" onClick={send}>
            Send…<span class="unseen"> {domain}</span>
          </button>
        ) : undefined
      }
    >
      <Sums report={report} />
      {sending ? (
        <Sending sending={sending} />
      ) : (
        <p class="hint">Not looked at yet: reports go after the day has ended.</p>
      )}
      <details>
        <summary>The whole report (JSON)</summary>
        <pre>{JSON.stringify(report, null, 2)}</pre>
      </details>
    </Panel>
  );
}

function Sums({ report }: { readonly report: TlsReport }) {
  return (
    <ul class="rows">
      {report.policies.map(({ policy, summary, 'failure-details': details }, i) => (
        <li key={i}>
          <Badge>{policy['policy-type']}</Badge>
          <span>{number(summary['total-successful-session-count'])} with TLS</span>
          <span class={summary['total-failure-session-count'] > 0 ? 'failure' : undefined}>
            {number(summary['total-failure-session-count'])} failed
          </span>
          <span class="grow">
            {[...new Set((details ?? []).map((one) => one['result-type']))].join(', ')}
          </span>
        </li>
      ))}
    </ul>
  );
}

function Sending({ sending }: { readonly sending: ReportSending }) {
  const { outcome, reason, targets } = sending;
  return (
    <>
      <p>
        {outcome === 'nobody-asks' ? 'The domain asks for no report.' : `Sending: ${outcome}.`}{' '}
        {reason}
      </p>
      <ul class="list">
        {targets.map(({ rua, state, attempts, nextAttempt, reason: why }) => (
          <li key={rua}>
            <Badge tone={TARGET_TONES[state] ?? 'plain'}>{state}</Badge> {rua},{' '}
            {counted(attempts, 'attempt')}
            {nextAttempt ? (
              <>
                , next <Ago at={nextAttempt} />
              </>
            ) : (
              ''
            )}
            {why ? `: ${why}` : ''}
          </li>
        ))}
      </ul>
    </>
  );
}

function openSend(day: string, domain: string | undefined, done: () => void): void {
  open(() => <Send day={day} domain={domain} done={done} />);
}

function Send({
  day,
  domain,
  done,
}: {
  readonly day: string;
  readonly domain: string | undefined;
  readonly done: () => void;
}) {
  const wish = domain === undefined ? {} : { domain };
  const dry = useLive('dry', () => api.sendReports(day, { ...wish, dryRun: true }), 0);
  const left = dry.now?.reports.filter(({ sends }) => sends).length ?? 0;
  return (
    <Dialog
      title={`Send the reports of ${day}${domain === undefined ? '' : ` for ${domain}`}`}
      action="Send"
      lacks={dry.now && left > 0 ? undefined : 'There is nothing left to be sent.'}
      done={done}
      run={async () => {
        const { reports } = await api.sendReports(day, { ...wish, dryRun: false });
        const errors = reports.flatMap(({ domain: name, error }) =>
          error ? [`${name}: ${error}`] : [],
        );
        const sent = reports.filter(({ sends }) => sends).length;
        return `${counted(sent, 'report')} sent on. ${errors.join('; ')}`;
      }}
    >
      <p>What has gone is never sent again.</p>
      <Loaded live={dry}>
        {({ reports }) => (
          <p class="big">
            <b>{counted(left, 'report')}</b> of {number(reports.length)} would be sent.
          </p>
        )}
      </Loaded>
    </Dialog>
  );
}
