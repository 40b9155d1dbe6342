import { describeError } from '../../core/logger.ts';
import type { Telemetry } from '../../core/telemetry.ts';

/** Logs and counts a check that a guardrail has failed. */
export function reportFailure(telemetry: Telemetry | undefined, guardrail: string, thrown: unknown): void {
  telemetry?.logger.error('guardrail failed', { guardrail, ...describeError(thrown) });
  telemetry?.metrics.publish({ GuardrailFailures: [1, 'Count'] }, 'stage');
}
