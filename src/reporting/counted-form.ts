/**
 * What is counted as it is read back, from disk or from Redis: of another version, or by somebody's hand, it
 * may be anything.
 */
import { z } from 'zod';
import { RESULT_TYPES } from '../protocol/tlsrpt/result-type.ts';

const number = z.number().int().min(0);
const text = z.string();

export const policyCountsForm = z.object({
  policy: z.object({
    type: z.enum(['sts', 'tlsa', 'no-policy-found']),
    domain: text,
    lines: z.array(text),
    mx: z.array(text),
  }),
  successful: number,
  failed: number,
  details: z.array(
    z.object({
      detail: z.object({
        resultType: z.enum(RESULT_TYPES),
        sendingIp: text.optional(),
        mxHost: text.optional(),
        mxHelo: text.optional(),
        receivingIp: text.optional(),
        additionalUri: text.optional(),
        reasonCode: text.optional(),
      }),
      sessions: number,
    }),
  ),
});

/** A Counted. */
export const countedForm = policyCountsForm.extend({ domain: text });

/** Those of domains that there was no room for. */
export const otherForm = z.object({
  domain: z.undefined().optional(),
  successful: number,
  failed: number,
});
