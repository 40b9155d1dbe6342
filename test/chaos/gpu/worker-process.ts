/** The process of a GPU worker in a chaos run: the local engine with a journal. */
import * as v from 'valibot';
import { startEngineServer } from '../../../local/engine/server.ts';
import { workerSettingsSchema } from '../../../local/engine/worker-settings.ts';
import { createJournal } from './journal.ts';

const settingsSchema = v.object({ ...workerSettingsSchema.entries, start: v.string(), journals: v.string() });

const { start, journals, ...settings } = v.parse(
  v.pipe(v.string(), v.parseJson(), settingsSchema),
  process.env['WORKER_SETTINGS'],
);
// The channel closes when the parent exits, for whatever reason.
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
const { port } = await startEngineServer({ ...settings, observe: createJournal(journals, start) });
process.send?.({ port });
