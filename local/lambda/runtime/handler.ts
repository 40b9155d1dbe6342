import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { runtimeError } from './errors.ts';
import { requireVariable } from './variables.ts';

export type Handler = (event: unknown, ...rest: unknown[]) => unknown;

/**
 * Loads the handler that `_HANDLER` names below `LAMBDA_TASK_ROOT`, from a CommonJS bundle or an ES module.
 * @throws Error `Runtime.ImportModuleError`, `Runtime.HandlerNotFound` or `Runtime.MalformedHandlerName`, and whatever
 *   the module throws while it loads
 */
export async function loadHandler(): Promise<Handler> {
  const [file, name] = splitHandler(requireVariable('_HANDLER'));
  const path = join(requireVariable('LAMBDA_TASK_ROOT'), file);
  const extension = ['.js', '.cjs', '.mjs'].find((candidate) => existsSync(path + candidate));
  if (extension === undefined) throw runtimeError('Runtime.ImportModuleError', `Cannot find module '${file}'`);
  const loaded: Record<string, unknown> =
    extension === '.cjs' ? createRequire(path)(path + extension) : await import(pathToFileURL(path + extension).href);
  const handler = loaded[name];
  if (typeof handler === 'function') return handler as Handler;
  throw runtimeError('Runtime.HandlerNotFound', `${file}.${name} is undefined or not a function`);
}

/** Splits `dir/index.handler` into the file `dir/index` and the export `handler`. */
function splitHandler(handler: string): [file: string, name: string] {
  const dot = handler.lastIndexOf('.');
  if (dot <= handler.lastIndexOf('/')) throw runtimeError('Runtime.MalformedHandlerName', `Bad handler ${handler}`);
  return [handler.slice(0, dot), handler.slice(dot + 1)];
}
