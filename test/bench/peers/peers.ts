/** The relays that are compared, by name. */
import type { BenchSettings, PeerName } from '../settings.ts';
import { haraka } from './haraka.ts';
import type { Peer } from './peer.ts';
import { postfix } from './postfix.ts';
import { stsrelay } from './stsrelay.ts';

/** Those the settings name, in the order of the table. */
export function choosePeers(settings: BenchSettings): readonly Peer[] {
  const makers: Readonly<Record<PeerName, () => Peer>> = {
    stsrelay: () => stsrelay(settings),
    'postfix-reuse': () => postfix('reuse'),
    postfix: () => postfix('session cache'),
    haraka,
  };
  return settings.peers.map((name) => makers[name]());
}
