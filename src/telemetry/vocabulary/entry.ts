/**
 * How a log event is declared: its level, its fields, what it means. The stages do not write to the log,
 * they call the functions of ../*-events.ts; docs/logs.md is generated from these declarations, and a
 * test compares them with what the code writes.
 */
import type { LogLevel } from '../log.ts';
import type { FieldName } from './fields.ts';

export interface EventEntry {
  /** Several: it depends, and `means` says on what. */
  readonly level: LogLevel | readonly LogLevel[];
  readonly means: string;
  /** Those it may have; what is not known is left out. */
  readonly fields: readonly FieldName[];
}

export type Vocabulary = Readonly<Record<string, EventEntry>>;
