import { bundleFunctions } from '../infra/bundle/build.ts';

/** Bundles the functions before all tests, because the end-to-end tests run the packaged bundles. */
export async function setup(): Promise<void> {
  await bundleFunctions();
}
