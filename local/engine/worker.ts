/** A local GPU worker: one engine in a process of its own, which exits together with its parent. */
import { flushCompileCache } from 'node:module';
import * as v from 'valibot';
import { startEngineServer } from './server.ts';
import { workerSettingsSchema } from './worker-settings.ts';

const settings = v.parse(v.pipe(v.string(), v.parseJson(), workerSettingsSchema), process.env['WORKER_SETTINGS']);
// The channel closes when the parent exits, even if it is killed.
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole process group. The parent stops its workers itself once all requests have ended.
process.on('SIGINT', () => undefined);
const { port } = await startEngineServer(settings);
process.send?.({ port });
// Node writes the compile cache when a process exits, but SIGKILL ends this process.
flushCompileCache();
