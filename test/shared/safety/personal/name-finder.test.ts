import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Finding } from '../../../../local/bedrock/guardrails.ts';
import { createGuide } from '../../../../local/bedrock/guide.ts';
import { type BedrockStandIn, startBedrock } from '../../../../local/bedrock/server.ts';
import { createNameFinder } from '../../../../shared/safety/personal/name-finder.ts';
import { recordTelemetry } from '../../core/recorded-telemetry.ts';

const NAME = { type: 'NAME', match: 'Ada', action: 'ANONYMIZED' } as const;
const FOUND: Readonly<Record<string, Finding>> = {
  masks: {
    pii: [NAME, { type: 'EMAIL', match: 'a@b.c', action: 'NONE' }],
  },
  blocks: { pii: [{ type: 'ADDRESS', match: '1 Main St', action: 'BLOCKED' }] },
  detects: { pii: [{ type: 'NAME', match: 'Grace', action: 'NONE' }] },
  filters: { pii: [], words: ['bad'] },
  words: {},
  nameandfilter: {
    pii: [NAME],
    filters: [{ type: 'HATE', confidence: 'HIGH', action: 'BLOCKED' }],
  },
  nameandword: { pii: [NAME], words: ['bad'] },
  nameandtopic: { pii: [NAME], topics: ['investment'] },
  nameandpattern: { pii: [NAME], regexes: [{ match: 'E-1', action: 'ANONYMIZED' }] },
  nameandreport: {
    pii: [NAME],
    filters: [{ type: 'HATE', confidence: 'HIGH', action: 'NONE' }],
    regexes: [{ match: 'E-1', action: 'NONE' }],
  },
};

let bedrock: BedrockStandIn;
beforeAll(async () => {
  const guardrails = Object.fromEntries(Object.entries(FOUND).map(([name, finding]) => [name, () => finding]));
  bedrock = await startBedrock({ respond: createGuide(), guardrails });
  process.env['AWS_ENDPOINT_URL_BEDROCK_RUNTIME'] = bedrock.url;
  process.env['AWS_REGION'] = 'eu-west-1';
  process.env['AWS_ACCESS_KEY_ID'] = 'test';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
});
afterAll(() => bedrock.close());

const telemetry = recordTelemetry();
function find(names: readonly string[], texts = ['Ada', 'Grace']) {
  const guardrails = Object.fromEntries([...Object.keys(FOUND), 'gone'].map((id) => [id, { id, version: '1' }]));
  const call = { signal: new AbortController().signal, telemetry };
  return createNameFinder(names, { guardrails }, call)(texts, ['name', 'address']);
}

it('names and addresses are found whether a guardrail masks, blocks or only detects them', async () => {
  expect(await find(['masks', 'blocks', 'detects'])).toEqual([
    { kind: 'name', value: 'Ada' },
    { kind: 'address', value: '1 Main St' },
    { kind: 'name', value: 'Grace' },
  ]);
});

it.each(['nameandfilter', 'nameandword', 'nameandtopic', 'nameandpattern'])(
  'a guardrail that masks a name refuses what another of its filters intervenes in: %s',
  async (name) => {
    await expect(find([name])).rejects.toMatchObject({ code: 'content_filter' });
  },
);

it('a guardrail that masks a name refuses nothing that its other filters only detect', async () => {
  expect(await find(['nameandreport'])).toEqual([{ kind: 'name', value: 'Ada' }]);
});

it('all texts are searched, after a text with a name too', async () => {
  expect(await find(['masks'], Array(9).fill('x'.repeat(15_000)))).toHaveLength(9);
});

it('more short texts are searched than one call may have', async () => {
  expect(await find(['masks'], Array(60).fill('Ada'))).toHaveLength(3);
});

it.each([
  ['words', 'configuration'],
  ['filters', 'content_filter'],
  ['gone', 'configuration'],
  ['absent', 'configuration'],
])('a guardrail that can not find all names lets nothing pass: %s is %s', async (name, code) => {
  await expect(find([name])).rejects.toMatchObject({ code });
});
