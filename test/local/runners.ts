import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach } from 'vitest';
import type { LogLine } from '../../local/lambda/environment.ts';
import type { FunctionDefinition } from '../../local/lambda/function.ts';
import { type Runner, type RunnerOptions, startRunner } from '../../local/lambda/runner.ts';

/** Handlers of the tests, as bundles. */
export const BUNDLES = resolve(import.meta.dirname, 'fixtures/bundles');

const open: { close(): unknown }[] = [];

/** Closes `part` after the test that opened it. */
export function closeAfterwards<T extends { close(): unknown }>(part: T): T {
  open.push(part);
  return part;
}

/** Ends after each test what it opened, latest first. */
export function useCleanup(): void {
  afterEach(async () => {
    for (const part of open.splice(0).reverse()) await part.close();
  });
}

/** The function of a bundle. */
export function functionOf(name: string, changes: Partial<FunctionDefinition> = {}): FunctionDefinition {
  return {
    name,
    functionName: `lambent-test-${name}`,
    taskRoot: resolve(BUNDLES, name),
    handler: 'index.handler',
    timeoutMs: 20_000,
    memoryMb: 128,
    background: false,
    environment: {},
    ...changes,
  };
}

export interface TestRunner extends Runner {
  readonly logs: readonly LogLine[];
  /** Invokes and reads the whole answer as JSON. */
  call(name: string, event: unknown): Promise<unknown>;
}

export async function testRunner(options: Partial<RunnerOptions> = {}): Promise<TestRunner> {
  const logs: LogLine[] = [];
  const runner = await startRunner({
    functions: [functionOf('echo'), functionOf('stream'), functionOf('authorizer')],
    region: 'eu-west-1',
    onLog: (line) => logs.push(line),
    ...options,
  });
  return closeAfterwards({
    ...runner,
    logs,
    async call(name: string, event: unknown) {
      const { body } = await runner.invoke(name, JSON.stringify(event));
      return JSON.parse((await buffer(body)).toString());
    },
  });
}

/** Waits until `condition` holds, looking every few milliseconds, for 15 seconds at most. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error('It did not come to pass in 15 seconds');
    await new Promise((wake) => setTimeout(wake, 5));
  }
}

/** Whether a process is there. */
export function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
