/** The MTA-STS policies that are kept: mode, age, end, last trouble; fetched anew or forgotten. */
import type { PolicyListing } from '../../policies.ts';
import { api } from '../api.ts';
import { Dialog, open, tell } from '../dialog.tsx';
import { BusyButton, Field, FilterForm, Select, useBusy } from '../forms.tsx';
import { useLive } from '../live.ts';
import {
  Ago,
  At,
  Badge,
  Cell,
  Domain,
  Empty,
  Facts,
  Heading,
  Loaded,
  NextPage,
  Panel,
  Table,
  type Tone,
} from '../parts.tsx';
import { go, to } from '../route.ts';
import { counted } from '../words.ts';

const PAGE = 50;
const EVERY_MS = 15_000;
const MODE_TONES: Readonly<Record<string, Tone>> = {
  enforce: 'good',
  testing: 'info',
  none: 'plain',
};

const MODES = [
  ['', 'any'],
  ...Object.keys(MODE_TONES).map((mode) => [mode, mode] as const),
] as const;

export function PoliciesView({ query }: { readonly query: URLSearchParams }) {
  const given = {
    domain: query.get('domain') ?? undefined,
    mode: query.get('mode') ?? undefined,
    after: query.get('after') ?? undefined,
  };
  const live = useLive(query.toString(), () => api.policies({ ...given, limit: PAGE }), EVERY_MS);
  return (
    <>
      <Heading
        title="Policies"
        lead="MTA-STS policies that are kept: they bind mail until they end, whatever DNS says meanwhile."
      />
      <FilterForm view="policies">
        <Field
          label="Domain"
          id="domain"
          name="domain"
          defaultValue={given.domain}
          spellcheck={false}
          autocomplete="off"
          placeholder="*.example"
        />
        <Select label="Mode" name="mode" value={given.mode} choices={MODES} />
        <button type="submit">Filter</button>
      </FilterForm>
      <Loaded live={live}>
        {({ policies, next }) => (
          <>
            {policies.length === 0 ? (
              <Empty>{next ? 'Nothing on this page.' : 'No policy is kept that fits.'}</Empty>
            ) : (
              <Policies policies={policies} again={live.again} />
            )}
            <NextPage href={next && to('policies', '', { ...given, after: next })} size={PAGE} />
          </>
        )}
      </Loaded>
    </>
  );
}

function Policies({
  policies,
  again,
}: {
  readonly policies: readonly PolicyListing[];
  readonly again: () => void;
}) {
  return (
    <Table
      caption="Policies by domain"
      head={['Domain', 'Mode', 'MX', 'Fetched', 'Ends', 'Trouble', 'Do']}
    >
      {policies.map(({ domain, policy, lastFailure, suspicions }) => (
        <tr key={domain}>
          <Cell name="Domain">
            <a href={to('policies', domain)}>
              <Domain name={domain} />
            </a>
          </Cell>
          <Cell name="Mode">
            {policy ? (
              <Badge tone={MODE_TONES[policy.mode] ?? 'plain'}>{policy.mode}</Badge>
            ) : (
              <span class="faint">none kept</span>
            )}
          </Cell>
          <Cell name="MX" wide="phone">
            {policy?.mx.slice(0, 2).join(', ')}
            {(policy?.mx.length ?? 0) > 2 ? ' …' : ''}
          </Cell>
          <Cell name="Fetched">
            <Ago at={policy?.fetchedAt} />
          </Cell>
          <Cell name="Ends">
            <Ago at={policy?.expiresAt} />
          </Cell>
          <Cell name="Trouble" wide>
            {lastFailure
              ? `${lastFailure.kind}: ${lastFailure.reason}`
              : (suspicions[0]?.detail ?? <span class="faint">–</span>)}
          </Cell>
          <Cell name="Do" wide="phone">
            <Buttons domain={domain} again={again} />
          </Cell>
        </tr>
      ))}
    </Table>
  );
}

function Buttons({
  domain,
  again,
  gone,
}: {
  readonly domain: string;
  readonly again: () => void;
  readonly gone?: () => void;
}) {
  const [busy, run] = useBusy();
  async function refresh(): Promise<void> {
    await run(() => tell(async () => `${domain}: ${(await api.refreshPolicy(domain)).text}.`));
    again();
  }
  return (
    <span class="buttons">
      <BusyButton class="small" busy={busy} working="Fetching…" onClick={() => void refresh()}>
        Refresh<span class="unseen"> {domain}</span>
      </BusyButton>
      <button type="button" class="small danger" onClick={() => openForget(domain, gone ?? again)}>
        Forget…<span class="unseen"> {domain}</span>
      </button>
    </span>
  );
}

function openForget(domain: string, done: () => void): void {
  open(() => <Forget domain={domain} done={done} />);
}

function Forget({ domain, done }: { readonly domain: string; readonly done: () => void }) {
  const waiting = useLive('waiting', () => api.queue({ domain, limit: 1 }), 0);
  return (
    <Dialog
      title={`Forget the policy of ${domain}`}
      action="Forget"
      danger
      done={done}
      run={async () => {
        await api.forgetPolicy(domain);
        return `The policy of ${domain} is forgotten.`;
      }}
    >
      <p>
        It is looked up anew at the next delivery. <b>Until then nothing binds:</b> who keeps DNS
        from answering then, keeps the policy away.
      </p>
      <Loaded live={waiting}>
        {({ total }) => (
          <p class="big">
            <b>{counted(total, 'message waits', 'messages wait')}</b> for it.
          </p>
        )}
      </Loaded>
    </Dialog>
  );
}

export function PolicyPage({ domain }: { readonly domain: string }) {
  const live = useLive(domain, () => api.policy(domain), EVERY_MS);
  return (
    <>
      <Heading title={<Domain name={domain} />} lead="What is known of its MTA-STS policy.">
        <Buttons domain={domain} again={live.again} gone={() => go(to('policies'))} />
        <a class="button" href={to('destinations', domain)}>
          Its mail
        </a>
      </Heading>
      <Loaded live={live}>
        {({ policy, lastFailure, suspicions, nextRefreshAt, lastUsedAt }) => (
          <div class="columns">
            <Panel title="Policy">
              {policy ? (
                <>
                  <Facts
                    facts={[
                      {
                        name: 'Mode',
                        value: (
                          <Badge tone={MODE_TONES[policy.mode] ?? 'plain'}>{policy.mode}</Badge>
                        ),
                      },
                      { name: 'Id', value: <code>{policy.id}</code> },
                      { name: 'Fetched', value: <At at={policy.fetchedAt} /> },
                      { name: 'Ends', value: <At at={policy.expiresAt} /> },
                      { name: 'Next refresh', value: <Ago at={nextRefreshAt} /> },
                      { name: 'Last used', value: <Ago at={lastUsedAt} /> },
                    ]}
                  />
                  <pre>{policy.text}</pre>
                </>
              ) : (
                <Empty>None is kept.</Empty>
              )}
            </Panel>
            <Panel title="Troubles">
              {lastFailure ? (
                <p class="failure">
                  {lastFailure.kind}, <Ago at={lastFailure.at} />: {lastFailure.reason}
                  {lastFailure.resultType ? ` (${lastFailure.resultType})` : ''}
                </p>
              ) : null}
              {suspicions.map(({ signal, lastAt, count, detail }) => (
                <p key={signal} class="failure">
                  {signal}, {count} times, last <Ago at={lastAt} />: {detail}
                </p>
              ))}
              {!lastFailure && suspicions.length === 0 ? <Empty>None.</Empty> : null}
            </Panel>
          </div>
        )}
      </Loaded>
    </>
  );
}
