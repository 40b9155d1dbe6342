import { readFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import { join } from 'node:path';

const PLACE = /(?<file>[\w.-]+\.mjs):(?<line>\d+):(?<column>\d+)/;

/**
 * Finds the source of a place in a bundle, as a log or a stack trace names it. Maps are not shipped, since reading them
 * would slow every cold start (by 10 ms for chat).
 * @param outDir folder of the build that was deployed
 * @param name the function
 * @param place text that holds a place, such as `file:///var/task/index.mjs:1:2345`
 * @returns path from the root of the repository, line and column
 * @throws Error when `place` names none, or no map knows it
 */
export async function sourceOfPlace(outDir: string, name: string, place: string): Promise<string> {
  const { file, line, column } = PLACE.exec(place)?.groups ?? {};
  if (file === undefined) throw new Error(`"${place}" names no place in a bundle, such as index.mjs:1:2345`);
  const map = new SourceMap(JSON.parse(await readFile(join(outDir, '.maps', name, `${file}.map`), 'utf8')));
  const origin = map.findOrigin(Number(line), Number(column));
  if (!('fileName' in origin)) throw new Error(`the map of ${file} knows no line ${line}, column ${column}`);
  // Sources are relative to `.build/<name>`, wherever the bundle was written.
  return `${join('.build', name, origin.fileName)}:${origin.lineNumber}:${origin.columnNumber}`;
}
