import { expect, it } from 'vitest';
import { describeDestination, noteDestination } from '../../../shared/inference/destinations.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

const endpoint = (baseUrl: string) => ({ provider: 'openai-compatible', model: 'm', baseUrl });

it.each([
  [endpoint('https://api.example.com/secret-path/v1'), 'api.example.com'],
  [endpoint('http://127.0.0.1:8080/v1?key=1'), '127.0.0.1:8080'],
  [endpoint('https://user:password@api.example.com:443/v1'), 'api.example.com'],
  [{ provider: 'bedrock', model: 'm', region: 'eu-central-1' }, 'eu-central-1'],
  [{ provider: 'bedrock', model: 'm' }, undefined],
  [{ provider: 'gpu', model: 'm', fleet: 'cellar' }, 'cellar'],
])('the log names the host, region or fleet of a destination, and nothing else of it: %j', (destination, location) => {
  expect(describeDestination(destination)).toEqual({ provider: destination.provider, upstreamModel: 'm', location });
});

it('a request is annotated with each place that it was sent to, once', () => {
  const { lines, ...telemetry } = recordTelemetry();
  const other = recordTelemetry();
  for (const host of ['a', 'b', 'a']) noteDestination(telemetry, endpoint(`https://${host}.example.com/v1`));
  noteDestination(telemetry, { provider: 'bedrock', model: 'm' });
  noteDestination(other, endpoint('https://c.example.com/v1'));
  noteDestination(undefined, endpoint('https://d.example.com/v1'));
  telemetry.logger.summarize('request', {});
  expect(lines).toMatchObject([{ sentTo: 'openai-compatible:a.example.com openai-compatible:b.example.com bedrock' }]);
});
