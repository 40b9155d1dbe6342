import { expect, it } from 'vitest';
import { statusText } from '../../local/status-line.ts';

it('says how deep each queue is, how much is being worked on, and how many processes of each function are busy', () => {
  const depths = [['GENERATION_QUEUE_URL', 3] as const, ['GENERATION_DLQ_URL', 0] as const];
  const processes = [
    { function: 'chat', busy: true },
    { function: 'chat', busy: false },
    { function: 'generate', busy: true },
  ];
  expect(statusText({ depths, running: 2, processes })).toBe(
    'generation 3 waiting · 2 running · chat 1/2 generate 1/1',
  );
});

it('names a dead-letter queue once there is something in it', () => {
  const depths = [['GENERATION_QUEUE_URL', 0] as const, ['GENERATION_DLQ_URL', 1] as const];
  expect(statusText({ depths, running: 0, processes: [] })).toBe(
    'generation 0 waiting · generation dlq 1 waiting · 0 running · no processes',
  );
});
