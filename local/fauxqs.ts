import type { buildApp } from 'fauxqs';

export type Stores = NonNullable<NonNullable<Parameters<typeof buildApp>[0]>['stores']>;

/** What a stand-in is started with. */
export interface StandInOptions {
  readonly region: string;
  /** Folder that keeps what it holds; it is forgotten with the process when absent. */
  readonly path?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
}

/**
 * Imports one of fauxqs' own files. It exports what keeps its state only as a part of its own server, which would listen on
 * every address of the machine.
 */
export async function insideFauxqs(file: string) {
  return import(new URL(file, import.meta.resolve('fauxqs')).href);
}

/** Stores for `buildApp`, with nothing in them: what they hold is forgotten with the process, until they are told to keep it. */
export async function newStores(): Promise<Stores> {
  const [{ SqsStore }, { SnsStore }, { S3Store }] = await Promise.all(
    ['sqs/sqsStore.js', 'sns/snsStore.js', 's3/s3Store.js'].map(insideFauxqs),
  );
  return { sqsStore: new SqsStore(), snsStore: new SnsStore(), s3Store: new S3Store() };
}
