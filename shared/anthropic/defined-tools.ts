import type { Tool } from '../inference/generation.ts';

/** A tool that Anthropic defines and the caller runs. Claude knows its schema; other models are given it. */
export interface DefinedTool {
  /** Matches the tool's versions. */
  readonly kind: RegExp;
  readonly tool: Omit<Tool, 'strict'>;
}

const string = { type: 'string' };
const integer = { type: 'integer' };
const range = { type: 'array', items: integer };
/** The parameters of a change to a file. */
const edit = {
  path: string,
  file_text: string,
  old_str: string,
  new_str: string,
  insert_line: integer,
  insert_text: string,
};

/** @see https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview */
export const DEFINED_TOOLS: readonly DefinedTool[] = [
  {
    kind: /^bash_\d+$/,
    tool: {
      name: 'bash',
      description: 'Runs a command in a bash session that persists between calls, and returns its output.',
      parameters: {
        type: 'object',
        properties: { command: string, restart: { type: 'boolean', description: 'Restarts the session.' } },
      },
    },
  },
  {
    kind: /^text_editor_\d+$/,
    tool: {
      name: 'str_replace_based_edit_tool',
      description: 'Views, creates and edits text files. `old_str` must occur exactly once in the file.',
      parameters: {
        type: 'object',
        properties: {
          command: { type: 'string', enum: ['view', 'create', 'str_replace', 'insert'] },
          ...edit,
          view_range: range,
        },
        required: ['command', 'path'],
      },
    },
  },
  {
    kind: /^memory_\d+$/,
    tool: {
      name: 'memory',
      description: 'Reads and writes files of notes under /memories, which persist between conversations.',
      parameters: {
        type: 'object',
        properties: {
          command: { type: 'string', enum: ['view', 'create', 'str_replace', 'insert', 'delete', 'rename'] },
          ...edit,
          old_path: string,
          new_path: string,
          view_range: range,
        },
        required: ['command'],
      },
    },
  },
];
