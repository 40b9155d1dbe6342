import { readFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import { join } from 'node:path';

const PLACE = /(?<file>[\w.-]+\.mjs):(?<line>\d+):(?<column>\d+)/;

/**
 * Translates a place in a bundle, as logs and stack traces name it, to the place in the source that it was built from. Source
 * maps are not deployed: reading them would slow each cold start (by 10 ms for chat).
 * @param outDir folder of the build that was deployed. With another build the result can be wrong without an error
 * @param name the function's name
 * @param place text that contains a place, such as `file:///var/task/index.mjs:1:2345`
 * @returns path relative to the repository, line and column
 * @throws Error if the text contains no place, or the build has no source map of the file, or nothing is mapped up to the place
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
