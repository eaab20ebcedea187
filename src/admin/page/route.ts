/**
 * Where one is in the page: the part behind `#` of its address, `#/queue?state=held`. Back, forward, bookmarks and
 * links in new tabs work, and the server has nothing to do with it.
 */
import { signal } from '@preact/signals';

export interface Route {
  /** `queue` of `#/queue/ID?state=held`; empty: the overview. */
  readonly view: string;
  /** `ID`. */
  readonly name: string;
  readonly query: URLSearchParams;
}

export const route = signal<Route>(read());

addEventListener('hashchange', () => {
  route.value = read();
});

function read(): Route {
  const [path = '', asked = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
  const [view = '', name = ''] = path.split('/');
  return { view, name: decoded(name), query: new URLSearchParams(asked) };
}

/** What somebody typed into the address bar may be anything. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a place in the page, for `href`. */
export function to(
  view: string,
  name = '',
  values: Readonly<Record<string, string | undefined>> = {},
): string {
  const given = Object.entries(values).filter((pair): pair is [string, string] => !!pair[1]);
  const asked = given.length > 0 ? `?${new URLSearchParams(given)}` : '';
  return `#/${view}${name === '' ? '' : `/${encodeURIComponent(name)}`}${asked}`;
}

export function go(address: string): void {
  location.hash = address;
}
