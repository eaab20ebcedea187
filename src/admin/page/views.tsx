/** Which view belongs to which place. */
import type { ComponentChildren } from 'preact';
import { Heading } from './parts.tsx';
import { type Route, to } from './route.ts';
import { AuditView } from './views/audit.tsx';
import { CheckPage, ChecksView } from './views/check.tsx';
import { DestinationView } from './views/destination.tsx';
import { DestinationsView } from './views/destinations.tsx';
import { MessageViewPage } from './views/message.tsx';
import { OverridesView } from './views/overrides.tsx';
import { OverviewView } from './views/overview.tsx';
import { PoliciesView, PolicyPage } from './views/policies.tsx';
import { QueueView } from './views/queue.tsx';
import { RelayView } from './views/relay.tsx';
import { ReportDayView, ReportsView } from './views/reports.tsx';
import { RetryView } from './views/retry.tsx';

export function viewOf({ view, name, query }: Route): ComponentChildren {
  switch (view) {
    case '':
      return <OverviewView />;
    case 'destinations':
      return name === '' ? (
        <DestinationsView key={query.toString()} query={query} />
      ) : (
        <DestinationView key={name} name={name} />
      );
    case 'queue':
      return <QueueView key={query.toString()} query={query} />;
    case 'message':
      return <MessageViewPage key={name} id={name} />;
    case 'policies':
      return name === '' ? (
        <PoliciesView key={query.toString()} query={query} />
      ) : (
        <PolicyPage key={name} domain={name} />
      );
    case 'overrides':
      return <OverridesView />;
    case 'check':
      return name === '' ? <ChecksView /> : <CheckPage key={name} name={name} />;
    case 'retry':
      return <RetryView />;
    case 'reports':
      return name === '' ? <ReportsView /> : <ReportDayView key={name} day={name} />;
    case 'audit':
      return <AuditView key={query.toString()} query={query} />;
    case 'relay':
      return <RelayView />;
    default:
      return (
        <Heading
          title="There is nothing here"
          lead={
            <>
              Back to the <a href={to('')}>overview</a>.
            </>
          }
        />
      );
  }
}
