import { ReceiveMessageCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { expect, it } from 'vitest';
import type { FunctionDefinition } from '../../../local/lambda/function.ts';
import { defineFunction, MANAGED_INSTANCES, until, useCleanup } from '../runners.ts';
import { startMappedQueue } from './queues.ts';

useCleanup();

/** Starts a queue whose function sends each message back to it, and sends it a first one. */
async function startLoop(changes: Partial<FunctionDefinition> = {}) {
  const queue = await startMappedQueue({
    function: 'loop',
    // Longer than an invocation takes on a busy machine, because a message that is delivered again begins a second chain.
    visibilitySeconds: 8,
    maxReceives: 1,
    runner: { functions: [defineFunction('loop', changes)] },
  });
  const { queueUrl, runner, client } = queue;
  await client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: queueUrl }));
  return {
    countInvocations: () => runner.logs.filter(({ text }) => text.includes('sends back')).length,
    hasStopped: () => runner.logs.some(({ text }) => text.startsWith('Lambda stopped a recursive loop')),
    async receiveDeadLetters() {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({ QueueUrl: queueUrl.replace(/work$/, 'dead') }),
      );
      return Messages.map(({ Body }) => Body);
    },
    queueUrl,
  };
}

it.each([
  ['in processes of their own', {}],
  ['together in a process', { managedInstances: MANAGED_INSTANCES }],
])('a chain of invocations %s is stopped after 16, and its message goes to the dead-letter queue', async (_, mode) => {
  const loop = await startLoop(mode);
  await until(() => loop.hasStopped());
  let dead: (string | undefined)[] = [];
  await until(async () => {
    dead = await loop.receiveDeadLetters();
    return dead.length > 0;
  });
  expect(dead).toEqual([loop.queueUrl]);
  expect(loop.countInvocations()).toBe(16);
});

it('a chain of invocations of a function that allows recursive loops goes on', async () => {
  const loop = await startLoop({ allowsRecursion: true });
  await until(() => loop.countInvocations() > 20);
  expect(loop.hasStopped()).toBe(false);
});
