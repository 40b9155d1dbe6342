/** A GPU worker of the laptop, as a process of its own: one engine, which ends with whoever started it. */
import * as v from 'valibot';
import { startEngineServer } from './server.ts';
import { workerSettingsSchema } from './worker-settings.ts';

const settings = v.parse(v.pipe(v.string(), v.parseJson(), workerSettingsSchema), process.env['WORKER_SETTINGS']);
// The channel closes however the parent ends.
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole group; the parent ends its workers when nobody needs them any more.
process.on('SIGINT', () => undefined);
const { port } = await startEngineServer(settings);
process.send?.({ port });
