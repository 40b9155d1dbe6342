import {
  ApplyGuardrailCommand,
  type ApplyGuardrailCommandInput,
  BedrockRuntimeClient,
} from '@aws-sdk/client-bedrock-runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGuide } from '../../../local/bedrock/guide.ts';
import { type BedrockStandIn, startBedrock } from '../../../local/bedrock/server.ts';

let server: BedrockStandIn;
let client: BedrockRuntimeClient;
beforeAll(async () => {
  server = await startBedrock({
    respond: createGuide(),
    guardrails: {
      abc123: ({ texts }) => (texts.includes('bad') ? { words: ['bad'] } : {}),
      masks: () => ({ pii: [{ type: 'NAME', match: 'Ada', action: 'ANONYMIZED' }] }),
      nothing: () => ({ pii: [] }),
      detects: () => ({ pii: [{ type: 'NAME', match: 'Ada', action: 'NONE' }] }),
    },
  });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  client = new BedrockRuntimeClient({ region: 'eu-west-1', endpoint: server.url, credentials, maxAttempts: 1 });
});
afterAll(async () => {
  client.destroy();
  await server.close();
});

const apply = (input: Partial<ApplyGuardrailCommandInput>) =>
  client.send(
    new ApplyGuardrailCommand({
      guardrailIdentifier: 'abc123',
      guardrailVersion: '1',
      source: 'INPUT',
      content: [{ text: { text: 'good' } }],
      ...input,
    }),
  );
const texts = (...all: string[]) => all.map((text) => ({ text: { text } }));

describe("the stand-in's guardrails", () => {
  it.each(['abc123', 'arn:aws:bedrock:eu-west-1:123456789012:guardrail/abc123'])(
    'a guardrail named by %s answers with its verdict and the use of text units',
    async (guardrailIdentifier) => {
      const passed = await apply({ guardrailIdentifier, content: texts('x'.repeat(1_001)) });
      expect(passed).toMatchObject({ action: 'NONE', outputs: [], usage: { contentPolicyUnits: 2 } });
      const blocked = await apply({ guardrailIdentifier, guardrailVersion: 'DRAFT', content: texts('bad') });
      expect(blocked.action).toBe('GUARDRAIL_INTERVENED');
      expect(blocked.assessments?.[0]?.wordPolicy?.customWords).toMatchObject([{ match: 'bad', action: 'BLOCKED' }]);
    },
  );

  it('a guardrail that masks intervenes and returns the masked texts', async () => {
    const masked = await apply({ guardrailIdentifier: 'masks', content: texts('Ada', 'I, Ada') });
    expect(masked).toMatchObject({
      ...{ action: 'GUARDRAIL_INTERVENED', outputs: [{ text: '{NAME}' }, { text: 'I, {NAME}' }] },
      usage: { sensitiveInformationPolicyUnits: 2 },
    });
    expect(masked.assessments?.[0]?.sensitiveInformationPolicy?.piiEntities).toEqual([
      { type: 'NAME', match: 'Ada', action: 'ANONYMIZED', detected: true },
    ]);
    const detected = await apply({ guardrailIdentifier: 'detects', content: texts('Ada') });
    expect(detected).toMatchObject({ action: 'NONE', outputs: [] });
  });

  it('with the scope FULL, a filter of personal data reports what it has not detected', async () => {
    const request = { guardrailIdentifier: 'nothing', content: texts('Ada') };
    expect((await apply(request)).assessments?.[0]).not.toHaveProperty('sensitiveInformationPolicy');
    const full = await apply({ ...request, outputScope: 'FULL' });
    expect(full).toMatchObject({ action: 'NONE', outputs: [] });
    expect(full.assessments?.[0]?.sensitiveInformationPolicy?.piiEntities).toMatchObject([{ detected: false }]);
  });

  it.each<[Partial<ApplyGuardrailCommandInput>, string]>([
    [{ guardrailIdentifier: 'unknown' }, 'ResourceNotFoundException'],
    [{ guardrailVersion: '7' }, 'ResourceNotFoundException'],
    [{ guardrailIdentifier: 'ABC' }, 'ValidationException'],
    [{ guardrailVersion: '0' }, 'ValidationException'],
    [{ guardrailVersion: 'LATEST' }, 'ValidationException'],
    [{ source: 'BOTH' as 'INPUT' }, 'ValidationException'],
    [{ content: undefined }, 'ValidationException'],
    [{ content: [{}] as never }, 'ValidationException'],
    [{ content: texts('x'.repeat(25_001)) }, 'ThrottlingException'],
  ])('a request is refused as Bedrock does: %o is a %s', async (input, name) => {
    await expect(apply(input)).rejects.toMatchObject({ name });
  });
});
