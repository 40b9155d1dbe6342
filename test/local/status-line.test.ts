import { expect, it } from 'vitest';
import { formatStatus } from '../../local/status-line.ts';

it('the status line shows the depth of each queue, the running messages and the busy processes', () => {
  const depths = [['GENERATION_QUEUE_URL', 3] as const, ['GENERATION_DLQ_URL', 0] as const];
  const processes = [
    { function: 'chat', busy: true },
    { function: 'chat', busy: false },
    { function: 'generate', busy: true },
  ];
  expect(formatStatus({ depths, running: 2, processes })).toBe(
    'generation 3 waiting · 2 running · chat 1/2 generate 1/1',
  );
});

it('the status line shows a dead-letter queue only if it holds messages', () => {
  const depths = [['GENERATION_QUEUE_URL', 0] as const, ['GENERATION_DLQ_URL', 1] as const];
  expect(formatStatus({ depths, running: 0, processes: [] })).toBe(
    'generation 0 waiting · generation dlq 1 waiting · 0 running · no processes',
  );
});
