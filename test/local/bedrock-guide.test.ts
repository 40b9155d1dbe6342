import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Frame } from '../../local/bedrock/frames.ts';
import { createGuide, GUIDE_MODEL, reply } from '../../local/bedrock/guide.ts';
import { type Library, readLibrary } from '../../local/bedrock/library.ts';
import type { ConverseBody } from '../../local/bedrock/request.ts';
import { Upstream } from '../shared/inference/providers/bedrock/upstream.ts';

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

/** The guide's answer to the last of some questions, the others having been answered. */
function ask(...questions: readonly string[]): string {
  const messages = questions.flatMap((text, index): ConverseBody['messages'] => [
    ...(index > 0 ? [{ role: 'assistant' as const, content: [{ text: 'Here you are.' }] }] : []),
    { role: 'user', content: [{ text }] },
  ]);
  return reply(library, { messages });
}

describe('a question', () => {
  test('is answered with the passage that speaks of it, in its own words, by its name', () => {
    const answer = ask('What happens with fallbacks?');
    expect(answer).toContain('its fallbacks are tried in order.');
    expect(answer).toContain('docs/models.md, “Fallbacks”');
  });

  test('what it is, is answered by the first words of the README', () => {
    expect(ask('What is Lambent?')).toContain('Lambent is an inference service');
  });

  test.each(['How do I start it?', 'how do I install lambent', 'starting'])('%s comes to the command', (question) => {
    expect(ask(question)).toContain('npm ci && npm start\n# not a heading\n```');
  });

  test('with a typing error is understood', () => {
    expect(ask('what about fallbakcs')).toContain('“Fallbacks”');
  });

  test('by the name of a setting finds it', () => {
    expect(ask('firstTokenTimeoutMs?')).toContain('`firstTokenTimeoutMs` | 30000');
  });

  test('that goes on from another is answered together with it', () => {
    expect(ask('Tell me about timeouts', 'and how?')).toContain('“Timeouts”');
    expect(ask('How do I add a model?', 'and the fallbacks?')).toContain('“Fallbacks”');
  });

  test('is not answered with what only who edits a page should read', () => {
    expect(ask('How do I add a model?')).toContain('by giving it a name');
    expect(ask('Written by a program?')).not.toContain('<!--');
  });

  test('of any length is answered soon, whatever its words are', () => {
    for (const text of ['x'.repeat(500_000), Array.from({ length: 50_000 }, (_, index) => `word${index}`).join(' ')]) {
      expect(ask(`${text} fallbacks`)).toContain('not a language model');
    }
  });

  test('about something else is not answered, and it says why', () => {
    const answer = ask('Who is the president of France?');
    expect(answer).toContain('I found nothing');
    expect(answer).toContain('not a language model');
  });

  test.each([
    ['如何添加模型?', '英文'],
    ['モデルを追加するには?', '英語'],
    ['모델을 추가하려면?', '영어'],
    ['Как добавить модель?', 'английском'],
  ])('in another script is told so in it: %s', (question, word) => {
    expect(ask(question)).toContain(word);
  });

  test('in another script that names a setting is answered', () => {
    expect(ask('firstTokenTimeoutMs 是什么?')).toContain('“Timeouts”');
  });
});

describe('it says that it is not a language model', () => {
  test.each(['hi', 'Hello!', 'who are you?', 'help', '?', 'How do I add a model?', 'qqqq'])(
    'in its first answer: %s',
    (question) => {
      expect(ask(question)).toMatch(/not a language model/);
    },
  );

  test('and not again with every answer', () => {
    expect(ask('hi', 'How do I add a model?')).not.toMatch(/language model/);
  });
});

test('a greeting suggests only questions that it can answer', () => {
  const suggested = [...ask('hi').matchAll(/^- (.*)$/gm)].map(([, question]) => question ?? '');
  expect(suggested.length).toBeGreaterThan(0);
  for (const question of suggested) expect(ask(question)).not.toContain('found nothing');
});

test('thanks are taken kindly', () => {
  expect(ask('What is Lambent?', 'thanks!')).toContain('You are welcome');
});

test('images and tools are declined in words, and the question is answered all the same', () => {
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

test('whatever is asked, there is an answer', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 4 }), (questions) => {
      expect(ask(...questions).length).toBeGreaterThan(20);
    }),
  );
});

test('a project without documents has a guide all the same', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'lambent-empty-'));
  const messages = [{ role: 'user' as const, content: [{ text: 'What is Lambent?' }] }];
  expect(reply(readLibrary(empty), { messages })).toContain('I found nothing');
  await rm(empty, { recursive: true });
});

describe('as it speaks', () => {
  const framesOf = async (inferenceConfig: ConverseBody['inferenceConfig'] = {}): Promise<Frame[]> => {
    const body: ConverseBody = { messages: [{ role: 'user', content: [{ text: 'fallbacks?' }] }], inferenceConfig };
    const frames: Frame[] = [];
    const call = { modelId: GUIDE_MODEL, streamed: true, body, json: '', signal: new AbortController().signal };
    for await (const frame of createGuide({ library: () => library, wordMs: 5 })(call)) frames.push(frame);
    return frames;
  };
  const textOf = (frames: readonly Frame[]): string =>
    frames.map((frame) => (frame.type === 'event' ? (frame.event.contentBlockDelta?.delta?.text ?? '') : '')).join('');
  const stopReasonOf = (frames: readonly Frame[]): string | undefined =>
    frames.flatMap((frame) => (frame.type === 'event' ? (frame.event.messageStop?.stopReason ?? []) : []))[0];

  test('the first word comes without a pause, the others after one each', async () => {
    const frames = await framesOf();
    const kinds = frames.map((frame) => frame.type);
    expect(kinds.slice(0, 5)).toEqual(['event', 'event', 'pause', 'event', 'pause']);
    expect(stopReasonOf(frames)).toBe('end_turn');
  });

  test('it ends at the token limit, and says so', async () => {
    const frames = await framesOf({ maxTokens: 5 });
    expect(textOf(frames).length).toBeLessThanOrEqual(20);
    expect(stopReasonOf(frames)).toBe('max_tokens');
  });

  test('it ends before a stop sequence, and says so', async () => {
    const frames = await framesOf({ stopSequences: ['tried', 'never said'] });
    expect(textOf(frames)).toMatch(/its fallbacks are $/);
    expect(stopReasonOf(frames)).toBe('stop_sequence');
  });

  test('the fragments are the whole answer, to the letter', async () => {
    expect(textOf(await framesOf())).toBe(ask('fallbacks?'));
  });
});

test('the real provider and the real documents make an answer with its usage', async () => {
  await using upstream = await Upstream.start(createGuide({ wordMs: 0 }));
  const content = [{ type: 'text', text: 'What is Lambent?' }] as const;
  const events = await upstream.generate({ messages: [{ role: 'user', content }] });
  const said = events.map((event) => (event.type === 'text' ? event.text : '')).join('');
  expect(said).toContain('README.md');
  const { usage } = events.at(-1) as { usage: { outputTokens: number } };
  expect(usage.outputTokens).toBe(Math.ceil(said.length / 4));
});
