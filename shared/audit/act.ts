import type { LogFields } from '../core/logger.ts';
import { recordedAs } from '../core/recorded-line.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { limitDetails } from './act-details.ts';

/** A change that an administrator made, or the service itself. */
export interface Act {
  /** The type of the event as the administration API names it: `project.created`. */
  readonly type: string;
  /** Id of the object that was changed. */
  readonly objectId: string;
  /** Id of the project that the object belongs to, or that it is. Absent for the organization's own objects. */
  readonly project?: string;
  /** What the administration API shows under the event's type, besides the id. Never secrets. At most 32 KB are logged. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * Logs an administrative act, from where it reaches the audit log. The line carries the request's own annotations: its id, and
 * the key of the administrator if there is one. Called after the act, once.
 */
export function logAct({ logger }: Pick<Telemetry, 'logger'>, act: Act): void {
  logger.summarize('administrative act', describeAct(act));
}

/** Returns the fields of an act's line. */
export function describeAct({ type, objectId, project, details }: Act): LogFields {
  return {
    ...recordedAs('act'),
    act: type,
    objectId,
    project,
    // One field of text, because fields of a log line are scalars.
    details: details && limitDetails(JSON.stringify(details)),
  };
}
