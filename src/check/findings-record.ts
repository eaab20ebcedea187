/**
 * Findings about the MTA-STS TXT record (RFC 8461 §3.1). Pure. Near misses are told apart, for a
 * record that is nearly right looks right to whoever wrote it.
 */
import { plainErrors } from '../mail/system-errors.ts';
import { quoted } from '../protocol/quote.ts';
import { inWords, someOf } from './text.ts';
import type { DomainFacts, Finding, StsRecordFacts } from './types.ts';

const RFC = 'RFC 8461 §3.1';

/** What the record is, or why there is none. */
export function recordFindings(facts: DomainFacts): readonly Finding[] {
  const { record } = facts;
  if (!record) return [];
  const found = { subject: record.name, rfc: RFC };
  switch (record.kind) {
    case 'record':
      return [{ ...found, severity: 'ok', code: 'sts-record', text: `id ${record.id}` }];
    case 'failed':
      return [{ ...found, ...lookupFailed(record.detail, facts.configured.dnsFailureGraceMs) }];
    case 'none':
      return [{ ...found, ...whyNone(record, facts) }];
  }
}

/** A record to publish, with an id that is new: the time of the check (UTC). */
function sample({ checkedAtMs }: DomainFacts): string {
  const id = new Date(checkedAtMs).toISOString().slice(0, 19).replace(/\D/g, '');
  return `"v=STSv1; id=${id};"`;
}

type Said = Omit<Finding, 'subject' | 'rfc'> & Partial<Pick<Finding, 'subject' | 'rfc'>>;

function lookupFailed(detail: string, graceMs: number): Said {
  const wait =
    graceMs > 0
      ? `this relay holds their mail for ${inWords(graceMs / 1000)} of it and then delivers as if nothing were published`
      : 'this relay delivers as if nothing were published';
  return {
    severity: 'error',
    code: 'sts-record-lookup-failed',
    text: `The TXT lookup failed (${plainErrors(detail)}). Senders that have the policy keep to it; of those that do not, ${wait}.`,
    fix: 'See that every name server of the domain answers TXT queries for this name, also with "no such record": SERVFAIL is mostly a broken DNSSEC chain or delegation.',
  };
}

function whyNone(record: StsRecordFacts & { kind: 'none' }, facts: DomainFacts): Said {
  const { reason, detail, texts, elsewhere } = record;
  if (reason === 'multiple') {
    return {
      severity: 'error',
      code: 'sts-record-multiple',
      text: `There are several MTA-STS records (${someOf(texts.map(quoted))}), which senders take for none.`,
      fix: 'Leave exactly one TXT record that begins with "v=STSv1;" at this name.',
    };
  }
  const slip = reason === 'syntax' ? detail : texts.map(slipIn).find((one) => one !== undefined);
  if (slip !== undefined) {
    return {
      severity: 'error',
      code: 'sts-record-malformed',
      text: `The record ${someOf(texts.map(quoted), 2)} is not valid, and senders take it for none: ${slip}.`,
      fix: `Publish it as ${sample(facts)}: exactly this case, fields ended by ";", an id of 1 to 32 letters and digits, new with each change of the policy.`,
    };
  }
  if (elsewhere.length > 0) {
    return {
      severity: 'error',
      code: 'sts-record-misplaced',
      text: `There is no MTA-STS record here, but one at ${elsewhere.join(', ')}, where no sender looks.`,
      fix: `Move the TXT record to ${record.name}.`,
    };
  }
  return missing(record, facts);
}

function missing({ name, texts }: StsRecordFacts, facts: DomainFacts): Said {
  const { policy } = facts;
  const policyHost = `mta-sts.${name.slice('_mta-sts.'.length)}`;
  const others =
    texts.length > 0
      ? ` Other TXT records stand there (a wildcard?): ${someOf(texts.map(quoted), 2)}.`
      : '';
  const served = policy.kind === 'not-asked' ? policy.served : undefined;
  if (served && served.mode !== 'none') {
    return {
      severity: 'error',
      code: 'sts-policy-unannounced',
      text: `The policy host serves a policy (mode ${served.mode}), but without this record no sender asks for it.${others}`,
      fix: `Publish the TXT record ${sample(facts)} at ${name}.`,
    };
  }
  return {
    severity: 'info',
    code: 'sts-not-published',
    text: `The domain does not use MTA-STS: nothing keeps an attacker on the way from stripping TLS.${others}`,
    fix: `To use it, serve a policy in mode testing at https://${policyHost}/.well-known/mta-sts.txt, then publish the TXT record ${sample(facts)} at ${name}; when the TLS reports show no failures, change the mode to enforce and the id with it.`,
  };
}

/** What is wrong with a text that was meant to be an MTA-STS record; undefined when it was not. */
function slipIn(text: string): string | undefined {
  if (!/v\s*=\s*["']?\s*sts/i.test(text)) return undefined;
  if (/^\s+/.test(text)) return 'it begins with a blank';
  if (/^["']/.test(text)) return 'it has quotation marks in it that belong to the zone file alone';
  if (/^\s*id\s*=/i.test(text)) return 'v=STSv1 has to come first';
  if (!/^v=STSv1/.test(text)) {
    return /^v=stsv1/i.test(text)
      ? 'the version is not written v=STSv1, with capital STS and small v'
      : `it does not begin with "v=STSv1;"`;
  }
  if (!text.includes(';')) return 'there is no ";" behind v=STSv1';
  return 'it does not begin with "v=STSv1;"';
}
