import { createMinimalInstance } from '../../../local/bedrock/schema-instance.ts';
import type { ModelAnswer } from '../../upstreams/chat-model.ts';

/** A conversation, whichever API it came through. */
export interface Conversation {
  /** In order. Text that a client adds to a user's message is part of the message. */
  readonly messages: readonly Message[];
  readonly tools: readonly Tool[];
  /** A tool's name if it must be called, `any` if one of the tools must be called, `none` if none may be. */
  readonly toolChoice?: string | undefined;
  /** The JSON schema that the answer must fit. */
  readonly schema?: unknown;
}

interface Message {
  readonly role: 'user' | 'assistant' | 'tool';
  readonly text: string;
}

interface Tool {
  readonly name: string;
  readonly schema: unknown;
}

/**
 * Returns what the scripted model does next. It understands the requests that the drivers make:
 * - `Run the command: …`: calls the client's tool for shell commands, then repeats the number that was printed
 * - `the weather in …`: calls the tool `get_weather`, then repeats its result
 * - `What did I say before?`, `What did the command print?`: answers from the earlier conversation
 * - an answer by schema, or a tool that must be called: the schema's minimal instance
 *
 * To anything else, titles of conversations included, it answers `You said: …`.
 */
export function decide(conversation: Conversation): ModelAnswer {
  const { messages, tools, toolChoice } = conversation;
  const open = messages.slice(messages.findLastIndex(({ role }) => role === 'assistant') + 1);
  const results = open.filter(({ role }) => role === 'tool');
  if (results.length > 0) return reportResults(results.map(({ text }) => text).join('\n'));
  const asked = open.map(({ text }) => text).join('\n');
  const required = tools.find(({ name }) => name === toolChoice) ?? (toolChoice === 'any' ? tools[0] : undefined);
  const usable = toolChoice === 'none' ? [] : tools;
  return (
    (required && callMinimally(required)) ??
    answerFromHistory(asked, messages) ??
    runCommand(asked, usable) ??
    askForWeather(asked, usable) ??
    answerBySchema(conversation) ?? { text: `You said: ${lastLine(open.at(-1)?.text ?? '')}` }
  );
}

function reportResults(text: string): ModelAnswer {
  const printed = findPrinted(text);
  return { text: printed ? `The command printed ${printed}.` : `The tool said: ${lastLine(text)}` };
}

function answerFromHistory(asked: string, messages: readonly Message[]): ModelAnswer | undefined {
  const users = messages.filter(({ role }) => role === 'user');
  if (/What did I say before\?/.test(asked)) return { text: `Before, you said: ${lastLine(users.at(-2)?.text ?? '')}` };
  if (!/What did the command print\?/.test(asked)) return undefined;
  const results = messages.filter(({ role }) => role === 'tool').map(({ text }) => text);
  return { text: `It had printed ${findPrinted(results.join('\n')) ?? 'nothing that I can see'}.` };
}

/** What the drivers' commands print. They compute it, so that the command itself doesn't contain it. */
function findPrinted(text: string): string | undefined {
  return text.match(/lambent-\d+/g)?.at(-1);
}

const SHELL_TOOL = /^(bash|shell|shell_command|exec_command|execute_command|run_shell_command|run_commands?)$/i;
/** The tool of Codex whose input is JavaScript, which calls other tools. Its name may have a namespace in front. */
const SCRIPT_TOOL = /(^|[._-])exec$/;

function runCommand(asked: string, tools: readonly Tool[]): ModelAnswer | undefined {
  const command = /Run the command: ([^\n<"]+)/.exec(asked)?.[1]?.trim();
  const tool = tools.find(({ name }) => SHELL_TOOL.test(name) || SCRIPT_TOOL.test(name));
  if (command === undefined || tool === undefined) return undefined;
  const key =
    ['command', 'cmd', 'commands', 'script', 'input'].find((name) => name in readProperties(tool)) ?? 'command';
  return {
    call: { name: tool.name, arguments: { ...createArguments(tool), [key]: writeCommand(tool, key, command) } },
  };
}

/** Returns a command as the property of a tool wants it. */
function writeCommand(tool: Tool, key: string, command: string): string | readonly string[] {
  if (SCRIPT_TOOL.test(tool.name)) return `text(await tools.exec_command({ cmd: ${JSON.stringify(command)} }));`;
  if (readProperties(tool)[key]?.type !== 'array') return command;
  return key === 'commands' ? [command] : ['bash', '-c', command];
}

function askForWeather(asked: string, tools: readonly Tool[]): ModelAnswer | undefined {
  const city = /the weather in (\w+)/.exec(asked)?.[1];
  const tool = tools.find(({ name }) => name === 'get_weather');
  if (city === undefined || tool === undefined) return undefined;
  return { call: { name: tool.name, arguments: { ...createArguments(tool), city } } };
}

function answerBySchema({ schema }: Conversation): ModelAnswer | undefined {
  return schema === undefined ? undefined : { text: JSON.stringify(createMinimalInstance(schema)) };
}

function callMinimally(tool: Tool): ModelAnswer {
  return { call: { name: tool.name, arguments: createArguments(tool) } };
}

function createArguments({ schema }: Tool): Readonly<Record<string, unknown>> {
  const instance = createMinimalInstance(schema);
  return typeof instance === 'object' && instance !== null ? { ...instance } : {};
}

function readProperties({ schema }: Tool): Readonly<Record<string, { readonly type?: unknown }>> {
  const hasProperties = typeof schema === 'object' && schema !== null && 'properties' in schema;
  return hasProperties && typeof schema.properties === 'object' ? { ...schema.properties } : {};
}

function lastLine(text: string): string {
  return (text.trim().split('\n').at(-1) ?? '').slice(0, 200);
}
