/** A GPU worker of a chaos run, as a process of its own: the laptop's engine, which keeps a journal of what it does. */
import * as v from 'valibot';
import { startEngineServer } from '../../../local/engine/server.ts';
import { workerSettingsSchema } from '../../../local/engine/worker-settings.ts';
import { keepJournal } from './journal.ts';

const settingsSchema = v.object({ ...workerSettingsSchema.entries, start: v.string(), journals: v.string() });

const { start, journals, ...settings } = v.parse(
  v.pipe(v.string(), v.parseJson(), settingsSchema),
  process.env['WORKER_SETTINGS'],
);
// The channel closes however the parent ends.
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
const { port } = await startEngineServer({ ...settings, observe: keepJournal(journals, start) });
process.send?.({ port });
