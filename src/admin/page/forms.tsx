/** What is filled in and pressed: fields, filters above lists, buttons whose work takes a while. */
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { go, to } from './route.ts';

type FieldProps = {
  readonly label: string;
  readonly hint?: ComponentChildren;
} & JSX.IntrinsicElements['input'];

/** An input with its label, and a hint. */
export function Field({ label, hint, id = label.replace(/\W+/g, '-'), ...rest }: FieldProps) {
  return (
    <div class="field">
      <label for={id as string}>{label}</label>
      <input id={id} aria-describedby={hint ? `${String(id)}-hint` : undefined} {...rest} />
      {hint === undefined ? null : (
        <p class="hint" id={`${String(id)}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

type SelectProps = {
  readonly label: string;
  readonly name: string;
  /** Empty: none of them in particular. */
  readonly value: string | undefined;
  /** Value and what it is called. */
  readonly choices: readonly (readonly [string, string])[];
};

/** One of a few, in a filter. */
export function Select({ label, name, value = '', choices }: SelectProps) {
  return (
    <div class="field">
      <label for={name}>{label}</label>
      <select id={name} name={name}>
        {choices.map(([one, called]) => (
          <option key={one} value={one} selected={one === value}>
            {called}
          </option>
        ))}
      </select>
    </div>
  );
}

export type Values = Readonly<Record<string, string>>;

/**
 * The filter above a list: what is filled in becomes the query of the address of `view`, so that it can be
 * kept and passed on. `address` says otherwise where it wants to.
 */
export function FilterForm(props: {
  readonly view: string;
  readonly address?: (values: Values) => string | undefined;
  readonly children: ComponentChildren;
}) {
  const { view, address, children } = props;
  return (
    <form
      class="filter"
      aria-label="Filter"
      onSubmit={(event) => {
        event.preventDefault();
        const given = [...new FormData(event.currentTarget)];
        const values = Object.fromEntries(given.map(([name, text]) => [name, `${text}`.trim()]));
        go(address?.(values) ?? to(view, '', values));
      }}
    >
      {children}
    </form>
  );
}

type BusyProps = {
  readonly busy: boolean;
  /** What it says meanwhile. */
  readonly working?: ComponentChildren;
} & Omit<JSX.IntrinsicElements['button'], 'disabled'>;

/** A button that keeps the focus while its work is done, and does nothing then. */
export function BusyButton({ busy, working, children, onClick, ...rest }: BusyProps) {
  return (
    <button
      type="button"
      {...rest}
      aria-disabled={busy}
      onClick={(event) => {
        if (busy) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {busy && working !== undefined ? working : children}
    </button>
  );
}

/** Work that a button begins, once at a time. */
export function useBusy(): readonly [boolean, (work: () => Promise<unknown>) => Promise<void>] {
  const [busy, setBusy] = useState(false);
  const run = async (work: () => Promise<unknown>) => {
    setBusy(true);
    await work().finally(() => setBusy(false));
  };
  return [busy, run];
}
