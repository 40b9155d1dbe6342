import type { Kind } from './targets.ts';

/** A client that the matrix runs. */
export interface Client {
  /** As in the table and in docs/clients.md. */
  readonly name: string;
  /** The package that is installed, under the name of its registry. */
  readonly package: string;
  /** How its driver is run: by a runtime, or as a module that starts the program itself. */
  readonly runtime: 'node' | 'python' | 'go' | 'program';
  /** The driver's path in the runtime's folder. */
  readonly driver: string;
}

/** The clients, in the order of the table. */
export const CLIENTS: readonly Client[] = [
  { name: 'openai (Node)', package: 'openai', runtime: 'node', driver: 'openai.ts' },
  { name: 'openai (Python)', package: 'openai', runtime: 'python', driver: 'openai_client.py' },
  { name: 'openai (Go)', package: 'github.com/openai/openai-go/v3', runtime: 'go', driver: '.' },
  { name: '@anthropic-ai/sdk', package: '@anthropic-ai/sdk', runtime: 'node', driver: 'anthropic.ts' },
  { name: 'anthropic (Python)', package: 'anthropic', runtime: 'python', driver: 'anthropic_client.py' },
  { name: 'OpenAI Agents SDK (Node)', package: '@openai/agents', runtime: 'node', driver: 'agents.ts' },
  { name: 'OpenAI Agents SDK (Python)', package: 'openai-agents', runtime: 'python', driver: 'agents_client.py' },
  { name: 'Vercel AI SDK', package: 'ai', runtime: 'node', driver: 'vercel-ai.ts' },
  { name: 'LangChain (Node)', package: '@langchain/openai', runtime: 'node', driver: 'langchain.ts' },
  { name: 'LangChain (Python)', package: 'langchain-openai', runtime: 'python', driver: 'langchain_client.py' },
  { name: 'pydantic-ai', package: 'pydantic-ai-slim', runtime: 'python', driver: 'pydantic_ai_client.py' },
  { name: 'Codex CLI', package: '@openai/codex', runtime: 'program', driver: 'codex.ts' },
  { name: 'Claude Code', package: '@anthropic-ai/claude-code', runtime: 'program', driver: 'claude-code.ts' },
  { name: 'OpenCode', package: 'opencode-ai', runtime: 'program', driver: 'opencode.ts' },
  { name: 'Qwen Code', package: '@qwen-code/qwen-code', runtime: 'program', driver: 'qwen-code.ts' },
  { name: 'Cline', package: 'cline', runtime: 'program', driver: 'cline.ts' },
];

/**
 * A check that is known to fail, or to be missing, with some kinds of targets. The run says when it passes, so that the entry
 * is removed.
 */
export interface KnownFailure {
  readonly client: string;
  readonly kinds: readonly Kind[];
  /** The beginnings of the checks' names. */
  readonly checks: readonly string[];
  /** What the targets lack. */
  readonly reason: string;
}

export const KNOWN_FAILURES: readonly KnownFailure[] = [];

/** An error status that a client expects, and continues from without a repetition. */
export interface ExpectedRefusal {
  readonly client: string;
  /** `GET /v1/responses` */
  readonly request: string;
  readonly status: number;
  /** A part of the answer. */
  readonly text: string;
  readonly reason: string;
}

const THREADS = {
  request: 'POST /v1/messages',
  status: 400,
  text: 'thread_unsupported_request',
  reason: 'its tool runner asks for a message thread first, and continues without one',
};

export const EXPECTED_REFUSALS: readonly ExpectedRefusal[] = [
  { client: '@anthropic-ai/sdk', ...THREADS },
  { client: 'anthropic (Python)', ...THREADS },
];
