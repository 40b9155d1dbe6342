import { expect, it } from 'vitest';
import { reportFound } from '../../../../shared/safety/personal/report.ts';
import { recordTelemetry } from '../../core/recorded-telemetry.ts';

it('the log line of a request counts the values of all its calls, such as that of a summary before the answer', () => {
  const [telemetry, other] = [recordTelemetry(), recordTelemetry()];
  reportFound(telemetry, new Map([['EMAIL', 2]]));
  reportFound(other, new Map([['EMAIL', 1]]));
  reportFound(
    telemetry,
    new Map([
      ['PHONE', 1],
      ['EMAIL', 1],
    ]),
  );
  reportFound(telemetry, new Map());
  for (const { logger } of [telemetry, other]) logger.summarize('request', {});
  expect(telemetry.lines.at(-1)).toMatchObject({ personalData: 'EMAIL:3 PHONE:1' });
  expect(other.lines.at(-1)).toMatchObject({ personalData: 'EMAIL:1' });
});
