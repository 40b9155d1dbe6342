import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { onTestFinished } from 'vitest';
import { createTableInput } from '../../tables.ts';
import { startAccessTable } from '../access/access-table.ts';
import { createAdministration } from './administration.ts';

/** The time at which the requests of `startInterleaving` run. */
export const NOW = Date.parse('2027-01-31T12:00:00Z');

/**
 * Makes other requests between two steps of a request.
 * @param when before or after the first request to DynamoDB with the command whose input contains the text
 * @returns a function that ends this, if there was no such request
 */
export function interleave(
  client: DynamoDBClient,
  when: 'before' | 'after',
  command: `${string}Command`,
  text: string,
  act: () => Promise<unknown>,
): () => void {
  let isDone = false;
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const isIt = context['commandName'] === command && JSON.stringify(args.input).includes(text);
      if (isDone || !isIt) return next(args);
      isDone = true;
      if (when === 'before') await act();
      const result = await next(args);
      if (when === 'after') await act();
      return result;
    },
    { step: 'initialize' },
  );
  return () => {
    isDone = true;
  };
}

/** Kills the function that uses a client at one of its writes from here on. Returns a function that counts the writes. */
export function killAt(client: DynamoDBClient, write: number): () => number {
  let writes = 0;
  client.middlewareStack.add(
    (next, context) => async (args) => {
      if (writes >= write) throw new Error('killed');
      const result = await next(args);
      if (/^(Put|Update|Delete)Item/.test(String(context['commandName']))) writes += 1;
      if (writes >= write) throw new Error('killed');
      return result;
    },
    { step: 'initialize' },
  );
  return () => writes;
}

/** Starts an administration with empty tables `admin` and `access`, which is closed when the test is finished. */
export async function startInterleaving() {
  const access = await startAccessTable();
  onTestFinished(() => access[Symbol.asyncDispose]());
  const { client } = access;
  await client.send(new CreateTableCommand(createTableInput('admin')));
  const tables = { admin: 'admin', access: access.name };
  const { endpoint } = client.config;
  return {
    client,
    access: { client, name: access.name },
    request: createAdministration(client, tables, () => NOW),
    /** Returns another function with the same tables, and a client of its own. */
    connect() {
      const { region, credentials } = client.config;
      const own = new DynamoDBClient({ region, credentials, ...(endpoint && { endpoint }) });
      onTestFinished(() => own.destroy());
      return { client: own, request: createAdministration(own, tables, () => NOW) };
    },
  };
}
