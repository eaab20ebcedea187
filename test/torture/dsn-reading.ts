/**
 * Reads what a DSN says about each recipient (RFC 3464 §2.1, §2.3): the machine part, nothing
 * else. Knows nothing of the relay's own way to write one.
 */

export interface RecipientReport {
  /** In lower case, without the address type. */
  readonly recipient: string;
  readonly action: 'failed' | 'delayed' | 'delivered' | 'relayed' | 'expanded';
}

/** What a message reports; empty when it is no DSN. */
export function readDsn(content: Buffer): readonly RecipientReport[] {
  const text = content.toString('latin1');
  const start = /^content-type: *message\/(?:global-)?delivery-status[\s\S]*?\r\n\r\n/im.exec(text);
  if (start === null) return [];
  const rest = text.slice(start.index + start[0].length);
  const part = rest.slice(0, rest.search(/^--/m) >>> 0).replace(/\r\n[ \t]+/g, ' ');
  return part.split('\r\n\r\n').flatMap((group) => {
    const recipient = /^final-recipient: *[a-z0-9-]+; *(\S+)/im.exec(group)?.[1];
    const action = /^action: *(failed|delayed|delivered|relayed|expanded)/im.exec(group)?.[1];
    if (recipient === undefined || action === undefined) return [];
    return [
      {
        recipient: recipient.toLowerCase(),
        action: action.toLowerCase() as RecipientReport['action'],
      },
    ];
  });
}
