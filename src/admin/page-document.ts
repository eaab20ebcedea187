/**
 * The documents that are served at `/`: the one of the admin page, which its script fills, and the one that says
 * how to enable it. Pure.
 */
interface Named {
  readonly script: { readonly path: string };
  readonly style: { readonly path: string };
  readonly icon: { readonly path: string };
}

/** Why there is no page here. */
export interface ClosedReason {
  readonly reason: 'no-token' | 'no-tls' | 'not-built';
}

/** The admin page. */
export function document({ script, style, icon }: Named): string {
  return html({
    style,
    icon,
    head: `<script type="module" src="${script.path}"></script>`,
    body: '<div id="page"></div>\n<noscript><main class="closed"><h1>stsrelay</h1><p>This page needs JavaScript. What it does, the commands of <code>stsrelay</code> do as well.</p></main></noscript>',
  });
}

/** What is there instead, and what to do about it. */
export function closedDocument({ reason }: ClosedReason, files: Named | undefined): string {
  return html({
    ...(files ? { style: files.style, icon: files.icon } : {}),
    head: '',
    body: `<main class="closed">\n<h1>stsrelay</h1>\n${TEXTS[reason]}\n</main>`,
  });
}

const STEPS = `<ol>
<li><p>Make a token that only the user of the relay can read:</p>
<pre><code>umask 077
openssl rand -hex 32 &gt; /etc/stsrelay/token</code></pre></li>
<li><p>Name it in <code>stsrelay.yaml</code>:</p>
<pre><code>http: { address: 127.0.0.1, port: 9125, tokenFile: /etc/stsrelay/token }</code></pre></li>
<li><p>Restart the relay, load this page again, and log in with the token.</p></li>
</ol>`;

const MEANWHILE = `<p>Until then the page is on the control socket alone (<code>control.sock</code> below
<code>dataDir</code>), for the user of the relay and without a login. From your machine, through SSH:</p>
<pre><code>ssh -N -L 9126:/var/lib/stsrelay/control.sock relay.example.net</code></pre>
<p>then open <code>http://localhost:9126/</code>. <code>/metrics</code>, <code>/healthz</code> and
<code>/readyz</code> are here in any case.</p>`;

const TEXTS: { readonly [K in ClosedReason['reason']]: string } = {
  'no-token': `<p class="lead">The admin page is not enabled here: no <code>http.tokenFile</code> is set.</p>
${STEPS}
${MEANWHILE}`,
  'no-tls': `<p class="lead">The admin page is not enabled here: off loopback it is served over TLS alone, so that
nobody on the way reads the token.</p>
<p>Set <code>http.tls: true</code> (it uses the certificate of the listeners), or a loopback
<code>http.address</code>; and a token:</p>
${STEPS}
${MEANWHILE}`,
  'not-built': `<p class="lead">The admin page was not built: run <code>make build</code>, then restart the relay.</p>
<p>The API and the commands of <code>stsrelay</code> work without it.</p>`,
};

function html(parts: {
  readonly style?: { readonly path: string };
  readonly icon?: { readonly path: string };
  readonly head: string;
  readonly body: string;
}): string {
  const { style, icon, head, body } = parts;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>stsrelay</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
${icon ? `<link rel="icon" href="${icon.path}" type="image/svg+xml">` : ''}
${style ? `<link rel="stylesheet" href="${style.path}">` : ''}
${head}
</head>
<body>
${body}
</body>
</html>
`;
}
