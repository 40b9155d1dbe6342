import { closeSync, openSync, writeSync } from 'node:fs';
import { devNull } from 'node:os';
import { createLogger } from '../shared/core/logger.ts';
import { recordedAs } from '../shared/core/recorded-line.ts';
import { computeMedian } from '../test/measure/statistics.ts';

const WARM_UP_LINES = 5_000;
const LINES = 5_000;

/** As an answered chat completion has them. */
const REQUEST = { requestId: '0b7f0c4e-4a53-4c6b-9f0e-0d7c1a6f2b11', tenant: 'acme', keyId: 'key_0123456789abcdef' };
const ANSWER = {
  ...{ model: 'default', provider: 'openai-compatible', upstreamModel: 'bench', attempts: 1, upstreamMs: 412 },
  ...{ whole: true, inputTokens: 1_204, outputTokens: 356, costUsd: '0.002984', usageModel: 'default' },
};
const CALL = { method: 'POST', path: '/v1/chat/completions', status: 200, ms: 431, network: '203.0.113.0/24' };

/** Returns the microseconds that it takes to format the log line of a call and to write it to nowhere, the median of many. */
export function measureLogLine(): number {
  const file = openSync(devNull, 'w');
  try {
    const write = (line: string) => void writeSync(file, line);
    const logger = createLogger({ level: 'info', fields: { function: 'bench-chat' }, write });
    const times: number[] = [];
    for (let lines = 0; lines < WARM_UP_LINES + LINES; lines += 1) {
      const request = logger.forRequest(REQUEST);
      const startedAt = process.hrtime.bigint();
      request.annotate(ANSWER);
      request.summarize('request', { ...recordedAs('call'), ...CALL });
      if (lines >= WARM_UP_LINES) times.push(Number(process.hrtime.bigint() - startedAt) / 1_000);
    }
    return computeMedian(times);
  } finally {
    closeSync(file);
  }
}
