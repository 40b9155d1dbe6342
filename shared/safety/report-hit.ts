import { recordedAs } from '../core/recorded-line.ts';
import type { Telemetry } from '../core/telemetry.ts';

/** A content rule that matched, a guardrail that intervened, or a moderation model that flagged what was to be blocked. */
export interface Hit {
  /** The rule's id, or the name of the guardrail or moderation model. */
  readonly rule: string;
  readonly kind: 'rule' | 'guardrail' | 'moderation';
  /** What was checked: the request or the answer. */
  readonly side: 'input' | 'output';
  /** `refuse` if the request was refused or the answer ended, `flag` if it was only noted. */
  readonly action: 'refuse' | 'flag';
}

const METRICS = { refuse: 'ContentRefused', flag: 'ContentFlagged' } as const;

/** Logs a hit as a line that is recorded, and counts it: names, never content. */
export function reportHit(telemetry: Telemetry | undefined, { rule, kind, side, action }: Hit): void {
  telemetry?.logger.summarize('guardrail', { ...recordedAs('guardrail'), kind, rule, side, action });
  telemetry?.metrics.publish({ [METRICS[action]]: [1, 'Count'] }, 'stage');
}
