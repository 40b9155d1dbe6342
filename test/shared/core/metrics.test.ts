import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../shared/core/metrics.ts';

function recordMetrics() {
  const lines: Record<string, unknown>[] = [];
  return { lines, metrics: createMetrics('chat', (line) => lines.push(JSON.parse(line))) };
}

const directive = (dimensions: readonly string[], ...names: readonly string[]) => ({
  Namespace: 'Lambent',
  Dimensions: [dimensions],
  Metrics: names.map((Name) => ({ Name, Unit: 'Count' })),
});

describe('the metrics of a request', () => {
  it('the metrics of a request are gathered into the fields of one log line', () => {
    const { lines, metrics } = recordMetrics();
    const request = metrics.forRequest();
    request.gather({ Tokens: [7, 'Count'] }, { Model: 'default' });
    request.gather({ Errors: [0, 'Count'], Colds: [1, 'Count'] });
    expect(request.takeGathered()).toMatchObject({
      _aws: {
        CloudWatchMetrics: [
          directive(['FunctionName', 'Model'], 'Tokens'),
          directive(['FunctionName'], 'Errors', 'Colds'),
        ],
      },
      FunctionName: 'chat',
      Model: 'default',
      Tokens: 7,
      Errors: 0,
      Colds: 1,
    });
    expect(lines).toEqual([]);
  });

  it('the metrics of a request are not mixed with those of another request', () => {
    const { metrics } = recordMetrics();
    const [first, second] = [metrics.forRequest(), metrics.forRequest()];
    first.gather({ Tokens: [1, 'Count'] });
    second.gather({ Tokens: [2, 'Count'] });
    expect([first.takeGathered(), second.takeGathered()]).toMatchObject([{ Tokens: 1 }, { Tokens: 2 }]);
    expect(first.takeGathered()).not.toHaveProperty('Tokens');
  });

  it('metrics whose name is gathered already are published at once', () => {
    const { lines, metrics } = recordMetrics();
    const request = metrics.forRequest();
    request.gather({ Tokens: [1, 'Count'] }, { Model: 'a' });
    request.gather({ Tokens: [2, 'Count'] }, { Model: 'b' });
    expect(lines).toMatchObject([{ Model: 'b', Tokens: 2 }]);
    expect(request.takeGathered()).toMatchObject({ Model: 'a', Tokens: 1 });
  });

  it('the metrics of a request are flushed on one line, or on none if nothing was gathered', () => {
    const { lines, metrics } = recordMetrics();
    const request = metrics.forRequest();
    request.flush();
    request.gather({ Tokens: [1, 'Count'] });
    request.flush();
    request.flush();
    expect(lines).toMatchObject([{ Tokens: 1 }]);
  });
});

describe('metrics of a stage', () => {
  it.each(['lambent-dev-chat', 'lambent-dev-chat-managed'])('have the stage of %s', (functionName) => {
    const lines: unknown[] = [];
    createMetrics(functionName, (line) => lines.push(JSON.parse(line))).publish({ Errors: [1, 'Count'] }, 'stage');
    expect(lines).toMatchObject([{ Stage: 'lambent-dev', Errors: 1 }]);
  });
});
