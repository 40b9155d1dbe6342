import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { apiKey, baseURL, findFile, home, runTask, type Turn } from './program.ts';

await mkdir(join(home, '.qwen'));
await writeFile(
  join(home, '.qwen/settings.json'),
  JSON.stringify({ general: { disableAutoUpdate: true }, privacy: { usageStatisticsEnabled: false } }),
);

function turn(...args: string[]): Turn {
  return {
    command: process.execPath,
    args: [findFile('@qwen-code/qwen-code', 'cli-entry.js'), '--auth-type', 'openai', '--yolo', ...args],
    env: { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey, OPENAI_MODEL: 'default' },
  };
}

await runTask(
  (prompt) => turn('--prompt', prompt),
  (prompt) => turn('--continue', '--prompt', prompt),
);
