import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { createReferences } from '../../../local/service/references.ts';
import { addReplyQueues } from '../../../local/service/reply-queues.ts';
import { loadService, type Service } from '../../../local/service/service.ts';
import { BUNDLES } from '../runners.ts';

const SQS = 'http://127.0.0.1:9324';
const ROOT = resolve(import.meta.dirname, '../fixtures/service');

/** Loads the fixture's service, and sets its functions' `REPLY_QUEUES` unless the value is undefined. */
async function loadWithReplyQueues(replyQueues: string | undefined): Promise<Service> {
  const service = await loadService({ root: ROOT, stage: 'local', bundlesDir: BUNDLES });
  if (replyQueues === undefined) return service;
  const [first, ...others] = service.functions;
  if (first === undefined) throw new Error('The fixture has no functions');
  const environment = { ...first.environment, REPLY_QUEUES: replyQueues };
  return { ...service, functions: [{ ...first, environment }, ...others] };
}

/** Returns the functions' resolved setting, and the logical ids and names of the queues. */
function resolveQueues(service: Service) {
  const references = createReferences(service, SQS);
  const setting = references.resolve(service.functions[0]?.environment['REPLY_QUEUES'], 'REPLY_QUEUES');
  const ids = Object.keys(service.resources).filter((id) => id.endsWith('ReplyQueue'));
  return { queues: JSON.parse(String(setting)), ids, names: ids.map((id) => references.getName(id)) };
}

it('addReplyQueues adds a queue with the alias answers if the setting names no alias', async () => {
  expect(resolveQueues(addReplyQueues(await loadWithReplyQueues('{}')))).toEqual({
    queues: { answers: `${SQS}/000000000000/fixture-local-reply-answers` },
    ids: ['AnswersReplyQueue'],
    names: ['fixture-local-reply-answers'],
  });
});

it('addReplyQueues replaces each AWS queue in the setting with a local queue of the same alias', async () => {
  const urls = { work: 'https://sqs.eu-west-1.amazonaws.com/1/a', 'b.c-d': 'https://sqs.eu-west-1.amazonaws.com/1/b' };
  expect(resolveQueues(addReplyQueues(await loadWithReplyQueues(JSON.stringify(urls))))).toEqual({
    queues: {
      work: `${SQS}/000000000000/fixture-local-reply-work`,
      'b.c-d': `${SQS}/000000000000/fixture-local-reply-b-c-d`,
    },
    ids: ['WorkReplyQueue', 'BCDReplyQueue'],
    names: ['fixture-local-reply-work', 'fixture-local-reply-b-c-d'],
  });
});

it('addReplyQueues returns a service without the setting unchanged', async () => {
  const service = await loadWithReplyQueues(undefined);
  expect(addReplyQueues(service)).toBe(service);
});
