/** One message explained: envelope, what it waits for, every attempt with its TLS, what its sender is told. */

import type { DestinationStory } from '../../../outcome/story.ts';
import type { DeliveryNow, MessageView } from '../../queue-show.ts';
import { api } from '../api.ts';
import { type Action, openAct } from '../dialogs/act.tsx';
import { useLive } from '../live.ts';
import { Ago, At, Badge, Facts, Heading, Loaded, Panel, Said, StateBadge } from '../parts.tsx';
import { to } from '../route.ts';
import { counted, LEVELS, number, octets } from '../words.ts';
import { TlsFacts } from './session-facts.tsx';

const EVERY_MS = 5000;

const ACTIONS: readonly (readonly [Action, string])[] = [
  ['retry', 'Retry now'],
  ['hold', 'Hold'],
  ['release', 'Release'],
  ['bounce', 'Bounce'],
  ['drop', 'Drop'],
];

export function MessageViewPage({ id }: { readonly id: string }) {
  const live = useLive(id, () => api.message(id), EVERY_MS);
  const isHeld = live.now?.now.some(({ state }) => state === 'held') ?? false;
  const isGone = live.error?.includes('not in the queue') ?? false;
  const which = { ids: [id] };
  return (
    <>
      <Heading
        title={<span class="id">{id}</span>}
        lead={isGone ? 'Not in the queue.' : live.now && <Lead message={live.now} />}
      >
        {ACTIONS.filter(([action]) => action !== (isHeld ? 'hold' : 'release')).map(
          ([action, name]) => (
            <button
              key={action}
              type="button"
              disabled={isGone || live.now === undefined}
              class={
                action === 'bounce' || action === 'drop'
                  ? 'danger'
                  : action === 'retry'
                    ? 'primary'
                    : undefined
              }
              onClick={() => openAct(action, which, id, live.again)}
            >
              {name}
            </button>
          ),
        )}
      </Heading>
      {isGone ? (
        <p class="notice">
          It was delivered, bounced or dropped, or it was never here: the log of the relay has its
          lines, by this id.{live.now ? ' What follows is how it was seen last.' : ''}
        </p>
      ) : null}
      <Loaded live={live}>
        {(message) => (
          <>
            <div class="columns">
              <Envelope message={message} />
              <Told message={message} />
            </div>
            {message.destinations.map((story) => (
              <Destination
                key={story.destination}
                story={story}
                now={message.now.find(({ destination }) => destination === story.destination)}
              />
            ))}
            {message.destinationsLeftOut ? (
              <p>{number(message.destinationsLeftOut)} more destinations are left out.</p>
            ) : null}
          </>
        )}
      </Loaded>
    </>
  );
}

function Lead({ message }: { readonly message: MessageView }) {
  const { waiting, delivered, bounced } = message.counts;
  const fates = [
    `${counted(waiting, 'recipient waits', 'recipients wait')}`,
    ...(delivered > 0 ? [`${number(delivered)} delivered`] : []),
    ...(bounced > 0 ? [`${number(bounced)} bounced`] : []),
  ];
  return <>{fates.join(', ')}.</>;
}

function Envelope({ message }: { readonly message: MessageView }) {
  const { sender, received, sizeBytes, messageId, client, recipients, requireTls, tlsRequiredNo } =
    message;
  return (
    <Panel title="Envelope">
      <Facts
        facts={[
          { name: 'From', value: sender === '' ? '<> (a bounce)' : sender },
          {
            name: 'Received',
            value: (
              <>
                <At at={received} /> (<Ago at={received} />)
              </>
            ),
          },
          client && {
            name: 'Handed over by',
            value: [client.user, client.helo, client.address].filter(Boolean).join(', '),
          },
          { name: 'Size', value: octets(sizeBytes) },
          messageId === undefined
            ? undefined
            : { name: 'Message-ID', value: <code class="digest">{messageId}</code> },
          requireTls && { name: 'REQUIRETLS', value: 'verified TLS all the way, or a bounce' },
          tlsRequiredNo && {
            name: 'TLS-Required',
            value: 'No: its sender prefers delivery to TLS',
          },
          {
            name: 'Recipients',
            value: (
              <ul class="list">
                {recipients.slice(0, 20).map(({ address, fate }) => (
                  <li key={address}>
                    {address}{' '}
                    <Badge
                      tone={fate === 'delivered' ? 'good' : fate === 'bounced' ? 'bad' : 'plain'}
                    >
                      {fate}
                    </Badge>
                  </li>
                ))}
                {recipients.length > 20 ? (
                  <li>
                    and {number(recipients.length - 20 + (message.recipientsLeftOut ?? 0))} more
                  </li>
                ) : null}
              </ul>
            ),
          },
        ]}
      />
    </Panel>
  );
}

/** What the sender hears, and when. */
function Told({ message }: { readonly message: MessageView }) {
  const { sender, dsns, delayWarning, now } = message;
  const expires = now.flatMap((one) => one.expires ?? []).sort()[0];
  const failure = message.destinations.find(({ lastFailure }) => lastFailure)?.lastFailure;
  return (
    <Panel title="What the sender is told">
      {sender === '' ? (
        <p>Nothing: this is a bounce itself, and bounces are not answered.</p>
      ) : (
        <ul class="timeline">
          {delayWarning ? (
            <li>
              <At at={delayWarning} />: that it waits.
            </li>
          ) : null}
          {dsns
            .filter(({ actions }) => !actions.includes('delayed'))
            .map(({ id, actions, at }) => (
              <li key={id}>
                <At at={at} />: {actions.join(', ')}.
              </li>
            ))}
          <li>
            {expires ? (
              <>
                <At at={expires} /> (<Ago at={expires} />
                ), if it is not delivered until then: that it could not be delivered, with the last
                reason.
              </>
            ) : (
              'Nothing while it is held: meanwhile it does not expire.'
            )}
          </li>
        </ul>
      )}
      {failure && sender !== '' ? (
        <blockquote>
          <Said text={failure.text} />
          {failure.demand ? <p>{failure.demand}</p> : null}
        </blockquote>
      ) : null}
    </Panel>
  );
}

function Destination({
  story,
  now,
}: {
  readonly story: DestinationStory;
  readonly now: DeliveryNow | undefined;
}) {
  const { destination, history, attempts, historyLeftOut } = story;
  return (
    <Panel
      title={destination === '' ? 'No usable domain' : destination}
      aside={
        destination === '' ? undefined : (
          <a href={to('destinations', destination)}>The destination</a>
        )
      }
    >
      {now ? (
        <div class="now">
          <p>
            <StateBadge state={now.state} />{' '}
            {now.nextAttempt && now.state !== 'active' ? (
              <>
                Next attempt{' '}
                <b>
                  <Ago at={now.nextAttempt} />
                </b>{' '}
                (<At at={now.nextAttempt} />
                ).
              </>
            ) : null}{' '}
            {now.expires ? (
              <>
                Given up <Ago at={now.expires} /> (<At at={now.expires} />
                ).
              </>
            ) : null}
          </p>
          {now.waitsFor.map(({ text }) => (
            <p key={text}>
              <Said text={text} />
            </p>
          ))}
          {now.override ? (
            <p class="gives-up">
              An override is in force: {LEVELS[now.override.tls].name}. {now.override.reason}
            </p>
          ) : null}
        </div>
      ) : (
        <p>Nobody waits here any more.</p>
      )}
      {history.length > 0 ? <h3>{counted(attempts, 'attempt')}, the last one first</h3> : null}
      {historyLeftOut ? <p>{number(historyLeftOut)} in the middle are left out.</p> : null}
      <ol class="timeline" reversed>
        {history.toReversed().map((attempt) => (
          <li key={attempt.number}>
            <p>
              <b>Attempt {attempt.number}</b>, <At at={attempt.at} /> (<Ago at={attempt.at} />)
              {attempt.unfinished ? ', not at its end' : ''}
            </p>
            {attempt.results.map(({ fate, count, recipients, failure, reply }, i) => (
              <p key={i} class={fate === 'delivered' ? undefined : 'failure'}>
                {fate === 'waiting' ? 'deferred' : fate}: {recipients.slice(0, 3).join(', ')}
                {count > 3 ? ` and ${number(count - 3)} more` : ''}.{' '}
                <Said text={failure?.text ?? reply ?? ''} />
              </p>
            ))}
            <details open={attempt.number === attempts}>
              <summary>{counted(attempt.sessions.length, 'host')}, with TLS</summary>
              {attempt.sessions.map((session, i) => (
                <TlsFacts key={i} session={session} />
              ))}
            </details>
          </li>
        ))}
      </ol>
    </Panel>
  );
}
