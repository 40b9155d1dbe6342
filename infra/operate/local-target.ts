import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from './command-line.ts';

const FILE = '.local/env';

/** The options that select a stage or the laptop. */
export interface TargetOptions {
  readonly local: boolean;
  readonly stage?: string | undefined;
  readonly region?: string | undefined;
}

/** The configuration of an AWS client that uses the laptop's stand-ins. */
export interface LocalClientConfig {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** Returns the value of a variable that `npm start` has set. Throws Error with one line if it is missing. */
export type ReadVariable = (name: string) => string;

/** Returns whether the options select the laptop. Throws UsageError if they select nothing, or both the laptop and a stage. */
export function isLocal({ local, stage, region }: TargetOptions): boolean {
  if (local && (stage !== undefined || region !== undefined))
    throw new UsageError('--local takes neither --stage nor --region');
  if (!local && stage === undefined) throw new UsageError('set --stage, or --local for the laptop');
  return local;
}

/** Returns the text of the file `.local/env`; undefined if `npm start` doesn't run. */
export function readLocalEnvironment(): Promise<string | undefined> {
  return readFile(join(import.meta.dirname, '../..', FILE), 'utf8').catch(() => undefined);
}

/**
 * Returns a function that reads the variables of `.local/env`.
 * @param text the text of the file, as `readLocalEnvironment` returns it
 * @throws Error with one line if there is no file
 */
export function parseLocalEnvironment(text: string | undefined): ReadVariable {
  if (text === undefined) throw new Error(`Lambent does not run here: start it with npm start (${FILE} is missing)`);
  const variables = new Map([...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
  return (name) => {
    const value = variables.get(name);
    if (value === undefined) throw new Error(`${FILE} has no ${name}: restart npm start`);
    return value;
  };
}

/** Returns the configuration of a client of an AWS service on the laptop. */
export function createLocalConfig(
  read: ReadVariable,
  service: 'DYNAMODB' | 'KMS' | 'LAMBDA' | 'S3',
): LocalClientConfig {
  return {
    endpoint: read(`AWS_ENDPOINT_URL_${service}`),
    region: read('AWS_REGION'),
    credentials: { accessKeyId: read('AWS_ACCESS_KEY_ID'), secretAccessKey: read('AWS_SECRET_ACCESS_KEY') },
  };
}
