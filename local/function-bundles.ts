import { basename } from 'node:path';
import { bundleFunctions, listFunctions } from '../infra/bundle/build.ts';
import { runPhase } from './phases.ts';

/** The functions that answer a chat completion. */
const FIRST = ['authorize', 'chat'];

/** Bundles of the functions, made in two steps so that a start doesn't wait for those that a chat completion doesn't need. */
export interface FunctionBundles {
  /** Resolves when the functions that answer a chat completion are bundled. */
  readonly first: Promise<void>;
  /** Bundles the other functions. */
  bundleRest(): Promise<void>;
  /**
   * Resolves when a function is bundled.
   * @param name its short name, or any other name of a function, for which it waits until all are bundled
   */
  whenBundled(name: string): Promise<void>;
}

/** Starts bundling the functions into a folder. A function that can't be bundled rejects the promise of its step. */
export function startBundling(outDir: string): FunctionBundles {
  const rest = Promise.withResolvers<void>();
  const sources = listFunctions().then((all) => Map.groupBy(all, (file) => isFirst(file)));
  const bundle = async (step: boolean): Promise<void> => {
    const functions = (await sources).get(step) ?? [];
    await bundleFunctions({ outDir, functions });
  };
  const first = runPhase('bundle chat and authorize', () => bundle(true));
  // A failure reaches those who wait; without this, one that comes before they do would end the process.
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
