/**
 * The LIMITS keyword of an EHLO reply (RFC 9422 §3): how much one session and one transaction may
 * hold. Pure. A limit of another name, or with a value that is none, is as if it were not there
 * (RFC 9422 §3.7).
 */

export interface SmtpLimits {
  /** Transactions in one session (RFC 9422 §4.1). */
  readonly mailMax?: number;
  /** Recipients in one transaction (RFC 9422 §4.2). */
  readonly rcptMax?: number;
  /** Domains that recipients of one session may be in (RFC 9422 §4.3). */
  readonly rcptDomainMax?: number;
}

const NAMES: Readonly<Record<string, keyof SmtpLimits>> = {
  MAILMAX: 'mailMax',
  RCPTMAX: 'rcptMax',
  RCPTDOMAINMAX: 'rcptDomainMax',
};
const VALUE = /^[1-9]\d{0,5}$/;
const LINE = /^LIMITS((?:[ \t]+\S+)+)$/i;

/** The limits in `lines`, each the text of one line of an EHLO reply. */
export function parseLimits(lines: readonly string[]): SmtpLimits {
  const found: { -readonly [Name in keyof SmtpLimits]: number } = {};
  for (const line of lines) {
    for (const word of LINE.exec(line)?.[1]
      ?.trim()
      .split(/[ \t]+/) ?? []) {
      const at = word.indexOf('=');
      const name = at > 0 ? NAMES[word.slice(0, at).toUpperCase()] : undefined;
      const value = word.slice(at + 1);
      if (name && VALUE.test(value)) found[name] = Number(value);
    }
  }
  return found;
}
