import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { apiKey, baseURL, findFile, home, runTask, type Turn } from './program.ts';

const folder = join(home, '.codex');
await mkdir(folder);
await writeFile(
  join(folder, 'config.toml'),
  `model_provider = "lambent"
check_for_update_on_startup = false
analytics.enabled = false

[model_providers.lambent]
name = "Lambent"
base_url = "${baseURL}"
env_key = "LAMBENT_API_KEY"
wire_api = "responses"
`,
);

function turn(...args: string[]): Turn {
  // A sandbox of its own isn't available everywhere. The driver's folder is temporary.
  const options = ['--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox'];
  return {
    command: process.execPath,
    args: [findFile('@openai/codex', 'bin/codex.js'), 'exec', ...options, ...args],
    env: { LAMBENT_API_KEY: apiKey },
  };
}

await runTask(
  (prompt) => turn(prompt),
  (prompt) => turn('resume', '--last', prompt),
);
