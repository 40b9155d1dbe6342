import type { Readable } from 'node:stream';

/** Calls `onLine` for each line of `output`, without its line break. The last line may lack one. */
export function forEachLine(output: Readable, onLine: (line: string) => void): void {
  let rest = '';
  output.setEncoding('utf8');
  output.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line.endsWith('\r') ? line.slice(0, -1) : line);
  });
  output.on('close', () => {
    if (rest !== '') onLine(rest);
    rest = '';
  });
}
