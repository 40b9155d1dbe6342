/**
 * The betas of the header `anthropic-beta` whose features work on every target without the flag: they are generally available,
 * or Lambent implements them.
 */
const ALWAYS_ACTIVE: readonly RegExp[] = [
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
 * The betas that Bedrock accepts for Claude; it refuses a request with any other one ("invalid beta flag").
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
 * @see https://github.com/router-for-me/CLIProxyAPI/issues/4750
 */
const ACCEPTED_BY_BEDROCK: ReadonlySet<string> = new Set([
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

/** Returns the betas that Bedrock accepts. */
export function selectBedrockBetas(betas: readonly string[]): string[] {
  return betas.filter((name) => ACCEPTED_BY_BEDROCK.has(name));
}

/**
 * Lists the betas that have no effect, as `anthropic-beta.NAME`.
 * @param passed the betas that the target gets
 */
export function listIgnoredBetas(betas: readonly string[], passed: readonly string[]): string[] {
  return betas
    .filter((name) => !passed.includes(name) && !ALWAYS_ACTIVE.some((pattern) => pattern.test(name)))
    .map((name) => `anthropic-beta.${name}`);
}
