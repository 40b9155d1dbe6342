import type { Server } from 'node:http';
import dynalite from 'dynalite';
import conditionParser from 'dynalite/db/conditionParser.js';
import db from 'dynalite/db/index.js';
import projectionParser from 'dynalite/db/projectionParser.js';
import updateParser from 'dynalite/db/updateParser.js';
import { evaluateAbsentOperands } from './absent-operands.ts';
import { cacheExpressions } from './expression-cache.ts';
import { limitExpressions } from './expression-limits.ts';
import { openTableStore } from './table-store.ts';

for (const parser of [conditionParser, updateParser, projectionParser]) cacheExpressions(parser);
evaluateAbsentOperands();
limitExpressions();

/**
 * Creates a dynalite server with a faster store, with parsed expressions that are used again, and with DynamoDB's answers
 * for absent attributes and for expressions that are too large. These replace properties of dynalite's own modules; see docs/decisions/0020-faster-dynalite.md.
 * @param path folder in which tables are stored. When absent, they are lost with the server
 * @throws Error of LevelDB if the folder can't be opened
 */
export async function createDynalite(path: string | undefined): Promise<Server> {
  const store = await openTableStore(path);
  const { create } = db;
  db.create = () => store;
  try {
    return dynalite({ createTableMs: 0 });
  } finally {
    db.create = create;
  }
}
