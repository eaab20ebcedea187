/**
 * A resolver that cannot be reached, told from a domain whose name servers fail: the first is for
 * the administrator of this machine to mend, and says nothing about the domain. Pure.
 */
import { isErrorName, plainErrors } from '../mail/system-errors.ts';
import type { DomainFacts } from './types.ts';

/** A system call that failed, or a wait in vain: what is said of a server that said nothing. */
const SILENCE = /^(?:[a-z]+ E[A-Z]{3,}\b.*|no answer in [\d.]+ s)(?: from \S+)?$/;

function isSilence(said: string): boolean {
  return SILENCE.test(said) || isErrorName(said.replace(/ from \S+$/, ''));
}

/** What became of the resolvers, when no lookup got an answer from any; undefined otherwise. */
export function resolverSilence(facts: DomainFacts): string | undefined {
  const { mx, record, tlsRpt, hosts } = facts;
  const answered =
    mx.kind === 'found' ||
    mx.kind === 'absent' ||
    [record, tlsRpt].some((one) => one !== undefined && one.kind !== 'failed');
  if (answered) return undefined;
  const lookups = [mx, record, tlsRpt].flatMap((one) =>
    one?.kind === 'failed' ? [one.detail] : [],
  );
  const addresses = hosts.flatMap(({ failure }) =>
    failure?.kind === 'local' && failure.cause === 'dns-failed'
      ? failure.detail.replace(/^address lookup for \S+: /, '').split('; ')
      : [],
  );
  const failed = [...lookups, ...addresses];
  const isSilent = failed.every((detail) => detail.split(', ').every(isSilence));
  return isSilent ? failed[0] : undefined;
}

/** The same in a sentence. */
export function noResolverAnswered(silence: string): string {
  const said = [...new Set(plainErrors(silence).split(', '))].join(', ');
  return `No resolver answered (${said.replaceAll('refused from', 'refused by')}): nothing is known about the domain.`;
}
