import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach } from 'vitest';
import type { LogLine } from '../../local/lambda/environment.ts';
import type { FunctionDefinition, ManagedInstances } from '../../local/lambda/function.ts';
import { type Runner, type RunnerOptions, startRunner } from '../../local/lambda/runner.ts';
import { waitUntil } from '../wait.ts';

/** The folder of the bundled test functions. */
export const BUNDLES = resolve(import.meta.dirname, 'fixtures/bundles');

/** How the runner runs functions: a process for each concurrent invocation, or many invocations in one process. */
export type Mode = 'standard' | 'managed';
export const MODES: readonly Mode[] = ['standard', 'managed'];

export const MANAGED_INSTANCES: ManagedInstances = { maxConcurrency: 10, maxEnvironments: 3 };

const open: { close(): unknown }[] = [];

/** Closes `part` after the test that opened it. */
export function closeAfterwards<T extends { close(): unknown }>(part: T): T {
  open.push(part);
  return part;
}

/** Closes the parts that each test opened after that test, latest first. */
export function useCleanup(): void {
  afterEach(async () => {
    for (const part of open.splice(0).reverse()) await part.close();
  });
}

/** A gate at which test functions wait whose instructions have its file's path as `untilFile`. */
export interface Gate {
  readonly file: string;
  open(): void;
}

/** Creates a closed gate. */
export function createGate(): Gate {
  const folder = mkdtempSync(join(tmpdir(), 'lambent-gate-'));
  closeAfterwards({ close: () => rmSync(folder, { recursive: true }) });
  const file = join(folder, 'open');
  return { file, open: () => writeFileSync(file, '') };
}

/** Returns the definition of the function in the bundle `name`. */
export function defineFunction(name: string, changes: Partial<FunctionDefinition> = {}): FunctionDefinition {
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

/** Returns the response of a function that returns nothing. */
export function createEmptyResponse(): Awaited<ReturnType<Runner['invoke']>> {
  return {
    requestId: 'r',
    streamed: false,
    contentType: undefined,
    body: Readable.from([]),
    failure: () => undefined,
  };
}

export interface TestRunner extends Runner {
  readonly logs: readonly LogLine[];
  /** Invokes a function and returns its whole response, parsed as JSON. */
  call(name: string, event: unknown): Promise<unknown>;
}

/** Starts a runner, in standard mode unless `mode` or the definition of a function selects managed mode. */
export async function startTestRunner({
  mode = 'standard',
  functions = [defineFunction('echo'), defineFunction('stream'), defineFunction('authorizer')],
  ...options
}: Partial<RunnerOptions> & { readonly mode?: Mode } = {}): Promise<TestRunner> {
  const logs: LogLine[] = [];
  const runner = await startRunner({
    functions:
      mode === 'standard' ? functions : functions.map((each) => ({ managedInstances: MANAGED_INSTANCES, ...each })),
    region: 'eu-west-1',
    // Longer than Lambda's 10 s: on a busy machine, a process is slow to start.
    initTimeoutMs: 120_000,
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

/** Waits until `condition` holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  await waitUntil('the condition holds', condition);
}

/** True if a process exists. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
