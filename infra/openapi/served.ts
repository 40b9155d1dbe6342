import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The description of the API. `npm run openapi` writes it. */
export const DOCUMENT_FILE = join(import.meta.dirname, '../../docs/openapi.json');

/** Levels of the file that have a line for each of their entries. */
const LEVELS = 5;

/** Returns the contents of the file, in which a change of the API changes few lines. */
export function printDocument(document: object): string {
  return `${print(document, LEVELS)}\n`;
}

function print(value: unknown, levels: number, indent = ''): string {
  if (levels === 0 || typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value);
  const lines = Object.entries(value).map(
    ([key, entry]) => `${indent}  ${JSON.stringify(key)}: ${print(entry, levels - 1, `${indent}  `)}`,
  );
  return `{\n${lines.join(',\n')}\n${indent}}`;
}

/**
 * Returns the file as a mapping template of API Gateway, which responds with it as it is: JSON without the characters that
 * begin a reference or directive of a template. They occur within strings only.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/models-mappings.html
 */
export async function readTemplate(): Promise<string> {
  const json = JSON.stringify(JSON.parse(await readFile(DOCUMENT_FILE, 'utf8')));
  return json.replaceAll('$', '\\u0024').replaceAll('#', '\\u0023');
}
