import { bundleFunctions } from '../infra/bundle/build.ts';

/** Before all tests: bundles the functions as they are now, since the end-to-end tests run what is packaged. */
export async function setup(): Promise<void> {
  await bundleFunctions();
}
