import { mustRunPython } from '../../../infra/python.ts';
import type { Check } from '../drivers.ts';
import { formatTable } from '../report.ts';
import { startTarget } from '../targets.ts';
import { EXCEPTIONS } from './exceptions.ts';
import { runAnthropicNode, runOpenAINode, type SuiteTarget } from './generated.ts';
import { judgeSuite, type SuiteResult } from './judge.ts';
import { runOpenAIPython } from './openai-python.ts';
import { readServedRoutes } from './served-routes.ts';

const SUITES: Readonly<Record<string, (target: SuiteTarget) => Promise<Check[]>>> = {
  'openai-node': runOpenAINode,
  'anthropic-sdk': runAnthropicNode,
  'openai-python': runOpenAIPython,
};

/**
 * Runs the suites against the service with an OpenAI-compatible upstream, and prints a table of the results.
 * @returns true if everything went as expected
 */
export async function runSuites(): Promise<boolean> {
  await using service = await startTarget('upstream');
  const target = { url: service.url, key: 'sk-local', routes: await readServedRoutes() };
  const results: SuiteResult[] = [];
  for (const [suite, run] of Object.entries(SUITES)) {
    if (suite === 'openai-python' && !(await mustRunPython()))
      console.error(`${suite} doesn't run: Python is missing.`);
    else results.push(judgeSuite(suite, await run(target)));
  }
  const rows = results.map(({ suite, tests, passed, exceptions }) => [suite, tests, passed, exceptions].map(String));
  for (const line of formatTable([['suite', 'tests', 'passed', 'exceptions'], ...rows])) console.log(line);
  for (const { suite, tests, reason } of EXCEPTIONS) console.log(`\nexception: ${suite}, ${tests.source}: ${reason}`);
  for (const { suite, problems } of results) for (const problem of problems) console.log(`\n${suite}: ${problem}`);
  return results.every(({ problems }) => problems.length === 0);
}
