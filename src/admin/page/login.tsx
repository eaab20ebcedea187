/** The login: the token once, and who it is, for the audit log. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { api, session } from './api.ts';
import { Field } from './forms.tsx';

const NAME_KEY = 'stsrelay-name';

export function Login() {
  const first = useRef<HTMLFormElement>(null);
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    document.title = 'Log in · stsrelay';
    first.current?.querySelector('input')?.focus();
  }, []);
  async function logIn(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    const name = String(given.get('name') ?? '').trim();
    setBusy(true);
    try {
      const token = String(given.get('token') ?? '').trim();
      session.value = await api.logIn(token, name);
      localStorage.setItem(NAME_KEY, name);
    } catch (failure) {
      setError((failure as Error).message);
      setBusy(false);
    }
  }
  return (
    <main class="login">
      <h1>stsrelay</h1>
      <form ref={first} onSubmit={(event) => void logIn(event)}>
        <Field
          label="Token"
          name="token"
          type="password"
          autocomplete="current-password"
          required
          hint="What is in the file that http.tokenFile names."
        />
        <Field
          label="Your name"
          name="name"
          autocomplete="username"
          maxLength={60}
          defaultValue={localStorage.getItem(NAME_KEY) ?? ''}
          hint="Stands in the audit log beside what you change."
        />
        {error === undefined ? null : (
          <p class="notice bad" role="alert">
            {error}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          {busy ? 'Logging in…' : 'Log in'}
        </button>
      </form>
    </main>
  );
}
