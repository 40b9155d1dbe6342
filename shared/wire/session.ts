/**
 * Headers in which clients name the session of a request: OpenCode (`x-session-affinity`, `x-session-id`), Codex
 * (`session_id`, `session-id`, `conversation_id`), Claude Code and Qwen Code. All requests of a session have the same value.
 */
const SESSION_HEADERS = [
  'x-session-affinity',
  'x-session-id',
  'session_id',
  'session-id',
  'conversation_id',
  'x-claude-code-session-id',
  'x-qwen-code-session-id',
];

/**
 * Returns the client's name of the session; undefined if it sends none.
 * @param headers the request's headers, with names in lower case
 */
export function findSession(headers: Readonly<Record<string, string>>): string | undefined {
  const name = SESSION_HEADERS.find((each) => headers[each]);
  return name === undefined ? undefined : headers[name];
}
