import { readFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import { join } from 'node:path';

const POSITION = /(?<file>[\w.-]+\.mjs):(?<line>\d+):(?<column>\d+)/;

/**
 * Returns the position in the source to which a position in a bundle, as in logs and stack traces, corresponds. Source
 * maps are not deployed, because reading them would slow each cold start (by 10 ms for chat).
 * @param outDir folder of the build that was deployed. With another build the result can be wrong without an error
 * @param name the function's name
 * @param text a text with a position in a bundle, such as `file:///var/task/index.mjs:1:2345`
 * @returns path relative to the repository, line and column
 * @throws Error if the text has no position, or if no source map has the file, line and column
 */
export async function findSource(outDir: string, name: string, text: string): Promise<string> {
  const { file, line, column } = POSITION.exec(text)?.groups ?? {};
  if (file === undefined) throw new Error(`"${text}" has no position in a bundle, such as index.mjs:1:2345`);
  const map = new SourceMap(JSON.parse(await readFile(join(outDir, '.maps', name, `${file}.map`), 'utf8')));
  const origin = map.findOrigin(Number(line), Number(column));
  if (!('fileName' in origin)) throw new Error(`The source map of ${file} has no line ${line}, column ${column}`);
  // Source paths are relative to `.build/<name>`, whatever the output folder was.
  return `${join('.build', name, origin.fileName)}:${origin.lineNumber}:${origin.columnNumber}`;
}
