/**
 * Composition of the way in: the listeners in this process, or the owner's end of the link to the
 * receiving role that has them; and the certificate that they share with HTTPS. Built by relay.ts.
 */
import { type Door, intakeSocket } from './door.ts';
import { FrontDoor } from './front-door.ts';
import type { Ground } from './ground.ts';
import { openTlsMaterial, type PemPair } from './intake/tls-material.ts';
import type { Submit } from './queue/submit-port.ts';
import { RemoteDoor } from './remote-door.ts';

/** A receiving role in a process of its own. */
export interface ReceiverLink {
  /** Process id of the supervisor, which starts and ends both; 0 without one. */
  readonly supervisor: number;
  /** The start is done when the listeners are open, and fails when they cannot be opened. */
  readonly isAwaited: boolean;
  /** The receiving role may connect. */
  readonly onListening: (dataDir: string) => void;
}

export interface DoorParts {
  /** Absolute. */
  readonly dataDir: string;
  readonly submit: Submit;
  /** Leave the listeners to it. */
  readonly receiver: ReceiverLink | undefined;
  readonly certificateChanged: (pem: PemPair) => void;
  /** There is a door to close, even when the wait for its listeners fails. */
  readonly opened: (door: Door) => void;
}

/** Open it. Rejects when the listeners cannot be opened and somebody waits for them. */
export async function openDoor(ground: Ground, parts: DoorParts): Promise<Door> {
  const { dataDir, submit, receiver, certificateChanged, opened } = parts;
  const { settings, clock, signer, traces } = ground;
  const { owner, intake, relay } = ground.events;
  owner.opened(!receiver);
  const shared = { settings, submit, clock, certificateChanged };
  if (!receiver) {
    const events = { intakeEvents: intake, relayEvents: relay };
    const door = await FrontDoor.open({ ...shared, ...events, signer, traces, dataDir });
    opened(door);
    return door;
  }
  const { supervisor, isAwaited, onListening } = receiver;
  const path = intakeSocket(dataDir);
  const door = await RemoteDoor.open({ ...shared, path, supervisor, events: owner });
  opened(door);
  onListening(dataDir);
  if (isAwaited) await door.untilOpen();
  return door;
}

/** The certificate of the listeners for HTTPS, where that is on; read here while nobody has them open. */
export async function httpCertificate(
  { settings, clock }: Ground,
  door: Door,
  dataDir: string,
): Promise<PemPair | undefined> {
  if (!settings.http.tls || door.certificate) return door.certificate;
  const material = await openTlsMaterial({
    files: settings.tls,
    dataDir,
    hostname: settings.hostname,
    clock,
    changed: () => {},
    failed: () => {},
  });
  material.close();
  return material.current();
}
