import { readFile, writeFile } from 'node:fs/promises';
import { parseModelRegistry, type Target } from '../shared/inference/registry.ts';
import { resolveModelsFile } from './models-file.ts';
import { parseOptions, runCommandLine, UsageError } from './operate/command-line.ts';
import { findPrice, type PriceTable } from './price-table.ts';

const SOURCE = 'https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json';

const USAGE = `npm run prices -- [FILE or URL] [--source NAME]

Writes the list prices of models into models.json (or MODELS_FILE), with their source and today's date. Prices without a
date are your own and stay as they are.

  FILE or URL    LiteLLM's table of prices; by default its latest version, ${SOURCE}
  --source NAME  what the prices name as their source; by default LiteLLM`;

/** The outcome for a target. */
interface Finding {
  readonly target: string;
  readonly result: 'updated' | 'own price' | 'not in the table' | 'more for long prompts';
}

/**
 * Returns the text of a `models.json` with the prices of a table.
 * @param date the day on which the table was read, as in `2026-11-30`
 * @throws LambentError `configuration` for a registry or price that is not valid
 */
export function updatePrices(
  text: string,
  table: PriceTable,
  { source, date }: { readonly source: string; readonly date: string },
): { readonly text: string; readonly findings: readonly Finding[] } {
  const registry = parseModelRegistry(text, 'models.json');
  const json = JSON.parse(text);
  const findings: Finding[] = [];
  for (const [name, alias] of Object.entries(registry.models)) {
    for (const [index, target] of alias.targets.entries()) {
      const hasOwn = isOwn(target) || isOwn(alias);
      const found = hasOwn ? undefined : findPrice(target, table);
      const result = getResult(hasOwn, found);
      findings.push({ target: `${name}/${index} (${target.model})`, result });
      if (found !== undefined) json.models[name].targets[index].price = { ...found.price, source, date };
    }
  }
  const updated = `${JSON.stringify(json, null, 2)}\n`;
  parseModelRegistry(updated, 'models.json');
  return { text: updated, findings };
}

/** Returns whether a target or alias has a price that this command didn't write. */
function isOwn({ price }: Pick<Target, 'price'>): boolean {
  return price !== undefined && price.date === undefined;
}

function getResult(own: boolean, found: ReturnType<typeof findPrice>): Finding['result'] {
  if (own) return 'own price';
  if (found === undefined) return 'not in the table';
  return found.costsMoreWhenLong ? 'more for long prompts' : 'updated';
}

async function readTable(source: string): Promise<PriceTable> {
  if (!/^https?:/.test(source)) return JSON.parse(await readFile(source, 'utf8'));
  const response = await fetch(source);
  if (!response.ok) throw new Error(`${source} answered with status ${response.status}`);
  return (await response.json()) as PriceTable;
}

async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseOptions(args, { source: { type: 'string', default: 'LiteLLM' } });
  if (positionals.length > 1) throw new UsageError(`unexpected argument ${positionals[1]}`);
  const file = resolveModelsFile();
  const date = new Date().toISOString().slice(0, 10);
  const table = await readTable(positionals[0] ?? SOURCE);
  const { text, findings } = updatePrices(await readFile(file, 'utf8'), table, { source: values.source, date });
  await writeFile(file, text);
  for (const { target, result } of findings) console.log(`${target}: ${result}`);
}

if (import.meta.main) await runCommandLine(run, USAGE);
