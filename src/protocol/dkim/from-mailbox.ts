/**
 * The one mailbox of a From field (RFC 5322 §3.4, §3.6.2), in UTF-8 (RFC 6532 §3.2). Pure.
 *
 * Strict, as no reader of mail is: what is no mailbox by the grammar is read in as many ways as there are
 * readers, and a signature would vouch for each. `ceo@a.test> <app1@a.test` is app1 to some, and somebody
 * else to others. Of the obsolete syntax there are dots in names (`J. R. Doe <a@b>`, RFC 5322 §4.1), which
 * nobody takes for anything else; no routes, no blanks between the parts of a local part or domain.
 *
 * Takes linear time: no expression here can match a text in two ways, and nothing is read more than
 * twice but an open comment.
 */

/** Of the value; nobody is shown a longer one whole. */
const MOST_CHARACTERS = 2048;

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is being refused
const CONTROL = /[\0-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]/;
const WSP = /[ \t]+/y;
const ATOM = /[\w!#$%&'*+\-/=?^`{|}~\u{80}-\u{10ffff}]+/uy;
const DOT_ATOM = new RegExp(`${ATOM.source}(?:\\.${ATOM.source})*`, 'uy');
const QUOTED = /"(?:[^"\\]|\\.)*"/uy;
/** What stands between the parentheses of a comment: text, or one more of them. */
const COMMENT_TEXT = /(?:[^()\\]|\\.)+/uy;

/** Nothing is seen of them, and domains are mapped without them (UTS #46), so that two addresses look alike. */
const UNSEEN = /(?![\0-\x7f])[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;
/**
 * Legal in a local part, in quotes or without, and read as another address: by readers that do not know
 * quotes, and by those that decode encoded words in addresses (which RFC 2047 §5 forbids).
 */
const MISREAD = /[@<>]|=\?/;

/**
 * The address of `value`, a From field's in one line, without the comments in it; the local part as written.
 * Undefined when the value is not exactly one mailbox with a domain.
 */
export function parseFromMailbox(value: string): string | undefined {
  if (value.length > MOST_CHARACTERS || CONTROL.test(value) || !value.isWellFormed())
    return undefined;
  return nameAddr(new Reader(value)) ?? bareAddress(new Reader(value));
}

/** `[display-name] <addr-spec>` */
function nameAddr(reader: Reader): string | undefined {
  reader.skipCfws();
  if (reader.take(ATOM) ?? reader.take(QUOTED)) {
    do reader.skipCfws();
    while (reader.take(ATOM) ?? reader.take(QUOTED) ?? reader.takeOne('.'));
  }
  if (!reader.takeOne('<')) return undefined;
  const address = addrSpec(reader);
  if (address === undefined || !reader.takeOne('>')) return undefined;
  reader.skipCfws();
  return reader.isAtEnd ? address : undefined;
}

function bareAddress(reader: Reader): string | undefined {
  const address = addrSpec(reader);
  return reader.isAtEnd ? address : undefined;
}

/** RFC 5322 §3.4.1, with the blanks and comments around each part. No domain-literal: nobody has a key for one. */
function addrSpec(reader: Reader): string | undefined {
  reader.skipCfws();
  const localPart = reader.take(DOT_ATOM) ?? reader.take(QUOTED);
  reader.skipCfws();
  if (localPart === undefined || !reader.takeOne('@')) return undefined;
  reader.skipCfws();
  const domain = reader.take(DOT_ATOM);
  reader.skipCfws();
  if (domain === undefined || MISREAD.test(localPart)) return undefined;
  const address = `${localPart}@${domain}`;
  return UNSEEN.test(address) ? undefined : address;
}

/** A text, and how far it was read. */
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#text.length;
  }

  /** What a sticky `pattern` matches here; undefined, and nothing read, where it does not. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  takeOne(character: string): string | undefined {
    if (this.#text[this.#at] !== character) return undefined;
    this.#at += 1;
    return character;
  }

  /** Blanks and comments (RFC 5322 §3.2.2). A comment that is not closed is not read. */
  skipCfws(): void {
    while (this.take(WSP) ?? this.#comment());
  }

  #comment(): string | undefined {
    const from = this.#at;
    let depth = 0;
    do {
      if (this.takeOne('(')) depth += 1;
      else if (depth > 0 && this.takeOne(')')) depth -= 1;
      else if (depth === 0 || !this.take(COMMENT_TEXT)) {
        this.#at = from;
        return undefined;
      }
    } while (depth > 0);
    return this.#text.slice(from, this.#at);
  }
}
