/** Preloaded into a process whose V8 code cache is wanted: writes what has been compiled so far, again and again. */
import { flushCompileCache } from 'node:module';

setInterval(flushCompileCache, 100).unref();
