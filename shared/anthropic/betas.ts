/**
 * The betas of the header `anthropic-beta` that have an effect here. Those of features that are generally available, or
 * that the service has itself, need no flag: the request's fields say all.
 */
const TRANSLATED: readonly RegExp[] = [
  /^claude-code-/,
  /^prompt-caching-/,
  /^extended-cache-ttl-/,
  /^pdfs-/,
  /^token-counting-/,
  /^messages-/,
  /^max-tokens-/,
  /^structured-outputs-/,
  /^effort-/,
  /^context-management-/,
  /^model-context-window-exceeded-/,
  /^mid-conversation-system/,
];

/**
 * The betas that Bedrock accepts for Claude; it refuses a request with any other one ("invalid beta flag"). Other targets
 * get none.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
 * @see https://github.com/router-for-me/CLIProxyAPI/issues/4750
 */
const PASSED: ReadonlySet<string> = new Set([
  'computer-use-2024-10-22',
  'computer-use-2025-01-24',
  'token-efficient-tools-2025-02-19',
  'interleaved-thinking-2025-05-14',
  'output-128k-2025-02-19',
  'dev-full-thinking-2025-05-14',
  'context-1m-2025-08-07',
  'tool-examples-2025-10-29',
  'fine-grained-tool-streaming-2025-05-14',
]);

export interface Betas {
  /** Those that a target which speaks this protocol gets. */
  readonly passed: readonly string[];
  /** Those that have no effect, as `anthropic-beta.NAME`. */
  readonly ignored: readonly string[];
}

/** Reads the header, a list of names that are separated by commas. */
export function readBetas(header: string | undefined): Betas {
  const names = [...new Set((header ?? '').split(',').map((name) => name.trim()))].filter((name) => name !== '');
  return {
    passed: names.filter((name) => PASSED.has(name)),
    ignored: names
      .filter((name) => !PASSED.has(name) && !TRANSLATED.some((pattern) => pattern.test(name)))
      .map((name) => `anthropic-beta.${name}`),
  };
}
