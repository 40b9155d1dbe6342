/**
 * Preloaded into a process to write its V8 code cache once, after its first call. Node writes the cache of each module
 * only once.
 */
import { flushCompileCache } from 'node:module';

setTimeout(flushCompileCache, 700).unref();
