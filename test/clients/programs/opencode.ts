import { apiKey, baseURL, findNative, runTask, type Turn } from './program.ts';

const config = {
  autoupdate: false,
  share: 'disabled',
  model: 'lambent/default',
  provider: {
    lambent: {
      npm: '@ai-sdk/openai-compatible',
      options: { baseURL, apiKey },
      models: { default: {} },
    },
  },
};

function turn(...args: string[]): Turn {
  return {
    command: findNative('opencode', 'bin/opencode'),
    args: ['run', ...args],
    env: {
      OPENCODE_CONFIG_CONTENT: JSON.stringify(config),
      OPENCODE_DISABLE_MODELS_FETCH: '1',
      OPENCODE_DISABLE_LSP_DOWNLOAD: '1',
    },
  };
}

await runTask(
  (prompt) => turn(prompt),
  (prompt) => turn('--continue', prompt),
);
