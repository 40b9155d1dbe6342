import { createMinimalInstance } from '../../../local/bedrock/schema-instance.ts';
import type { ModelCall } from '../../upstreams/chat-model.ts';

/** A tool that a client declares. */
export interface Tool {
  readonly name: string;
  readonly schema: unknown;
}

const SHELL_TOOL = /^(bash|shell|shell_command|exec_command|execute_command|run_shell_command|run_commands?)$/i;
/** The tool of Codex whose input is JavaScript, which calls other tools. Its name may have a namespace in front. */
const SCRIPT_TOOL = /(^|[._-])exec$/;
const READ_TOOL = /^(read|read_files?)$/i;
const EDIT_TOOL = /^(edit|replace)$/i;
const PATCH_TOOL = /^apply_patch$/;

/** Returns the client's tool that runs commands, or scripts that do. */
export function findShell(tools: readonly Tool[]): Tool | undefined {
  return find(tools, SHELL_TOOL) ?? find(tools, SCRIPT_TOOL);
}

function find(tools: readonly Tool[], pattern: RegExp): Tool | undefined {
  return tools.find(({ name }) => pattern.test(name));
}

/** Returns the call that runs a command. */
export function callShell(shell: Tool, command: string): ModelCall {
  if (SCRIPT_TOOL.test(shell.name))
    return callScript(shell, `text(await tools.exec_command({ cmd: ${JSON.stringify(command)} }));`);
  const properties = readProperties(shell);
  const key = ['command', 'cmd', 'commands', 'script'].find((name) => name in properties) ?? 'command';
  const list = key === 'commands' ? [command] : ['bash', '-c', command];
  return call(shell, { [key]: properties[key]?.type === 'array' ? list : command });
}

function callScript(tool: Tool, script: string): ModelCall {
  return call(tool, { input: script });
}

/** Returns the calls that read files: a call of the client's tool for each, if it reads one. */
export function readFiles(tools: readonly Tool[], shell: Tool, paths: readonly string[]): ModelCall[] {
  const tool = find(tools, READ_TOOL);
  if (tool === undefined) return [callShell(shell, `cat ${paths.join(' ')}`)];
  if ('files' in readProperties(tool)) return [call(tool, { files: paths.map((path) => ({ path })) })];
  return paths.map((path) => call(tool, findArguments(tool, { path: /path$/i }, { path })));
}

interface Edit {
  readonly path: string;
  /** A whole line. */
  readonly old: string;
  readonly by: string;
}

/** Returns the call that replaces a line of a file, by the client's tool for it. */
export function editFile(tools: readonly Tool[], shell: Tool, { path, old, by }: Edit): ModelCall {
  const edit = find(tools, EDIT_TOOL);
  if (edit !== undefined)
    return call(edit, findArguments(edit, { path: /path$/i, old: /^old/i, by: /^new/i }, { path, old, by }));
  const patch = ['*** Begin Patch', `*** Update File: ${path}`, '@@', `-${old}`, `+${by}`, '*** End Patch'].join('\n');
  const tool = find(tools, PATCH_TOOL);
  if (tool !== undefined) return call(tool, { input: patch });
  if (SCRIPT_TOOL.test(shell.name))
    return callScript(shell, `text(await tools.apply_patch(${JSON.stringify(`${patch}\n`)}));`);
  return callShell(shell, `sed -i s/${old}/${by}/ ${path}`);
}

/** Returns values under the names that a tool's properties have. */
function findArguments<Name extends string>(
  tool: Tool,
  patterns: Readonly<Record<Name, RegExp>>,
  values: Readonly<Record<Name, string>>,
): Record<string, string> {
  const properties = Object.keys(readProperties(tool));
  const names = Object.keys(values) as Name[];
  return Object.fromEntries(
    names.map((name) => [properties.find((property) => patterns[name].test(property)) ?? name, values[name]]),
  );
}

function call(tool: Tool, values: Readonly<Record<string, unknown>>): ModelCall {
  return { name: tool.name, arguments: { ...createArguments(tool), ...values } };
}

/** Returns the smallest arguments that a tool's schema allows. */
export function createArguments({ schema }: Tool): Readonly<Record<string, unknown>> {
  const instance = createMinimalInstance(schema);
  return typeof instance === 'object' && instance !== null ? { ...instance } : {};
}

function readProperties({ schema }: Tool): Readonly<Record<string, { readonly type?: unknown }>> {
  const hasProperties = typeof schema === 'object' && schema !== null && 'properties' in schema;
  return hasProperties && typeof schema.properties === 'object' ? { ...schema.properties } : {};
}
