import { apiKey, baseURL, findNative, runTask, type Turn } from './program.ts';

function turn(prompt: string, ...args: string[]): Turn {
  return {
    command: findNative('@anthropic-ai/claude-code', 'claude'),
    args: ['--print', '--allowedTools', 'Bash,Read,Edit', ...args, '--', prompt],
    env: {
      ANTHROPIC_BASE_URL: baseURL.replace(/\/v1$/, ''),
      ANTHROPIC_AUTH_TOKEN: apiKey,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
    },
  };
}

await runTask(
  (prompt) => turn(prompt),
  (prompt) => turn(prompt, '--continue'),
);
