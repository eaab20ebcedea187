/**
 * The metrics the tour picks from /metrics, with a sentence each. Pure.
 */

export interface ShownMetric {
  /** As served. */
  readonly line: string;
  readonly sentence: string;
}

/** A name, labels that it must have, and what it says. */
type Wish = readonly [name: string, labels: Readonly<Record<string, string>>, sentence: string];

const WISHES: readonly Wish[] = [
  [
    'stsrelay_tls_deliveries_total',
    { asked: 'verify', reached: 'verified' },
    'had to go over verified TLS, and did',
  ],
  [
    'stsrelay_plaintext_deliveries_total',
    {},
    'went in clear text, because nobody published anything better',
  ],
  [
    'stsrelay_recipients_deferred_total',
    { cause: 'tlsPolicy' },
    'held back by a TLS policy; the alert is StsrelayPolicyNotMet',
  ],
  [
    'stsrelay_downgrade_suspected_total',
    { signal: 'starttls-gone' },
    'a host that had TLS lost it; the alert is StsrelayDowngradeSuspected',
  ],
  [
    'stsrelay_mtasts_cache_entries',
    { mode: 'enforce' },
    'policies kept on disk, in force until they expire, whatever DNS says',
  ],
  ['stsrelay_overrides_active', {}, 'exceptions in force; an alert tells before one ends'],
];

/** Those lines of a Prometheus text, in the order of the tour. Throws for one that is not there. */
export function shownMetrics(text: string): readonly ShownMetric[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return WISHES.map(([name, labels, sentence]) => {
    const line = lines.find(
      (one) =>
        one.startsWith(name) &&
        ['{', ' '].includes(one[name.length] ?? '') &&
        Object.entries(labels).every(([key, value]) => one.includes(`${key}="${value}"`)),
    );
    if (line === undefined) throw new Error(`/metrics has no ${name} ${JSON.stringify(labels)}`);
    return { line, sentence };
  });
}
