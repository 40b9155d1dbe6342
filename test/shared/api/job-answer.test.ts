import { afterAll, beforeAll, expect, it } from 'vitest';
import { sumActivity } from '../../../shared/abuse/activity.ts';
import { readEntries } from '../../../shared/audit/entry.ts';
import { replyAsChatModel } from '../../upstreams/chat-model.ts';
import { startUpstream, type Upstream } from '../../upstreams/openai-upstream.ts';
import { createGovernedApi } from '../safety/personal/governed-api.ts';

let upstream: Upstream;
beforeAll(async () => {
  upstream = await startUpstream(({ body }) => replyAsChatModel(body));
});
afterAll(() => upstream.close());

it('a job that a content rule refuses is recorded as a refusal of its project', async () => {
  const api = createGovernedApi(upstream.baseUrl, { project: { contentRules: [{ id: 'bird', terms: ['falcon'] }] } });
  const body = { model: 'default', input: 'A falcon.' };
  await expect(api.answerQueued('/v1/responses', body)).rejects.toMatchObject({ code: 'content_filter' });
  const lines = api.telemetry.lines.map((line) => JSON.stringify(line));
  const { entries } = readEntries({ id: 'batch', logGroup: 'group', logStream: 'stream', lines });
  expect(entries).toMatchObject([{ record: 'guardrail', rule: 'bird', action: 'refuse', tenant: 'acme' }]);
  expect(sumActivity(entries)).toMatchObject([{ tenant: 'acme', keyId: undefined, calls: 0, refusals: 1 }]);
});
