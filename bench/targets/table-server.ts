/**
 * Server process: the local cloud's stand-in for DynamoDB.
 *
 * `node table-server.ts <folder for its tables>`
 */
import { startTables } from '../../local/tables.ts';

const [path = ''] = process.argv.slice(2);

const tables = await startTables({ path });
process.once('SIGTERM', () => void tables.close().then(() => process.exit(0)));
console.log(tables.url);
