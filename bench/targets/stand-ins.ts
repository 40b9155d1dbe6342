/** The stand-ins for DynamoDB and SQS in a process of their own. Prints their URLs, separated by a space. */
import { startQueues } from '../../local/queues.ts';
import { startTables } from '../../local/tables.ts';

const [tables, queues] = await Promise.all([startTables({}), startQueues()]);
console.log(`${tables.url} ${queues.url}`);
