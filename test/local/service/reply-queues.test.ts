import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { createReferences } from '../../../local/service/references.ts';
import { withReplyQueues } from '../../../local/service/reply-queues.ts';
import { loadService, type Service } from '../../../local/service/service.ts';
import { BUNDLES } from '../runners.ts';

const SQS = 'http://127.0.0.1:9324';
const ROOT = resolve(import.meta.dirname, '../fixtures/service');

/** The fixture's service, whose functions answer on these queues. */
async function answering(replyQueues: string | undefined): Promise<Service> {
  const service = await loadService({ root: ROOT, stage: 'local', bundlesDir: BUNDLES });
  if (replyQueues === undefined) return service;
  const [first, ...others] = service.functions;
  if (first === undefined) throw new Error('The fixture has no functions');
  const environment = { ...first.environment, REPLY_QUEUES: replyQueues };
  return { ...service, functions: [{ ...first, environment }, ...others] };
}

/** What functions find the queues by, and the queues' names. */
function resolved(service: Service) {
  const references = createReferences(service, SQS);
  const setting = references.resolve(service.functions[0]?.environment['REPLY_QUEUES'], 'REPLY_QUEUES');
  const names = Object.keys(service.resources).filter((id) => id.endsWith('ReplyQueue'));
  return { queues: JSON.parse(String(setting)), ids: names, names: names.map((id) => references.nameOf(id)) };
}

it('is one of the alias answers where the setting names none', async () => {
  expect(resolved(withReplyQueues(await answering('{}')))).toEqual({
    queues: { answers: `${SQS}/000000000000/fixture-local-reply-answers` },
    ids: ['AnswersReplyQueue'],
    names: ['fixture-local-reply-answers'],
  });
});

it('stands for each queue that the setting names in AWS, under the same alias', async () => {
  const urls = { work: 'https://sqs.eu-west-1.amazonaws.com/1/a', 'b.c-d': 'https://sqs.eu-west-1.amazonaws.com/1/b' };
  expect(resolved(withReplyQueues(await answering(JSON.stringify(urls))))).toEqual({
    queues: {
      work: `${SQS}/000000000000/fixture-local-reply-work`,
      'b.c-d': `${SQS}/000000000000/fixture-local-reply-b-c-d`,
    },
    ids: ['WorkReplyQueue', 'BCDReplyQueue'],
    names: ['fixture-local-reply-work', 'fixture-local-reply-b-c-d'],
  });
});

it('is not there for a service that answers on no queue', async () => {
  const service = await answering(undefined);
  expect(withReplyQueues(service)).toBe(service);
});
