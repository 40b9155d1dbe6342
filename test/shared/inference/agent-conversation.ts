import fc from 'fast-check';

/** A conversation of an agent, without the format of an API. All texts are known before it is sent. */
export interface AgentConversation {
  readonly system: string;
  readonly tools: readonly { readonly name: string; readonly description: string }[];
  readonly task: string;
  /** What follows the task: calls of tools with their results, and sometimes another message of the user. */
  readonly rounds: readonly Round[];
}

export interface Round {
  readonly said: string;
  readonly calls: readonly {
    readonly id: string;
    readonly name: string;
    readonly path: string;
    readonly result: string;
  }[];
  /** Another message of the user after the results; '' for none. */
  readonly next: string;
}

export interface AgentSizes {
  /** Characters of the system prompt. */
  readonly system: fc.IntegerConstraints;
  readonly tools: fc.IntegerConstraints;
  readonly requests: fc.IntegerConstraints;
  /** Calls of one answer. */
  readonly calls: fc.IntegerConstraints;
  /** Characters of a result. */
  readonly result: fc.IntegerConstraints;
}

/** The sizes of coding agents, with turns of more blocks than a cache looks back. */
export const CODING_AGENT: AgentSizes = {
  system: { min: 6_000, max: 30_000 },
  tools: { min: 4, max: 12 },
  requests: { min: 20, max: 20 },
  calls: { min: 1, max: 14 },
  result: { min: 20, max: 400 },
};

/** Generates conversations of agents. */
export function agentConversations(sizes: AgentSizes): fc.Arbitrary<AgentConversation> {
  const round = fc.record({
    said: text({ min: 10, max: 300 }),
    results: fc
      .integer(sizes.calls)
      .chain((length) => fc.array(text(sizes.result), { minLength: length, maxLength: length })),
    next: fc.oneof({ weight: 4, arbitrary: fc.constant('') }, text({ min: 10, max: 200 })),
  });
  return fc
    .record({
      system: text(sizes.system),
      tools: fc.integer(sizes.tools),
      descriptions: text({ min: 100, max: 800 }),
      task: text({ min: 20, max: 2_000 }),
      rounds: fc
        .integer(sizes.requests)
        .chain((requests) => fc.array(round, { minLength: requests - 1, maxLength: requests - 1 })),
    })
    .map(({ system, tools, descriptions, task, rounds }) => ({
      system,
      task,
      tools: Array.from({ length: tools }, (_, index) => ({ name: `tool_${index}`, description: descriptions })),
      rounds: rounds.map(({ said, results, next }, at) => ({
        said,
        next,
        calls: results.map((result, index) => ({
          id: `call_${at}_${index}`,
          name: `tool_${index % tools}`,
          path: `src/file-${at}-${index}.ts`,
          result,
        })),
      })),
    }));
}

/** A text of words whose beginning differs from others. */
function text(length: fc.IntegerConstraints): fc.Arbitrary<string> {
  return fc
    .tuple(fc.integer({ min: 0, max: 2 ** 31 - 1 }), fc.integer(length))
    .map(([seed, characters]) =>
      `${seed} ${'lorem ipsum dolor sit amet '.repeat(Math.ceil(characters / 27))}`.slice(0, characters),
    );
}

const parameters = { type: 'object', properties: { path: { type: 'string' } }, required: ['path'] } as const;

/** Returns the body of the request number `count` (from 1) of a conversation for `POST /v1/chat/completions`. */
export function toChatBody({ system, tools, task, rounds }: AgentConversation, count: number) {
  return {
    model: 'default',
    tools: tools.map((tool) => ({ type: 'function', function: { ...tool, parameters } })),
    messages: [
      { role: 'system', content: [{ type: 'text', text: system }] },
      { role: 'user', content: [{ type: 'text', text: task }] },
      ...rounds.slice(0, count - 1).flatMap(({ said, calls, next }) => [
        {
          role: 'assistant',
          content: said,
          tool_calls: calls.map(({ id, name, path }) => ({
            id,
            type: 'function',
            function: { name, arguments: JSON.stringify({ path }) },
          })),
        },
        ...calls.map(({ id, result }) => ({
          role: 'tool',
          tool_call_id: id,
          content: [{ type: 'text', text: result }],
        })),
        ...(next === '' ? [] : [{ role: 'user', content: [{ type: 'text', text: next }] }]),
      ]),
    ],
  };
}

/** As `toChatBody`, for `POST /v1/responses`. */
export function toResponsesBody({ system, tools, task, rounds }: AgentConversation, count: number) {
  return {
    model: 'default',
    store: false,
    instructions: system,
    tools: tools.map((tool) => ({ type: 'function', ...tool, parameters, strict: false })),
    input: [
      { role: 'user', content: task },
      ...rounds.slice(0, count - 1).flatMap(({ said, calls, next }) => [
        { role: 'assistant', content: said },
        ...calls.map(({ id, name, path }) => ({
          type: 'function_call',
          call_id: id,
          name,
          arguments: JSON.stringify({ path }),
        })),
        ...calls.map(({ id, result }) => ({ type: 'function_call_output', call_id: id, output: result })),
        ...(next === '' ? [] : [{ role: 'user', content: next }]),
      ]),
    ],
  };
}

/** As `toChatBody`, for `POST /v1/messages`. */
export function toMessagesBody({ system, tools, task, rounds }: AgentConversation, count: number) {
  return {
    model: 'default',
    max_tokens: 1_000,
    system: [{ type: 'text', text: system }],
    tools: tools.map((tool) => ({ ...tool, input_schema: parameters })),
    messages: [
      { role: 'user', content: [{ type: 'text', text: task }] },
      ...rounds.slice(0, count - 1).flatMap(({ said, calls, next }) => [
        {
          role: 'assistant',
          content: [
            { type: 'text', text: said },
            ...calls.map(({ id, name, path }) => ({ type: 'tool_use', id, name, input: { path } })),
          ],
        },
        {
          role: 'user',
          content: [
            ...calls.map(({ id, result }) => ({ type: 'tool_result', tool_use_id: id, content: result })),
            ...(next === '' ? [] : [{ type: 'text', text: next }]),
          ],
        },
      ]),
    ],
  };
}

/** Adds marks where Claude Code sets them: at the end of the system prompt and of the last message. */
export function addClientMarks<B extends { readonly system?: unknown; readonly messages: readonly object[] }>(
  body: B,
): B {
  const mark = { cache_control: { type: 'ephemeral' } };
  const { system, messages } = body;
  const isMarked = (message: object, index: number): boolean =>
    index === messages.length - 1 || ('role' in message && message.role === 'system');
  return {
    ...body,
    ...(Array.isArray(system) && { system: markLast(system, mark) }),
    messages: messages.map((message, index) =>
      isMarked(message, index) && 'content' in message && Array.isArray(message.content)
        ? { ...message, content: markLast(message.content, mark) }
        : message,
    ),
  };
}

function markLast(blocks: readonly object[], mark: object): object[] {
  return blocks.map((block, index) => (index === blocks.length - 1 ? { ...block, ...mark } : block));
}
