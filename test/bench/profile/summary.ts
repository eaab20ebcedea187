/**
 * Reads CPU profiles as the V8 inspector writes them: how long each function ran itself, and
 * whose doing the time was: that of Node's own code and of native code is charged to the nearest
 * caller outside of Node, a package or one of our files. Pure.
 */

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Ids of nodes, one a sample. */
  readonly samples: readonly number[];
  /** Microseconds since the sample before, one a sample. */
  readonly timeDeltas: readonly number[];
}

export interface ProfileNode {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly url: string;
    readonly lineNumber: number;
  };
  readonly children?: readonly number[];
}

export interface Share {
  readonly name: string;
  readonly us: number;
}

export interface ProfileSummary {
  /** All but idle. */
  readonly busyUs: number;
  readonly idleUs: number;
  /** Self time by function, a native one with the JavaScript that called it; longest first. */
  readonly functions: readonly Share[];
  /** Self time by package, source folder, part of Node, native code; longest first. */
  readonly groups: readonly Share[];
  /** By the package or source file whose doing it was; longest first. */
  readonly charged: readonly Share[];
}

const NOT_BUSY = new Set(['(idle)', '(root)']);

export function summarise(profile: CpuProfile): ProfileSummary {
  const parents = parentsOf(profile.nodes);
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const [functions, groups, charged] = [new Sums(), new Sums(), new Sums()];
  let [busyUs, idleUs] = [0, 0];
  for (const [id, us] of selfTimes(profile)) {
    const node = byId.get(id);
    if (node === undefined) continue;
    if (NOT_BUSY.has(node.callFrame.functionName)) {
      idleUs += us;
      continue;
    }
    busyUs += us;
    functions.add(describe(node, parents), us);
    groups.add(groupOf(node), us);
    charged.add(chargedTo(node, parents), us);
  }
  const sums = { functions: functions.sorted, groups: groups.sorted, charged: charged.sorted };
  return { busyUs, idleUs, ...sums };
}

class Sums {
  readonly #sums = new Map<string, number>();
  add(name: string, us: number): void {
    this.#sums.set(name, (this.#sums.get(name) ?? 0) + us);
  }
  get sorted(): readonly Share[] {
    return [...this.#sums].map(([name, us]) => ({ name, us })).sort((a, b) => b.us - a.us);
  }
}

function selfTimes({ samples, timeDeltas }: CpuProfile): ReadonlyMap<number, number> {
  const self = new Map<number, number>();
  samples.forEach((id, i) => {
    // The time until the next sample was spent where this one was taken.
    const us = timeDeltas[i + 1] ?? 0;
    self.set(id, (self.get(id) ?? 0) + Math.max(0, us));
  });
  return self;
}

type Parents = ReadonlyMap<number, ProfileNode>;

function parentsOf(nodes: readonly ProfileNode[]): Parents {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map<number, ProfileNode>();
  for (const node of nodes) {
    for (const child of node.children ?? []) if (byId.has(child)) parents.set(child, node);
  }
  return parents;
}

/** The node itself or its nearest caller of which `wanted` is true. */
function nearest(
  node: ProfileNode,
  parents: Parents,
  wanted: (url: string) => boolean,
): ProfileNode | undefined {
  let at: ProfileNode | undefined = node;
  while (at !== undefined && !wanted(at.callFrame.url)) at = parents.get(at.id);
  return at;
}

function describe(node: ProfileNode, parents: Parents): string {
  const { functionName, url, lineNumber } = node.callFrame;
  const name = functionName || '(anonymous)';
  if (url !== '') return `${name} ${shortPath(url)}:${lineNumber + 1}`;
  const caller = nearest(node, parents, (place) => place !== '')?.callFrame;
  if (caller === undefined) return name;
  return `${name} < ${caller.functionName || '(anonymous)'} ${shortPath(caller.url)}`;
}

/** Below node_modules, src or dist; Node's own as it is. */
export function shortPath(url: string): string {
  const inPackage = /.*\/node_modules\/(.+)$/.exec(url);
  if (inPackage !== null) return inPackage[1] ?? url;
  return /\/((?:src|dist)\/.+)$/.exec(url)?.[1] ?? url;
}

function groupOf({ callFrame: { functionName, url } }: ProfileNode): string {
  if (url === '') return functionName.startsWith('(') ? functionName : 'native code';
  if (url.startsWith('node:')) return url.split('/').slice(0, 2).join('/');
  const path = shortPath(url);
  const isOurs = /^(?:src|dist)\//.test(path);
  return isOurs ? path.split('/').slice(0, -1).join('/') : packageOf(path);
}

function packageOf(path: string): string {
  return path
    .split('/')
    .slice(0, path.startsWith('@') ? 2 : 1)
    .join('/');
}

function chargedTo(node: ProfileNode, parents: Parents): string {
  const outside = (url: string) => url !== '' && !url.startsWith('node:');
  const owner = nearest(node, parents, outside);
  if (owner !== undefined) {
    const path = shortPath(owner.callFrame.url);
    return /^(?:src|dist)\//.test(path) ? path : packageOf(path);
  }
  const { functionName, url } = node.callFrame;
  return url === '' && functionName.startsWith('(') ? functionName : 'Node alone';
}
