/**
 * The members of nodemailer's SMTPConnection that its type declarations leave out and that
 * wire.ts overrides or reads. Checked against the pinned version; to be read anew at an upgrade.
 */
import type { Readable } from 'node:stream';
import SMTPConnection from 'nodemailer/lib/smtp-connection';

interface Internals {
  _responseActions: unknown[];
  _responseQueue: string[];
  _remainder: string;
  _supportedExtensions: string[];
  _maxAllowedSize: number;
  _ehloLines?: string[];
  _sendCommand(command: string, logged?: string): void;
  _onError(error: Error, type: string, data: unknown, command: string): void;
  _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void;
  _actionGreeting(reply: string): void;
  _actionEHLO(reply: string): void;
  _actionMAIL(reply: string, callback: unknown): void;
  _actionRCPT(reply: string, callback: unknown): void;
  _actionDATA(reply: string, callback: unknown): void;
  _actionSMTPStream(reply: string, callback: unknown): void;
  _createSendStream(callback: unknown): Readable;
  _processResponse(): unknown;
  _startPhase(timeoutMs: number, error: Error): void;
  _clearPhase(): void;
  _getDsnRcptToArgs(): string;
}

/** SMTPConnection with those members, to be extended. */
export const OpenSmtpConnection = SMTPConnection as unknown as new (
  options: ConstructorParameters<typeof SMTPConnection>[0],
) => SMTPConnection & Internals;
