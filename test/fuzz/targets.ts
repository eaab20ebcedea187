/**
 * Every target there is, in the order `make fuzz` runs them.
 */
import type { FuzzTarget } from './engine/target.ts';
import { certificateTargets } from './targets/certificates.ts';
import { conversationTargets } from './targets/conversations.ts';
import { daneTargets } from './targets/dane.ts';
import { dkimTargets } from './targets/dkim.ts';
import { dnsTargets } from './targets/dns.ts';
import { fileTargets } from './targets/files.ts';
import { intakeTargets } from './targets/intake.ts';
import { mtaStsTargets } from './targets/mta-sts.ts';
import { nameTargets } from './targets/names.ts';
import { proxyTargets } from './targets/proxy.ts';
import { smtpTargets } from './targets/smtp.ts';
import { textTargets } from './targets/text.ts';

export const targets: readonly FuzzTarget[] = [
  ...mtaStsTargets,
  ...nameTargets,
  ...certificateTargets,
  ...daneTargets,
  ...smtpTargets,
  ...proxyTargets,
  ...dkimTargets,
  ...dnsTargets,
  ...conversationTargets,
  ...intakeTargets,
  ...fileTargets,
  ...textTargets,
];
