import { getPrincipalKind } from '../access/principal-kind.ts';
import { logAct } from '../audit/act.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { PassedAlert } from './alerts.ts';
import type { Holder } from './pools.ts';

/** Logs alerts that calls have passed, as acts, and counts them in the metric of the alarm. */
export function logAlerts(telemetry: Telemetry, { tenant, keyId }: Holder, passed: readonly PassedAlert[]): void {
  for (const { alert, level, window } of passed) {
    const { name, per, dollars } = alert;
    const owner = level === 'account' ? {} : { project: tenant };
    const details = {
      level,
      per,
      dollars,
      window: window.slice(1),
      ...(level === 'key' && { [getPrincipalKind(keyId)]: keyId }),
    };
    logAct(telemetry, { type: 'spend_alert.triggered', objectId: name, ...owner, details });
    telemetry.metrics.publish({ SpendAlerts: [1, 'Count'] }, 'stage');
  }
}
