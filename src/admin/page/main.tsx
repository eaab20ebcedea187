/**
 * The admin page: what the commands do, for people who prefer to look. It asks the public API alone, with the
 * cookie of its login, and keeps nothing but the choice of colours and a name.
 */
import 'uplot/dist/uPlot.min.css';
import './page.css';
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { api, session } from './api.ts';
import { Login } from './login.tsx';
import { Shell } from './shell.tsx';

function Page() {
  useEffect(() => {
    void (async () => {
      session.value = await api.session().catch(() => ({ signedIn: false, by: 'login' }) as const);
    })();
  }, []);
  if (session.value === undefined) return null;
  return session.value.signedIn ? <Shell /> : <Login />;
}

const place = document.getElementById('page');
if (place) render(<Page />, place);
