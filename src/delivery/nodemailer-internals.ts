/**
 * The members of nodemailer's SMTPConnection that its type declarations leave out and that
 * wire.ts overrides or reads. Checked against the pinned version; to be read anew at an upgrade.
 */
import type { Readable } from 'node:stream';
import SMTPConnection from 'nodemailer/lib/smtp-connection';

/** What `send` writes the content to. */
export interface SendStream {
  readonly outByteCount: number;
  write(chunk: Buffer): unknown;
  end(): unknown;
}

interface Internals {
  _responseActions: unknown[];
  _responseQueue: string[];
  _responsePartial: boolean;
  _remainder: string;
  _supportedExtensions: string[];
  /** AUTH mechanisms of the last EHLO reply that it knows, the one it takes first. */
  _supportedAuth: string[];
  _maxAllowedSize: number;
  _ehloLines?: string[];
  /** What is being sent: taken from the socket when that ends. */
  _currentDataStream: Readable | false;
  /** The message under way. */
  _pendingSend: unknown;
  _onData(chunk: Buffer): void;
  _onEnd(): void;
  _destroy(): void;
  _sendCommand(command: string, logged?: string): void;
  _onError(error: Error, type: string, data: unknown, command: string): void;
  _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void;
  _actionGreeting(reply: string): void;
  _actionEHLO(reply: string): void;
  _actionMAIL(reply: string, callback: unknown): void;
  _actionRCPT(reply: string, callback: unknown): void;
  _actionDATA(reply: string, callback: unknown): void;
  _actionSMTPStream(reply: string, callback: unknown): void;
  _createSendStream(callback: unknown): SendStream;
  _processResponse(): unknown;
  _getDsnRcptToArgs(): string;
}

/** SMTPConnection with those members, to be extended. */
export const OpenSmtpConnection = SMTPConnection as unknown as new (
  options: ConstructorParameters<typeof SMTPConnection>[0],
) => SMTPConnection & Internals;
