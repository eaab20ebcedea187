/** Dark or light: as the system has it, or as somebody chose here, which this browser remembers. */
import { signal } from '@preact/signals';

const CHOICES = ['system', 'light', 'dark'] as const;
type Choice = (typeof CHOICES)[number];
const KEY = 'stsrelay-theme';

export const choice = signal<Choice>(
  CHOICES.find((one) => one === localStorage.getItem(KEY)) ?? 'system',
);

/** What is in force. */
export const theme = signal<'light' | 'dark'>('light');

const dark = matchMedia('(prefers-color-scheme: dark)');

function apply(): void {
  const { value } = choice;
  if (value === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = value;
  theme.value = value === 'system' ? (dark.matches ? 'dark' : 'light') : value;
}

/** From system to light to dark. */
export function nextTheme(): void {
  const next = CHOICES[(CHOICES.indexOf(choice.value) + 1) % CHOICES.length] ?? 'system';
  choice.value = next;
  localStorage.setItem(KEY, next);
  apply();
}

dark.addEventListener('change', apply);
apply();
