import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogLine } from './lambda/environment.ts';

export interface Logs {
  write(line: LogLine): void;
  close(): Promise<void>;
}

/** Keeps what functions log, as `<dir>/<function>.log`, from this start on: an earlier start's lines are gone. */
export async function openLogs(dir: string): Promise<Logs> {
  await mkdir(dir, { recursive: true });
  const files = new Map<string, WriteStream>();
  return {
    write(line) {
      let file = files.get(line.function);
      if (file === undefined) {
        file = createWriteStream(join(dir, `${line.function}.log`), { flags: 'w' });
        // A full disk must not end the service.
        file.on('error', () => undefined);
        files.set(line.function, file);
      }
      file.write(`${line.text}\n`);
    },
    async close() {
      await Promise.all([...files.values()].map((file) => new Promise<void>((resolve) => file.end(resolve))));
    },
  };
}
