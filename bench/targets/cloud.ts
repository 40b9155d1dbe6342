/**
 * Server process: the local cloud of `npm start`, with the given model registry and without schedules.
 *
 * `node cloud.ts <folder for its state> <folder of the bundles> <model registry> <managed or standard>`
 */
import { startCloud } from '../../local/cloud.ts';

const [stateDir = '', bundlesDir = '', models = '', mode] = process.argv.slice(2);

const cloud = await startCloud({
  logSubscriptions: false,
  stateDir,
  bundlesDir,
  bedrock: async function* silent() {},
  environment: { MODELS_FILE: models },
  schedules: false,
  managedFunctions: mode === 'managed' ? 'interactive' : [],
});
process.once('SIGTERM', () => void cloud.close().then(() => process.exit(0)));
console.log(cloud.url.replace(/\/v1$/, ''));
