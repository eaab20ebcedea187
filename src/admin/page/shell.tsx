/** The frame around every view: where one can go, search, who is logged in, and what the last action came to. */
import { useEffect, useState } from 'preact/hooks';
import { api, session } from './api.ts';
import { DialogPlace, NoticeLine, notice } from './dialog.tsx';
import { go, route, to } from './route.ts';
import { choice, nextTheme } from './theme.ts';
import { domainOf } from './u-label.ts';
import { viewOf } from './views.tsx';
import { ZONE } from './words.ts';

const PLACES = [
  ['', 'Overview'],
  ['destinations', 'Destinations'],
  ['queue', 'Queue'],
  ['policies', 'Policies'],
  ['overrides', 'Overrides'],
  ['check', 'Check a domain'],
  ['retry', 'Retry preview'],
  ['reports', 'TLS reports'],
  ['audit', 'Audit log'],
  ['relay', 'Relay'],
] as const;

export function Shell() {
  const { view, name } = route.value;
  const here = `${view}/${name}`;
  const place = PLACES.find(([id]) => id === view)?.[1] ?? 'Not found';
  useEffect(() => {
    document.title = `${name === '' ? place : name} · stsrelay`;
    notice.value = undefined;
    // Who does not see that the view is another one hears it.
    document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [here]);
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={skip}>
        Skip to content
      </button>
      <Top />
      <Menu view={view} />
      <main id="main" tabIndex={-1}>
        <NoticeLine />
        {viewOf(route.value)}
      </main>
      <DialogPlace />
    </div>
  );
}

function skip(): void {
  document.getElementById('main')?.focus();
}

function Top() {
  return (
    <header class="top">
      <a class="brand" href={to('')}>
        <Mark />
        stsrelay
      </a>
      <Search />
      <div class="who">
        <button
          type="button"
          class="quiet"
          onClick={nextTheme}
          title="Colours: system, light, dark"
        >
          <span class="unseen">Colours: </span>
          {{ system: 'Auto', light: 'Light', dark: 'Dark' }[choice.value]}
        </button>
        {session.value?.by === 'login' ? (
          <button
            type="button"
            class="quiet"
            title={session.value.actor}
            onClick={() => void logOut()}
          >
            Log out
          </button>
        ) : null}
      </div>
    </header>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="currentColor" />
      <path
        d="M7 11.5h13.500M7 16h9M7 20.500h13.500M20.500 11.500 25 16l-4.500 4.500"
        fill="none"
        class="mark-line"
        stroke-width="2.600"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}

async function logOut(): Promise<void> {
  session.value = await api.logOut();
}

const ID = /^[0-9A-Z]{16}$/i;

function Search() {
  function search(event: SubmitEvent): void {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const text = String(new FormData(form).get('text') ?? '').trim();
    if (text === '') return;
    searches += 1;
    if (ID.test(text)) go(to('message', text.toUpperCase()));
    else if (text.includes('@')) void findAddress(text);
    else if (text.includes('.') && !text.includes('*')) go(to('destinations', domainOf(text)));
    else go(to('destinations', '', { domain: `*${text}*` }));
    form.reset();
  }
  return (
    <search>
      <form onSubmit={search}>
        <label class="unseen" for="search">
          Find a domain, an address or a message id
        </label>
        <input
          id="search"
          name="text"
          type="search"
          autocomplete="off"
          spellcheck={false}
          placeholder="Domain, address or message id"
        />
      </form>
    </search>
  );
}

let searches = 0;

/** Its mail: what waits for it, or else what it sent. */
async function findAddress(address: string): Promise<void> {
  const from = location.hash;
  const search = searches;
  const totalOf = async (filter: object) => (await api.queue({ ...filter, limit: 1 })).total;
  const isSender = async () =>
    (await totalOf({ recipient: address })) === 0 && (await totalOf({ sender: address })) > 0;
  // Where it cannot be asked the list says why.
  const by = (await isSender().catch(() => false)) ? 'sender' : 'recipient';
  // Whoever went on meanwhile is not called back.
  if (location.hash !== from || search !== searches) return;
  go(to('queue', '', { [by]: address }));
}

function Menu({ view }: { readonly view: string }) {
  const [isOpen, setOpen] = useState(false);
  const current = view === 'message' ? 'queue' : view;
  const place = PLACES.find(([id]) => id === current)?.[1] ?? '';
  return (
    <nav aria-label="Views" class={isOpen ? 'menu open' : 'menu'}>
      <button
        type="button"
        class="menu-button"
        aria-expanded={isOpen}
        aria-controls="places"
        onClick={() => setOpen(!isOpen)}
      >
        <span>{place || 'Menu'}</span>
        <span aria-hidden="true">{isOpen ? '▴' : '▾'}</span>
      </button>
      <ul id="places">
        {PLACES.map(([id, name]) => (
          <li key={id}>
            <a
              href={to(id)}
              aria-current={id === current ? 'page' : undefined}
              onClick={() => setOpen(false)}
            >
              {name}
            </a>
          </li>
        ))}
      </ul>
      <p class="zone">Times: {ZONE}</p>
    </nav>
  );
}
