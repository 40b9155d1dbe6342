import { readFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import { join } from 'node:path';

const PLACE = /(?<file>[\w.-]+\.mjs):(?<line>\d+):(?<column>\d+)/;

/**
 * Finds a place of a bundle, as it stands in a log or a stack trace, in the source. Source maps are not deployed: reading them would
 * slow each cold start (by 10 ms for chat).
 * @param outDir folder of the build that was deployed
 * @param name the function's name
 * @param place text that contains a place, such as `file:///var/task/index.mjs:1:2345`
 * @returns path relative to the repository, line and column
 * @throws Error if the text contains no place, or the source map has no such place
 */
export async function findSource(outDir: string, name: string, place: string): Promise<string> {
  const { file, line, column } = PLACE.exec(place)?.groups ?? {};
  if (file === undefined) throw new Error(`"${place}" contains no place of a bundle, such as index.mjs:1:2345`);
  const map = new SourceMap(JSON.parse(await readFile(join(outDir, '.maps', name, `${file}.map`), 'utf8')));
  const origin = map.findOrigin(Number(line), Number(column));
  if (!('fileName' in origin)) throw new Error(`The source map of ${file} has no line ${line}, column ${column}`);
  // Sources are relative to `.build/<name>`, whatever the output folder was.
  return `${join('.build', name, origin.fileName)}:${origin.lineNumber}:${origin.columnNumber}`;
}
