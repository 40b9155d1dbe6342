import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogLine } from './lambda/environment.ts';

export interface Logs {
  write(line: LogLine): void;
  /** Writes the last lines, and closes the files. */
  close(): Promise<void>;
}

/** Milliseconds for which lines are gathered into one write to their file. */
const GATHER_MS = 50;

/** Returns a writer to `<dir>/<function>.log`. A function's first line replaces the file of an earlier start. */
export async function openLogs(dir: string): Promise<Logs> {
  await mkdir(dir, { recursive: true });
  const files = new Map<string, WriteStream>();
  const gathered = new Map<string, string>();

  function open(name: string): WriteStream {
    const file = createWriteStream(join(dir, `${name}.log`), { flags: 'w' });
    // A full disk must not end the service.
    file.on('error', () => undefined);
    files.set(name, file);
    return file;
  }

  function flush(name: string): void {
    const lines = gathered.get(name);
    gathered.delete(name);
    if (lines !== undefined) (files.get(name) ?? open(name)).write(lines);
  }

  return {
    write({ function: name, text }) {
      const lines = gathered.get(name);
      if (lines === undefined) setTimeout(flush, GATHER_MS, name);
      gathered.set(name, `${lines ?? ''}${text}\n`);
    },
    async close() {
      for (const name of [...gathered.keys()]) flush(name);
      await Promise.all([...files.values()].map((file) => new Promise<void>((resolve) => file.end(resolve))));
    },
  };
}
