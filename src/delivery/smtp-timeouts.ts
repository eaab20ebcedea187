/**
 * How long each step of an SMTP session may take (RFC 5321 §4.5.3.2).
 */
import type { SmtpStage } from '../mail/failure.ts';

/** Milliseconds of silence after which a command counts as failed. */
export interface SmtpTimeouts {
  readonly greeting: number;
  readonly helo: number;
  readonly mail: number;
  readonly rcpt: number;
  readonly dataInit: number;
  readonly dataBlock: number;
  readonly dataDone: number;
  readonly tls: number;
}

/** RFC 5321 §4.1.1.10 has us wait for the reply to QUIT; no message depends on it any more, nor on RSET's. */
const AFTERWARDS_MS = 10_000;

/** RFC 5321 §4.5.3.2: which stage a command begins, and how long its reply may take. */
export const COMMANDS: Record<string, (t: SmtpTimeouts) => readonly [SmtpStage, number]> = {
  EHLO: (t) => ['ehlo', t.helo],
  HELO: (t) => ['ehlo', t.helo],
  STAR: (t) => ['starttls', t.helo],
  AUTH: (t) => ['auth', t.helo],
  MAIL: (t) => ['mail', t.mail],
  RCPT: (t) => ['rcpt', t.rcpt],
  DATA: (t) => ['data', t.dataInit],
  RSET: () => ['rcpt', AFTERWARDS_MS],
  QUIT: () => ['end-of-data', AFTERWARDS_MS],
};
