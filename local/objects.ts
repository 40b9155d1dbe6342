import { buildApp } from 'fauxqs';
import { LambentError } from '../shared/core/errors.ts';
import { insideFauxqs, newStores, type StandInOptions, type Stores } from './fauxqs.ts';
import { listen } from './listen.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';

export interface Objects {
  /** For `AWS_ENDPOINT_URL_S3`. An address in numbers makes AWS's SDKs put the bucket into the path. */
  readonly url: string;
  /**
   * Creates the buckets that the service defines; those of an earlier start are left as they are.
   * @returns their names, by logical id
   */
  create(service: Service, references: References): Promise<Record<string, string>>;
  close(): Promise<void>;
}

/** Starts the stand-in for S3 on 127.0.0.1. It is apart from that for SQS, which may be emptied at any time. */
export async function startObjects({ region, path, port = 0 }: StandInOptions): Promise<Objects> {
  const stores = path === undefined ? undefined : await storesIn(path);
  const app = buildApp({ logger: false, defaultRegion: region, ...(stores && { stores }) });
  await app.ready();
  const listening = await listen(app.server, { port });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    async create({ resources }, references) {
      const names: Record<string, string> = {};
      for (const [logicalId, { Type }] of Object.entries(resources)) {
        if (Type !== 'AWS::S3::Bucket') continue;
        const name = references.nameOf(logicalId);
        const { statusCode, body } = await app.inject({ method: 'PUT', url: `/${name}` });
        if (statusCode !== 200 && !body.includes('BucketAlreadyOwnedByYou')) {
          throw new LambentError('configuration', `The bucket ${name} can't be created: ${body}`);
        }
        names[logicalId] = name;
      }
      return names;
    },
    async close() {
      await app.close();
      await listening.close();
    },
  };
}

/** Stores that keep objects in a folder. */
async function storesIn(folder: string): Promise<Stores> {
  const stores = await newStores();
  const { FileS3Persistence } = await insideFauxqs('s3/fileS3Persistence.js');
  const kept = new FileS3Persistence(folder);
  // Before it is told to keep what it gets: it would keep everything anew.
  kept.loadS3(stores.s3Store);
  stores.s3Store.persistence = kept;
  return stores;
}
