/** `npm start`: runs the whole service on this machine. */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// Compiling modules takes half of a start's CPU time. With this cache, each version of a module is compiled once. The
// cache also holds TypeScript modules with their types removed. This file is loaded before the cache is enabled, so it
// is JavaScript.
enableCompileCache(join(import.meta.dirname, '../.build/local/compile-cache'));
await import('./main.ts');
