import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ConverseBody } from '../../local/bedrock/converse-request.ts';
import type { Frame } from '../../local/bedrock/frames.ts';
import { createGuide, GUIDE_MODEL, reply } from '../../local/bedrock/guide.ts';
import { type Library, readLibrary } from '../../local/bedrock/library.ts';
import { Upstream } from '../shared/inference/providers/bedrock/upstream.ts';

const NO_PROMPT = { inputTokens: 0, cacheReadInputTokens: 0, cacheWriteInputTokens: 0, cacheDetails: [] };
const README = `# Lambent

Lambent is an inference service that runs in your own account.

## Try it

You need Node and npm.

\`\`\`sh
npm ci && npm start
# not a heading
\`\`\`

## More

[One](a.md) · [Two](b.md) · [Three](c.md) · [Four](d.md) fallbacks
`;
const MODELS = `# Models

<!-- Written by a program. -->

\`models.json\` says which models there are. Add a model by giving it a name and a target.

## Fallbacks

When no target of a model could answer, its fallbacks are tried in order.

## Timeouts

| field | default |
|---|---|
| \`firstTokenTimeoutMs\` | 30000 |
| \`timeoutMs\` | 300000 |
`;

let folder: string;
let library: Library;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-guide-'));
  await mkdir(join(folder, 'docs'));
  await writeFile(join(folder, 'README.md'), README);
  await writeFile(join(folder, 'docs', 'models.md'), MODELS);
  library = readLibrary(folder);
});
afterAll(() => rm(folder, { recursive: true }));

/** Returns the guide's answer to the last question of a conversation in which the others have been answered. */
function ask(...questions: readonly string[]): string {
  const messages = questions.flatMap((text, index): ConverseBody['messages'] => [
    ...(index > 0 ? [{ role: 'assistant' as const, content: [{ text: 'Here you are.' }] }] : []),
    { role: 'user', content: [{ text }] },
  ]);
  return reply(library, { messages });
}

describe("the guide's answers to questions", () => {
  it('the guide quotes the passage that answers the question, with its title', () => {
    const answer = ask('What happens with fallbacks?');
    expect(answer).toContain('its fallbacks are tried in order.');
    expect(answer).toContain('docs/models.md, “Fallbacks”');
  });

  it('the guide answers what Lambent is with the first section of the README', () => {
    expect(ask('What is Lambent?')).toContain('Lambent is an inference service');
  });

  it.each(['How do I start it?', 'how do I install lambent', 'starting'])(
    'the guide answers "%s" with the command that starts Lambent',
    (question) => {
      expect(ask(question)).toContain('npm ci && npm start\n# not a heading\n```');
    },
  );

  it('the guide tolerates a typing error', () => {
    expect(ask('what about fallbakcs')).toContain('“Fallbacks”');
  });

  it('the guide finds a setting by its name', () => {
    expect(ask('firstTokenTimeoutMs?')).toContain('`firstTokenTimeoutMs` | 30000');
  });

  it('the guide answers a follow-up question together with the previous one', () => {
    expect(ask('Tell me about timeouts', 'and how?')).toContain('“Timeouts”');
    expect(ask('How do I add a model?', 'and the fallbacks?')).toContain('“Fallbacks”');
  });

  it('the guide does not quote comments in documents', () => {
    expect(ask('How do I add a model?')).toContain('by giving it a name');
    expect(ask('Written by a program?')).not.toContain('<!--');
  });

  it('the guide answers a question of any length', () => {
    for (const text of ['x'.repeat(500_000), Array.from({ length: 50_000 }, (_, index) => `word${index}`).join(' ')]) {
      expect(ask(`${text} fallbacks`)).toContain('not a language model');
    }
  });

  it('the guide does not answer a question about something else, and says why', () => {
    const answer = ask('Who is the president of France?');
    expect(answer).toContain('I found nothing');
    expect(answer).toContain('not a language model');
  });

  it.each([
    ['如何添加模型?', '英文'],
    ['モデルを追加するには?', '英語'],
    ['모델을 추가하려면?', '영어'],
    ['Как добавить модель?', 'английском'],
  ])('the guide answers a question in another script with a note in that script: %s', (question, word) => {
    expect(ask(question)).toContain(word);
  });

  it('the guide answers a question in another script that names a setting', () => {
    expect(ask('firstTokenTimeoutMs 是什么?')).toContain('“Timeouts”');
  });
});

describe("the guide's note that it is not a language model", () => {
  it.each(['hi', 'Hello!', 'who are you?', 'help', '?', 'How do I add a model?', 'qqqq'])(
    'the guide says in its first answer that it is not a language model: %s',
    (question) => {
      expect(ask(question)).toMatch(/not a language model/);
    },
  );

  it('the guide says only once per conversation that it is not a language model', () => {
    expect(ask('hi', 'How do I add a model?')).not.toMatch(/language model/);
  });
});

it('the guide ignores the XML elements that a program adds to a question', () => {
  const context = '<environment_context>\n<cwd>/home/fallbacks/timeouts</cwd>\n</environment_context>';
  const content = [{ text: context }, { text: 'What is Lambent?' }, { text: '<reminder>Be brief.</reminder>' }];
  const answer = reply(library, { messages: [{ role: 'user', content }] });
  expect(answer).toContain('— README.md, “Lambent”');
  expect(reply(library, { messages: [{ role: 'user', content: [{ text: '<b>fallbacks</b>' }] }] })).toContain(
    'Fallbacks',
  );
});

it('the guide answers a greeting with questions that it can answer', () => {
  const suggested = [...ask('hi').matchAll(/^- (.*)$/gm)].map(([, question]) => question ?? '');
  expect(suggested.length).toBeGreaterThan(0);
  for (const question of suggested) expect(ask(question)).not.toContain('found nothing');
});

it('the guide answers thanks', () => {
  expect(ask('What is Lambent?', 'thanks!')).toContain('You are welcome');
});

it('the guide says that it cannot see images or call tools, and answers the question', () => {
  const answer = reply(library, {
    messages: [
      {
        role: 'user',
        content: [{ text: 'How do I add a model?' }, { image: { format: 'png', source: { bytes: '' } } }],
      },
    ],
    toolConfig: { tools: [{}] },
  });
  expect(answer).toContain("can't see images");
  expect(answer).toContain("don't call tools");
  expect(answer).toContain('docs/models.md');
});

it('the guide answers any request', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 4 }), (questions) => {
      expect(ask(...questions).length).toBeGreaterThan(20);
    }),
  );
});

it('the guide works in a project without documents', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'lambent-empty-'));
  const messages = [{ role: 'user' as const, content: [{ text: 'What is Lambent?' }] }];
  expect(reply(readLibrary(empty), { messages })).toContain('I found nothing');
  await rm(empty, { recursive: true });
});

describe("the stream of the guide's answer", () => {
  const collectFrames = async (inferenceConfig: ConverseBody['inferenceConfig'] = {}): Promise<Frame[]> => {
    const body: ConverseBody = { messages: [{ role: 'user', content: [{ text: 'fallbacks?' }] }], inferenceConfig };
    const frames: Frame[] = [];
    const call = {
      modelId: GUIDE_MODEL,
      streamed: true,
      body,
      json: '',
      prompt: NO_PROMPT,
      signal: new AbortController().signal,
    };
    for await (const frame of createGuide({ library: () => library, wordMs: 5 })(call)) frames.push(frame);
    return frames;
  };
  const getText = (frames: readonly Frame[]): string =>
    frames.map((frame) => (frame.type === 'event' ? (frame.event.contentBlockDelta?.delta?.text ?? '') : '')).join('');
  const getStopReason = (frames: readonly Frame[]): string | undefined =>
    frames.flatMap((frame) => (frame.type === 'event' ? (frame.event.messageStop?.stopReason ?? []) : []))[0];

  it('the stream pauses before each word except the first', async () => {
    const frames = await collectFrames();
    const kinds = frames.map((frame) => frame.type);
    expect(kinds.slice(0, 5)).toEqual(['event', 'event', 'pause', 'event', 'pause']);
    expect(getStopReason(frames)).toBe('end_turn');
  });

  it('the stream ends at the token limit with the stop reason max_tokens', async () => {
    const frames = await collectFrames({ maxTokens: 5 });
    expect(getText(frames).length).toBeLessThanOrEqual(20);
    expect(getStopReason(frames)).toBe('max_tokens');
  });

  it('the stream ends before a stop sequence with the stop reason stop_sequence', async () => {
    const frames = await collectFrames({ stopSequences: ['tried', 'never said'] });
    expect(getText(frames)).toMatch(/its fallbacks are $/);
    expect(getStopReason(frames)).toBe('stop_sequence');
  });

  it('the stream adds up to the whole answer', async () => {
    expect(getText(await collectFrames())).toBe(ask('fallbacks?'));
  });
});

it('the Bedrock provider receives an answer from the project’s documents, with usage', async () => {
  await using upstream = await Upstream.start(createGuide({ wordMs: 0 }));
  const content = [{ type: 'text', text: 'What is Lambent?' }] as const;
  const events = await upstream.generate({ messages: [{ role: 'user', content }] });
  const said = events.map((event) => (event.type === 'text' ? event.text : '')).join('');
  expect(said).toContain('README.md');
  const { usage } = events.at(-1) as { usage: { outputTokens: number } };
  expect(usage.outputTokens).toBe(Math.ceil(said.length / 4));
});

describe('the guide, with requests for a certain form of answer', () => {
  const schema = {
    type: 'object',
    properties: { verdict: { type: 'string' }, score: { type: 'integer', minimum: 3 } },
    required: ['verdict', 'score'],
    additionalProperties: false,
  };
  const STATEMENT = "I am Lambent's built-in guide, not a language model.";
  const messages = [{ role: 'user' as const, content: [{ text: 'Judge' }] }];

  async function answer(body: Omit<ConverseBody, 'messages'>): Promise<{ text: string; tool: string | undefined }> {
    const call = {
      modelId: GUIDE_MODEL,
      streamed: true,
      json: '',
      prompt: NO_PROMPT,
      signal: new AbortController().signal,
    };
    let [text, tool]: [string, string | undefined] = ['', undefined];
    for await (const frame of createGuide({ wordMs: 0 })({ ...call, body: { messages, ...body } })) {
      if (frame.type !== 'event') continue;
      const { contentBlockStart, contentBlockDelta } = frame.event;
      tool ??= contentBlockStart?.start?.toolUse?.name;
      text += contentBlockDelta?.delta?.text ?? contentBlockDelta?.delta?.toolUse?.input ?? '';
    }
    return { text, tool };
  }

  it('the guide answers in the form of a schema, and says there what it is', async () => {
    const textFormat = { structure: { jsonSchema: { schema: JSON.stringify(schema) } } };
    const { text, tool } = await answer({ outputConfig: { textFormat } });
    expect({ value: JSON.parse(text), tool }).toEqual({ value: { verdict: STATEMENT, score: 3 }, tool: undefined });
  });

  it('the guide says what it is if the schema allows any object', async () => {
    const any = { type: 'object' as const };
    const textFormat = { structure: { jsonSchema: { schema: JSON.stringify(any) } } };
    const answers = [
      await answer({ outputConfig: { textFormat } }),
      await answer({
        toolConfig: { tools: [{ toolSpec: { name: 'json', inputSchema: { json: any } } }], toolChoice: { any: {} } },
      }),
    ];
    for (const { text } of answers) expect(JSON.parse(text)).toEqual({ answer: STATEMENT });
  });

  it('the guide calls a tool that it is forced to call', async () => {
    const tools = ['first', 'judge'].map((name) => ({
      toolSpec: { name, inputSchema: { json: { ...schema, type: 'object' as const } } },
    }));
    const named = await answer({ toolConfig: { tools, toolChoice: { tool: { name: 'judge' } } } });
    expect({ value: JSON.parse(named.text), tool: named.tool }).toEqual({
      value: { verdict: STATEMENT, score: 3 },
      tool: 'judge',
    });
    expect((await answer({ toolConfig: { tools, toolChoice: { any: {} } } })).tool).toBe('first');
    expect((await answer({ toolConfig: { tools } })).tool).toBeUndefined();
  });
});
