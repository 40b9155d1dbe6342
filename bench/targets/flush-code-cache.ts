/**
 * Preloaded into a process to write its V8 code cache after its first call. Once only, because Node writes each
 * module's cache a single time.
 */
import { flushCompileCache } from 'node:module';

setTimeout(flushCompileCache, 700).unref();
