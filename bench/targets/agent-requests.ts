/** Request bodies as coding agents send them: generated, the same on each call, and of an exact size. */
import { createSeededRandom } from '../../local/faults/random.ts';
import type { Endpoint } from './lambda-events.ts';

const TOOLS = 20;
/** Bytes of a request's turn: a call of a tool, its result, and what the agent says. */
const TURN_BYTES = 3_000;

interface Turn {
  readonly callId: string;
  readonly tool: string;
  /** What the model says before its call. */
  readonly text: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly result: string;
}

interface Conversation {
  readonly system: string;
  readonly task: string;
  readonly tools: readonly { readonly name: string; readonly description: string; readonly parameters: object }[];
  readonly turns: readonly Turn[];
}

/**
 * Returns the JSON of a request with `sizeBytes` bytes of UTF-8: the prompt of an agent, its tools, and turns with tool
 * calls and their results, most of which are source files. Small sizes have one question instead.
 */
export function createAgentBody(endpoint: Endpoint, sizeBytes: number, model: string, streamed: boolean): string {
  const encode = ENCODERS[endpoint];
  const begin = { model, stream: streamed };
  const measure = (conversation: Conversation) => Buffer.byteLength(JSON.stringify(encode(begin, conversation)));
  let conversation = createConversation(sizeBytes);
  while (measure(conversation) > sizeBytes && conversation.turns.length > 0) {
    conversation = { ...conversation, turns: conversation.turns.slice(1) };
  }
  // A letter has one byte.
  const missing = sizeBytes - measure(conversation);
  if (missing < 0) throw new RangeError(`a request of an agent has more than ${sizeBytes} bytes`);
  return JSON.stringify(encode(begin, { ...conversation, task: conversation.task + 'x'.repeat(missing) }));
}

function createConversation(sizeBytes: number): Conversation {
  const random = createSeededRandom(sizeBytes);
  if (sizeBytes < SMALLEST_AGENT_BYTES) {
    return {
      system: 'You are a helpful assistant. Answer briefly.',
      task: 'Why is the sky blue? ',
      tools: [],
      turns: [],
    };
  }
  const tools = Array.from({ length: TOOLS }, (_, index) => createTool(index, random));
  const turns = Array.from({ length: Math.ceil(sizeBytes / TURN_BYTES) }, (_, index) => createTurn(index, random));
  return {
    system: `You are a coding agent. Keep to the task — do no more, no less.\n${createProse(6_000, random)}`,
    task: `Fix the failing test. ${createProse(500, random)}`,
    tools,
    turns,
  };
}

/** Bytes below which a request has neither tools nor turns. */
const SMALLEST_AGENT_BYTES = 40_000;

function createTool(index: number, random: () => number): Conversation['tools'][number] {
  const names = ['path', 'pattern', 'content', 'offset', 'limit'];
  const properties = Object.fromEntries(
    names.map((name) => [name, { type: 'string', description: createProse(60, random) }]),
  );
  return {
    name: toToolName(index),
    description: createProse(400, random),
    parameters: { type: 'object', properties, required: ['path'], additionalProperties: false },
  };
}

const toToolName = (index: number) => `tool_${index % TOOLS}`;

function createTurn(index: number, random: () => number): Turn {
  const resultBytes = TURN_BYTES * (0.3 + 1.2 * random());
  return {
    callId: `call_${String(index).padStart(24, '0')}`,
    tool: toToolName(index),
    text: createProse(120, random),
    arguments: { path: `/src/module-${index}.ts`, pattern: 'export function', offset: index },
    result: index % 8 === 7 ? `✓ ${createProse(200, random)}` : createCode(resultBytes, random),
  };
}

const WORDS =
  'the a test file function module reads writes returns value error before after each only that which'.split(' ');

function createProse(length: number, random: () => number): string {
  return repeatUntil(length, () => `${pick(WORDS, random)} `);
}

const CODE = [
  (word: string) => `import { ${word} } from './${word}.ts';\n`,
  (word: string) => `  const ${word} = options.${word} ?? "${word}";\n`,
  (word: string) => `  if (${word}.length > 0) return \`\${${word}}\\n\`;\n`,
  (word: string) => `    throw new Error('The ${word} is "missing"', { cause });\n`,
  () => '  }\n\n',
];

function createCode(length: number, random: () => number): string {
  let line = 0;
  return repeatUntil(length, () => `${++line}\t${pick(CODE, random)(pick(WORDS, random))}`);
}

function repeatUntil(length: number, create: () => string): string {
  let text = '';
  while (text.length < length) text += create();
  return text;
}

function pick<Item>(items: readonly Item[], random: () => number): Item {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new RangeError('there are no items');
  return item;
}

type Begin = { readonly model: string; readonly stream: boolean };

const ENCODERS: Readonly<Record<Endpoint, (begin: Begin, conversation: Conversation) => object>> = {
  'chat/completions': (begin, { system, task, tools, turns }) => ({
    ...begin,
    messages: [
      { role: 'system', content: system },
      { role: 'user', content: task },
      ...turns.flatMap(({ callId, tool, text, arguments: input, result }) => [
        {
          role: 'assistant',
          content: text,
          tool_calls: [{ id: callId, type: 'function', function: { name: tool, arguments: JSON.stringify(input) } }],
        },
        { role: 'tool', tool_call_id: callId, content: result },
      ]),
    ],
    ...(tools.length > 0 ? { tools: tools.map((tool) => ({ type: 'function', function: tool })) } : {}),
  }),
  responses: (begin, { system, task, tools, turns }) => ({
    ...begin,
    store: false,
    instructions: system,
    input: [
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: task }] },
      ...turns.flatMap(({ callId, tool, text, arguments: input, result }) => [
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] },
        { type: 'function_call', call_id: callId, name: tool, arguments: JSON.stringify(input) },
        { type: 'function_call_output', call_id: callId, output: result },
      ]),
    ],
    tools: tools.map((tool) => ({ type: 'function', strict: false, ...tool })),
  }),
  messages: (begin, { system, task, tools, turns }) => ({
    ...begin,
    max_tokens: 8_192,
    system: [{ type: 'text', text: system }],
    messages: [
      { role: 'user', content: [{ type: 'text', text: task }] },
      ...turns.flatMap(({ callId, tool, text, arguments: input, result }) => [
        {
          role: 'assistant',
          content: [
            { type: 'text', text },
            { type: 'tool_use', id: callId, name: tool, input },
          ],
        },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: callId, content: result }] },
      ]),
    ],
    tools: tools.map(({ name, description, parameters }) => ({ name, description, input_schema: parameters })),
  }),
};
