/**
 * Secrets of the configuration, made unreadable: what is called a password, secret or token,
 * and passwords inside URLs. The path of a file that holds a secret is not one.
 *
 * Used for everything that leaves the program: `config show`, problems, the log.
 */
const MASK = '***';
const SECRET_KEY = /(password|passwd|secret|token)$/i;
/** The user part of a URL, up to the last `@` before the path: also in URLs that do not parse. */
const URL_USER = /^([A-Za-z][A-Za-z0-9+.-]*:\/\/)([^/?#]*)@/;

/** A URL with its password masked; other text as it is. */
export function maskUrl(text: string): string {
  return text.replace(URL_USER, (_all, scheme: string, user: string) => {
    const colon = user.indexOf(':');
    return `${scheme}${colon === -1 ? user : `${user.slice(0, colon)}:${MASK}`}@`;
  });
}

/** The value of the setting called `key` (its last part counts). */
export function maskValue(key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (value !== '' && SECRET_KEY.test(key)) return MASK;
  return maskUrl(value);
}

/** A copy of a whole tree of settings, secrets masked. */
export function maskSecrets(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((element) => maskSecrets(element, key));
  if (typeof value !== 'object' || value === null) return maskValue(key, value);
  return Object.fromEntries(
    Object.entries(value).map(([name, child]) => [name, maskSecrets(child, name)]),
  );
}
