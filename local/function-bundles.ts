import { basename } from 'node:path';
import { bundleFunctions, listFunctions } from '../infra/bundle/build.ts';
import { runPhase } from './phases.ts';

/** The functions that a chat completion needs. */
const FIRST = ['authorize', 'chat'];

/** Bundles the functions in two steps, so that a start waits only for the functions that a chat completion needs. */
export interface FunctionBundles {
  /** Resolves when the functions that a chat completion needs are bundled. */
  readonly first: Promise<void>;
  /** Bundles the other functions. */
  bundleRest(): Promise<void>;
  /**
   * Resolves when a function is bundled.
   * @param name the function's short name; with any other name, the promise resolves when all functions are bundled
   */
  whenBundled(name: string): Promise<void>;
}

/** Starts bundling the functions into a folder. A function that can't be bundled rejects the promise of its step. */
export function startBundling(outDir: string): FunctionBundles {
  const rest = Promise.withResolvers<void>();
  const sources = listFunctions().then((all) => Map.groupBy(all, (file) => isFirst(file)));
  const bundle = async (firstStep: boolean): Promise<void> => {
    const functions = (await sources).get(firstStep) ?? [];
    await bundleFunctions({ outDir, functions });
  };
  const first = runPhase('bundle chat and authorize', () => bundle(true));
  // Callers that await a step get its error. Without this handler, an error before the first caller awaits the step
  // would end the process as an unhandled rejection.
  for (const step of [first, rest.promise]) step.catch(() => undefined);
  return {
    first,
    async bundleRest() {
      rest.resolve(bundle(false));
      await rest.promise;
    },
    whenBundled: (name) => (FIRST.includes(name) ? first : rest.promise),
  };
}

const isFirst = (file: string) => FIRST.includes(basename(file, '.ts'));
