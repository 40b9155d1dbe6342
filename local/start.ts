/** `npm start`: runs the whole service on this machine. */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Compiling its modules takes half of a start's CPU time. Modules that are imported from here on are compiled once for
// each version of their source.
enableCompileCache(join(import.meta.dirname, '../.build/local/compile-cache'));
await import('./main.ts');
