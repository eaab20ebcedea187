/**
 * A-labels as people read them (RFC 3492, RFC 5890 §2.3.2.1). Browsers bring the way to A-labels alone. Nothing is
 * shown that the browser would not write back as the same A-labels, and nothing unseen: beside the
 * A-labels, never instead of them, since two names may look alike.
 */
const [BASE, T_MIN, T_MAX, SKEW, DAMP, FIRST_BIAS, FIRST_N] = [36, 1, 26, 38, 700, 72, 128];
const PREFIX = 'xn--';
/** Marks, controls, and what turns the direction: drawn over the text, or not at all. */
const UNSEEN = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;

/** `bücher.example` of `xn--bcher-kva.example`; undefined: there is none to show. */
export function unicodeOf(domain: string): string | undefined {
  if (!domain.includes(PREFIX)) return undefined;
  const labels = domain.split('.').map((label) => {
    return label.startsWith(PREFIX) ? decode(label.slice(PREFIX.length)) : label;
  });
  if (labels.includes(undefined)) return undefined;
  const text = labels.join('.');
  return UNSEEN.test(text) || asciiOf(text) !== domain ? undefined : text;
}

/** `xn--bcher-kva.example` of `Bücher.example`, as the browser writes it; undefined: it is no name of a host. */
export function asciiOf(text: string): string | undefined {
  return URL.canParse(`http://${text}`) ? new URL(`http://${text}`).hostname : undefined;
}

/** What somebody typed for a domain as the API has it: in A-labels, where it can be. */
export function domainOf(text: string): string {
  return (/^[\u0020-\u007e]*$/.test(text) ? undefined : asciiOf(text)) ?? text.toLowerCase();
}

/** RFC 3492 §6.2. */
function decode(text: string): string | undefined {
  const at = text.lastIndexOf('-');
  const points = [...text.slice(0, Math.max(at, 0))].map((one) => one.codePointAt(0) ?? 0);
  let [n, i, bias] = [FIRST_N, 0, FIRST_BIAS];
  for (let next = at + 1; next < text.length; ) {
    const before = i;
    for (let [weight, k] = [1, BASE]; ; k += BASE) {
      const digit = digitOf(text[next++]);
      if (digit === undefined) return undefined;
      i += digit * weight;
      const t = Math.min(T_MAX, Math.max(T_MIN, k - bias));
      if (digit < t) break;
      weight *= BASE - t;
      if (weight > 0x7fffffff) return undefined;
    }
    const count = points.length + 1;
    bias = adapted(i - before, count, before === 0);
    n += Math.floor(i / count);
    if (n > 0x10ffff) return undefined;
    i %= count;
    points.splice(i++, 0, n);
  }
  return String.fromCodePoint(...points);
}

function digitOf(letter = ''): number | undefined {
  if (/^[a-z]$/.test(letter)) return letter.charCodeAt(0) - 97;
  return /^[0-9]$/.test(letter) ? Number(letter) + 26 : undefined;
}

/** RFC 3492 §6.1. */
function adapted(delta: number, count: number, isFirst: boolean): number {
  let left = Math.floor(delta / (isFirst ? DAMP : 2));
  left += Math.floor(left / count);
  let k = 0;
  for (; left > ((BASE - T_MIN) * T_MAX) / 2; k += BASE) left = Math.floor(left / (BASE - T_MIN));
  return k + Math.floor(((BASE - T_MIN + 1) * left) / (left + SKEW));
}
