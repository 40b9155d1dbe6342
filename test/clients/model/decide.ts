import { createMinimalInstance } from '../../../local/bedrock/schema-instance.ts';
import type { ModelAnswer } from '../../upstreams/chat-model.ts';
import { callShell, createArguments, editFile, findShell, readFiles, type Tool } from './tools.ts';

/** A conversation, whichever API it came through. */
export interface Conversation {
  /** In order. Text that a client adds to a user's message is part of the message. */
  readonly messages: readonly Message[];
  readonly tools: readonly Tool[];
  /** A tool's name if it must be called, `any` if one of the tools must be called, `none` if none may be. */
  readonly toolChoice?: string | undefined;
  /** The JSON schema that the answer must fit. */
  readonly schema?: unknown;
  /** The system prompt. Where an API has no place for a schema, it is there. */
  readonly instructions?: string;
  /** False if an answer may have one tool call only. */
  readonly isParallel?: boolean;
  /** True if the model is asked to reason. */
  readonly reasons?: boolean;
}

interface Message {
  readonly role: 'user' | 'assistant' | 'tool';
  readonly text: string;
}

/**
 * Returns what the scripted model does next. It understands the requests that the drivers make:
 * - `Run the command: …`: calls the client's tool for shell commands, then repeats the number that was printed
 * - `Do the task in …`: reads two files, edits one and runs a command, with the client's tools; then says what it saw
 * - `the weather in … and …`: calls the tool `get_weather` for each city, then repeats its results
 * - `What did I say before?`, `What did the command print?`: answers from the earlier conversation
 * - an answer by schema, or a tool that must be called: the schema's minimal instance
 *
 * To anything else, titles of conversations included, it answers `You said: …`.
 */
export function decide(conversation: Conversation): ModelAnswer {
  const answer = answerWithoutReasoning(conversation);
  return conversation.reasons ? { ...answer, reasoning: 'Let me think.' } : answer;
}

function answerWithoutReasoning(conversation: Conversation): ModelAnswer {
  const { messages, tools, toolChoice } = conversation;
  const open = messages.slice(messages.findLastIndex(({ role }) => role === 'assistant') + 1);
  const usable = toolChoice === 'none' ? [] : tools;
  const going = continueTask(messages, usable) ?? askForWeather(conversation, usable);
  if (going !== undefined && toolChoice !== 'any') return going;
  const results = open.filter(({ role }) => role === 'tool');
  if (results.length > 0) return reportResults(messages);
  const asked = open.map(({ text }) => text).join('\n');
  const required = tools.find(({ name }) => name === toolChoice) ?? (toolChoice === 'any' ? tools[0] : undefined);
  return (
    (required && { calls: [{ name: required.name, arguments: createArguments(required) }] }) ??
    answerFromHistory(asked, messages) ??
    runCommand(asked, usable) ??
    answerBySchema(conversation) ?? { text: `You said: ${lastLine(open.at(-1)?.text ?? '')}` }
  );
}

/** Says what the tools have returned since the user's last message, or since the task that it asks for. */
function reportResults(messages: readonly Message[]): ModelAnswer {
  const isTask = messages.some(({ text }) => TASK.test(text));
  const results = listResults(messages, ({ role, text }) => role === 'user' && (!isTask || TASK.test(text)));
  const printed = findPrinted(results.join('\n'));
  return {
    text:
      printed.length > 0
        ? `The command printed ${printed.join(' and ')}.`
        : `The tool said: ${results.map(lastLine).join('; ')}`,
  };
}

/** Returns the results after the last message that `isStart` accepts. */
function listResults(messages: readonly Message[], isStart: (message: Message) => boolean): string[] {
  const start = messages.findLastIndex(isStart);
  return messages.slice(start + 1).flatMap(({ role, text }) => (role === 'tool' ? [text] : []));
}

function answerFromHistory(asked: string, messages: readonly Message[]): ModelAnswer | undefined {
  const users = messages.filter(({ role }) => role === 'user');
  if (/What did I say before\?/.test(asked)) return { text: `Before, you said: ${lastLine(users.at(-2)?.text ?? '')}` };
  if (!/What did the command print\?/.test(asked)) return undefined;
  const results = messages.filter(({ role }) => role === 'tool').map(({ text }) => text);
  return { text: `It had printed ${findPrinted(results.join('\n')).at(-1) ?? 'nothing that I can see'}.` };
}

/** What the drivers' commands print and their files have. Commands compute it, so they don't contain it themselves. */
function findPrinted(text: string): string[] {
  return [...new Set(text.match(/lambent-\d+/g))];
}

function runCommand(asked: string, tools: readonly Tool[]): ModelAnswer | undefined {
  const command = /Run the command: ([^\n<"]+)/.exec(asked)?.[1]?.trim();
  const shell = findShell(tools);
  return command === undefined || shell === undefined ? undefined : { calls: [callShell(shell, command)] };
}

const TASK =
  /Do the task in (\S+): read (\S+) and (\S+), replace (\w+) by (\w+) in the first, then run the command: ([^\n<"]+)/;

/** Returns the next step of a task; undefined after the last. */
function continueTask(messages: readonly Message[], tools: readonly Tool[]): ModelAnswer | undefined {
  const start = messages.findLastIndex(({ role, text }) => role === 'user' && TASK.test(text));
  const [, folder, first, second, old = '', by = '', command = ''] = TASK.exec(messages[start]?.text ?? '') ?? [];
  const shell = findShell(tools);
  if (shell === undefined || folder === undefined) return undefined;
  const paths = [`${folder}/${first}`, `${folder}/${second}`] as const;
  const steps = [
    () => readFiles(tools, shell, paths),
    () => [editFile(tools, shell, { path: paths[0], old, by })],
    () => [callShell(shell, command.trim())],
  ];
  const rounds = messages
    .slice(start)
    .filter(({ role }, index, all) => role === 'tool' && all[index - 1]?.role !== role);
  const calls = steps[rounds.length]?.();
  return calls && { calls };
}

const WEATHER = /the weather in (\w+)(?: and (\w+))?/;

/** Calls the tool for the cities that the user's last message names and whose weather isn't known. */
function askForWeather({ messages, isParallel }: Conversation, tools: readonly Tool[]): ModelAnswer | undefined {
  const tool = tools.find(({ name }) => name === 'get_weather');
  const question = messages.findLast(({ role }) => role === 'user')?.text ?? '';
  const known = listResults(messages, ({ role }) => role === 'user').join('\n');
  const cities = (WEATHER.exec(question) ?? []).slice(1).filter((city) => city && !known.includes(city));
  if (tool === undefined || cities.length === 0) return undefined;
  const calls = cities.map((city) => ({ name: tool.name, arguments: { ...createArguments(tool), city } }));
  return { calls: isParallel === false ? calls.slice(0, 1) : calls };
}

function answerBySchema({ schema, instructions = '' }: Conversation): ModelAnswer | undefined {
  const asked = schema ?? findSchema(instructions);
  return asked === undefined ? undefined : { text: JSON.stringify(createMinimalInstance(asked)) };
}

/** Returns the schema that a prompt asks for, on a line of its own. */
function findSchema(instructions: string): unknown {
  const line = /JSON schema[^\n]*\n(?:.*\n)*?(\{.*\})$/m.exec(instructions)?.[1];
  return line === undefined ? undefined : JSON.parse(line);
}

function lastLine(text: string): string {
  return (text.trim().split('\n').at(-1) ?? '').slice(0, 200);
}
