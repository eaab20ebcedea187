/**
 * The Debian package and the unit, for real: built, installed on a machine with a booted systemd (an overlay of this one),
 * started in its sandbox, reloaded, broken, mended, removed and purged.
 */
import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type BootedMachine, bootMachine, whyNoMachine } from '../support/booted-machine.ts';
import { rsaPair } from '../support/dkim-keys.ts';
import { buildDebian, compileTo, debianMissing, run } from '../support/packages.ts';
import { redisMissing } from '../support/redis.ts';
import { tempDir } from '../support/temp-dir.ts';

const built = tempDir('deb-');
after(() => built.remove());

describe('the Debian package', { skip: debianMissing }, () => {
  let deb: string;
  before(() => {
    compileTo(built.file('dist'));
    deb = buildDebian(built.path, built.file('dist'));
  });

  test('holds what is needed to run, and nothing else', () => {
    const { stdout } = run('dpkg-deb', ['--contents', deb]);
    const paths = stdout.split('\n').map((line) => line.split(/\s+/)[5]?.slice(1) ?? '');
    for (const path of [
      '/etc/stsrelay/stsrelay.yaml',
      '/usr/bin/stsrelay',
      '/usr/lib/stsrelay/bin/node',
      '/usr/lib/stsrelay/dist/main.js',
      '/usr/lib/stsrelay/node_modules/bullmq/package.json',
      '/usr/lib/systemd/system/stsrelay.service',
      '/usr/lib/sysusers.d/stsrelay.conf',
      '/usr/lib/tmpfiles.d/stsrelay.conf',
      '/usr/share/doc/stsrelay/copyright',
      '/usr/share/doc/stsrelay/going-live.md',
      '/usr/share/doc/stsrelay/sbom.cdx.json',
      '/usr/share/man/man8/stsrelay.8.gz',
      '/usr/share/stsrelay/dashboards/mail-flow.json',
      '/usr/share/stsrelay/prometheus/stsrelay.rules.yml',
    ]) {
      assert.ok(paths.includes(path), path);
    }
    const strangers =
      /\.map$|\.d\.[cm]?ts$|node_modules\/(@[^/]+\/)?[^/]+\/tests?\/|node_modules\/(typescript|@biomejs|echarts|node)\//;
    assert.deepEqual(
      paths.filter((path) => strangers.test(path)),
      [],
    );
    // Root owns it all; nothing is open to be written by others, or setuid.
    const odd = stdout
      .split('\n')
      .filter((line) => line && !/^[-dlh]rw[x-]r-[x-][r-]-[x-] root\/root/.test(line));
    assert.deepEqual(
      odd.filter((line) => !line.startsWith('l')),
      [],
    );
  });

  test('says what it is', () => {
    const { stdout } = run('dpkg-deb', ['--field', deb]);
    const version = JSON.parse(run('cat', ['package.json']).stdout).version;
    assert.match(stdout, new RegExp(`^Version: ${version}$`, 'm'));
    assert.match(stdout, /^Installed-Size: \d{5,6}$/m);
    assert.equal(
      run('dpkg-deb', ['--info', deb, 'conffiles']).stdout,
      '/etc/stsrelay/stsrelay.yaml\n',
    );
    // Scripts that do not parse would leave a machine half installed.
    for (const script of ['config', 'postinst', 'prerm', 'postrm']) {
      const { code, stderr } = run('sh', ['-n', `deploy/debian/${script}`]);
      assert.equal(code, 0, stderr);
    }
  });

  describe('on a machine', { skip: redisMissing || whyNoMachine() }, () => {
    let machine: BootedMachine;
    before(async () => {
      machine = await bootMachine();
      copyFileSync(deb, `${machine.shared}/stsrelay.deb`);
    });
    after(() => machine?.[Symbol.asyncDispose]());

    /** Its output; it must succeed. */
    async function succeeds(script: string): Promise<string> {
      const { code, output } = await machine.run(script);
      if (code !== 0) {
        const journal = await machine.run('journalctl -u stsrelay -o cat | tail -30');
        assert.fail(`${script}\nended with ${code}\n${output}\n${journal.output}`);
      }
      return output.trim();
    }
    // A machine that is thrown away need not sync every file.
    const DPKG = 'dpkg --force-unsafe-io';
    const INSTALL = `${DPKG} --install /run/from-outside/stsrelay.deb`;
    // With what the package brought: the machine may have nothing else.
    const node = (script: string) => `/usr/lib/stsrelay/bin/node -e "${script}"`;
    const submit = (from: string) =>
      node(`
        const { createTransport } = require('/usr/lib/stsrelay/node_modules/nodemailer');
        const tls = { rejectUnauthorized: false };
        const auth = { user: 'app1', pass: 'a-long-password' };
        const relay = createTransport({ host: '127.0.0.1', port: 25, requireTLS: true, tls, auth });
        relay.sendMail({ from: '${from}', to: 'somebody@example.org', text: 'hello' });`);
    const ask = (path: string, token = '') =>
      node(`
        const headers = '${token}' && { authorization: 'Bearer ${token}' };
        fetch('http://127.0.0.1:9125${path}', { headers: headers || {} })
          .then(async (answer) => console.log(answer.status, await answer.text()));`);

    test('is installed, and its relay runs and takes mail', async () => {
      await succeeds(INSTALL);
      assert.equal(
        await succeeds('systemctl is-enabled stsrelay; systemctl is-active stsrelay'),
        'enabled\nactive',
      );
      assert.match(await succeeds('stsrelay status'), /listeners +127\.0\.0\.1:2525/);
      assert.equal(await succeeds('stat -c "%a %U %G" /var/lib/stsrelay'), '700 stsrelay stsrelay');
      assert.equal(await succeeds(ask('/healthz')), '200 {"status":"ok"}');
    });

    test('serves a port of root, with secrets that root alone can read, as nobody else', async () => {
      writeFileSync(`${machine.shared}/s1.pem`, rsaPair(2048).keyPem);
      await succeeds(`
        echo 0123456789abcdef0123 > /etc/stsrelay/credentials/api-token
        cp /run/from-outside/s1.pem /etc/stsrelay/credentials/example.net.s1.pem
        chmod 600 /etc/stsrelay/credentials/*
        sed -i -e 's/^listeners:/&\\n  - { address: "::", port: 25, tls: starttls, auth: required }/' \\
          -e 's/^postmaster:.*/postmaster: ops@example.net/' /etc/stsrelay/stsrelay.yaml
        cat >> /etc/stsrelay/stsrelay.yaml <<'END'
dkim:
  - { domain: example.net, selector: s1, keyFile: /run/credentials/stsrelay.service/secret_example.net.s1.pem }
http: { tokenFile: /run/credentials/stsrelay.service/secret_api-token }
END
        printf a-long-password | stsrelay user add app1 --sender '*@example.net' --password-stdin
        systemctl restart stsrelay`);
      const warnings = await succeeds('stsrelay config check');
      assert.ok(!warnings.includes('credentials'), warnings);
      assert.match(await succeeds(ask('/api/v1/status', '0123456789abcdef0123')), /^200 /);
      await succeeds(submit('a@example.net'));
      const { output } = await machine.run(submit('a@elsewhere.example'));
      assert.match(output, /553/);
      const facts = await succeeds(
        'cat /proc/$(systemctl show -p MainPID --value stsrelay)/status',
      );
      assert.match(facts, /^NoNewPrivs:\t1$/m);
      assert.match(facts, /^Seccomp:\t2$/m);
      assert.match(facts, /^CapEff:\t0000000000000400$/m, 'CAP_NET_BIND_SERVICE alone');
    });

    test('can write to its own directories alone, and run nothing there', async () => {
      // As root in its mounts: what the relay may not do there, nobody may.
      const inside = 'nsenter -m -t $(systemctl show -p MainPID --value stsrelay) -- bash -c';
      const places = '/ /etc /etc/stsrelay /usr /var /var/lib /var/log /home /root /srv /opt';
      const tried = `for d in ${places}; do touch $d/x 2>/dev/null && echo $d; done; true`;
      assert.equal(await succeeds(`${inside} '${tried}'`), '');
      const ran =
        'for d in /var/lib/stsrelay /tmp; do cp /bin/true $d/t; $d/t && echo $d; rm $d/t; done; true';
      const said = await succeeds(`${inside} '${ran}'`);
      assert.equal(said.match(/Permission denied/g)?.length, 2, said);
    });

    test('refuses what does not hold, without an end', async () => {
      await succeeds('systemctl reload stsrelay');
      await succeeds(
        'cp -a /etc/stsrelay/stsrelay.yaml /root/good; echo nonsense: 1 >> /etc/stsrelay/stsrelay.yaml',
      );
      assert.notEqual((await machine.run('systemctl reload stsrelay')).code, 0);
      assert.equal(await succeeds('systemctl is-active stsrelay'), 'active');
      assert.notEqual((await machine.run('systemctl restart stsrelay')).code, 0);
      const state = await succeeds('systemctl show -p SubState,ExecMainStatus,NRestarts stsrelay');
      assert.deepEqual(state.split('\n').sort(), [
        'ExecMainStatus=2',
        'NRestarts=0',
        'SubState=failed',
      ]);
      await succeeds('cp -a /root/good /etc/stsrelay/stsrelay.yaml; systemctl start stsrelay');
    });

    test('starts again what was killed, and ends in order', async () => {
      await succeeds(`kill -KILL $(systemctl show -p MainPID --value stsrelay)
        for i in $(seq 300); do [ "$(systemctl show -p NRestarts,SubState --value stsrelay | sort | tr '\\n' ' ')" = "1 running " ] && exit; sleep 0.2; done; exit 1`);
      assert.match(await succeeds('stsrelay queue list'), /a@example\.net\tsomebody@example\.org/);
      await succeeds('systemctl stop stsrelay');
      const state = await succeeds('systemctl show -p ActiveState,Result stsrelay');
      assert.deepEqual(state.split('\n').sort(), ['ActiveState=inactive', 'Result=success']);
      assert.equal((await machine.run('pgrep -u stsrelay')).output, '');
    });

    test('keeps mail when it is removed, and when it is purged without an answer', async () => {
      await succeeds(`${DPKG} --remove stsrelay; test -e /etc/stsrelay/users.yaml`);
      await succeeds(
        `${DPKG} --purge stsrelay; test ! -e /etc/stsrelay; test -d /var/lib/stsrelay/spool`,
      );
      await succeeds(INSTALL);
      assert.match(await succeeds('stsrelay queue list'), /a@example\.net\tsomebody@example\.org/);
    });

    test('removes mail when it is purged by somebody who says so', async () => {
      await succeeds(`echo 'stsrelay stsrelay/remove-data boolean true' | debconf-set-selections
        ${DPKG} --purge stsrelay
        for d in /var/lib /etc /usr/lib; do test ! -e $d/stsrelay || exit 1; done`);
    });
  });
});
