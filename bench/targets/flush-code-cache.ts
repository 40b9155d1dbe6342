/**
 * Preloaded into a process whose V8 code cache is wanted: writes what it has compiled by the time its first call has
 * been served. Once only, since Node writes each module's cache a single time.
 */
import { flushCompileCache } from 'node:module';

setTimeout(flushCompileCache, 700).unref();
