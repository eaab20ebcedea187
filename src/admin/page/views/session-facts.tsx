/** One session of an attempt: the host, what TLS was asked and reached, its certificate, how it ended. */
import type { ComponentChildren } from 'preact';
import type { SessionStory } from '../../../outcome/story-attempts.ts';
import { Badge, Facts, Said, type Tone } from '../parts.tsx';

export function TlsFacts({ session }: { readonly session: SessionStory }) {
  const { host, address, port, asked, tls, tlsOutcome, clearTextBecause, smallHelloBecause, end } =
    session;
  const place = `${host ?? ''}${address ? ` [${address}]` : ''}${port ? `, port ${port}` : ''}`;
  const isDoubted = end.kind !== 'transacted' && end.text === tls?.doubt?.detail;
  return (
    <div class="session">
      <h4>
        {place || 'a host'} <Reached outcome={tlsOutcome} />
      </h4>
      <Facts
        facts={[
          asked && { name: 'Asked', value: asked.text },
          tls && { name: 'TLS', value: `${tls.version}, ${tls.cipher}` },
          tls && { name: 'Certificate', value: certificateOf(tls) },
          tls?.certSha256 === undefined
            ? undefined
            : { name: 'SHA-256', value: <code class="digest">{tls.certSha256}</code> },
          tls?.tlsa === undefined ? undefined : { name: 'TLSA', value: <code>{tls.tlsa}</code> },
          smallHelloBecause && {
            name: 'Tried again',
            value: `with a small ClientHello: ${smallHelloBecause.detail}`,
          },
          clearTextBecause && { name: 'In clear text', value: clearTextBecause.detail },
          end.kind === 'transacted'
            ? end.reply === undefined
              ? undefined
              : { name: 'Reply', value: end.reply }
            : {
                name: address === undefined ? 'Skipped' : 'Ended',
                value: isDoubted ? (
                  'before any mail was sent'
                ) : (
                  <Said text={`${end.text} (${end.kind === 'reply' ? end.stage : end.cause})`} />
                ),
              },
        ]}
      />
    </div>
  );
}

const REACHED: Readonly<Record<string, readonly [Tone, string]>> = {
  verified: ['good', 'verified'],
  encrypted: ['info', 'encrypted'],
  clear: ['bad', 'clear text'],
  '-': ['warn', 'no TLS reached'],
};

function Reached({ outcome }: { readonly outcome: SessionStory['tlsOutcome'] }) {
  if (outcome === undefined) return null;
  const [asked, reached = '-'] = outcome.split(':');
  if (asked === 'verify' && reached === 'encrypted') return <Badge tone="bad">not verified</Badge>;
  const [tone, text] = REACHED[reached] ?? ['plain', reached];
  return <Badge tone={tone}>{text}</Badge>;
}

function certificateOf(tls: NonNullable<SessionStory['tls']>): ComponentChildren {
  const { certValidTo, verifiedAs, doubt } = tls;
  return (
    <>
      {verifiedAs === undefined
        ? `not verified${doubt ? `: ${doubt.detail}` : ''}`
        : `valid for ${verifiedAs}`}
      {certValidTo === undefined ? null : (
        <>
          , ends <span class="nowrap">{certValidTo.slice(0, 10)}</span>
        </>
      )}
    </>
  );
}
