/** Why the mail of a destination waits, in the few words of a row. */
import type { DestinationSummary } from '../../queue-summary.ts';
import { Badge } from '../parts.tsx';
import { CAUSES } from '../words.ts';

const CLOSED: Readonly<Record<string, string>> = {
  node: 'name of this relay taken',
  pause: 'paused',
  breaker: 'unreachable',
  rate: 'rate used up',
};

interface Props extends Pick<DestinationSummary, 'closedBy' | 'counts' | 'total'> {
  readonly cause: DestinationSummary['cause'] | undefined;
}

export function WhyWaits({ closedBy, cause, counts, total }: Props) {
  if (counts.held === total) return <>held by an administrator</>;
  if (closedBy.length === 0 && !cause) return <span class="faint">not tried yet</span>;
  return (
    <>
      {closedBy.map(({ kind }) => (
        <Badge key={kind} tone="warn">
          {CLOSED[kind] ?? kind}
        </Badge>
      ))}{' '}
      {cause ? CAUSES[cause] : null}
    </>
  );
}
