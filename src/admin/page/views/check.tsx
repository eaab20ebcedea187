/** Domains examined as `stsrelay check` does: one that is asked for, and those of the last hour. */
import { api } from '../api.ts';
import { CheckPanel } from '../check-panel.tsx';
import { Field } from '../forms.tsx';
import { useLive } from '../live.ts';
import { Ago, Badge, Cell, Domain, Empty, Heading, Loaded, Table } from '../parts.tsx';
import { go, to } from '../route.ts';
import { domainOf } from '../u-label.ts';

const EVERY_MS = 10_000;

export function ChecksView() {
  const live = useLive('checks', api.checks, EVERY_MS);
  return (
    <>
      <Heading
        title="Check a domain"
        lead="Its MTA-STS, DANE and TLS as this relay sees them: would mail be delivered, and what is to be mended."
      />
      <form
        class="filter"
        aria-label="Domain to check"
        onSubmit={(event) => {
          event.preventDefault();
          const domain = String(new FormData(event.currentTarget).get('domain') ?? '').trim();
          if (domain !== '') go(to('check', domainOf(domain)));
        }}
      >
        <Field
          label="Domain"
          id="domain"
          name="domain"
          required
          placeholder="partner.example"
          spellcheck={false}
          autocomplete="off"
        />
        <button type="submit" class="primary">
          Look at it
        </button>
      </form>
      <Loaded live={live}>
        {({ checks }) =>
          checks.length === 0 ? (
            <Empty>No domain was checked in the last hour.</Empty>
          ) : (
            <Table caption="The last checks" head={['Domain', 'Begun', 'How it is']}>
              {checks.map(({ domain, startedAt, state, ok, error }) => (
                <tr key={domain}>
                  <Cell name="Domain">
                    <a href={to('check', domain)}>
                      <Domain name={domain} />
                    </a>
                  </Cell>
                  <Cell name="Begun">
                    <Ago at={startedAt} />
                  </Cell>
                  <Cell name="How it is">
                    {state === 'running' ? (
                      <Badge tone="info">under way</Badge>
                    ) : state === 'failed' ? (
                      <>
                        <Badge tone="bad">no answer</Badge> {error}
                      </>
                    ) : ok ? (
                      <Badge tone="good">well</Badge>
                    ) : (
                      <Badge tone="bad">something is wrong</Badge>
                    )}
                  </Cell>
                </tr>
              ))}
            </Table>
          )
        }
      </Loaded>
    </>
  );
}

/** `name`: as somebody typed it. */
export function CheckPage({ name }: { readonly name: string }) {
  const domain = domainOf(name);
  return (
    <>
      <Heading title={<Domain name={domain} />} lead="The sender's view of it.">
        <a class="button" href={to('destinations', domain)}>
          Its mail
        </a>
      </Heading>
      <CheckPanel domain={domain} />
    </>
  );
}
