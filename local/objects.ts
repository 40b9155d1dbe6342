import { buildApp } from 'fauxqs';
import { LambentError } from '../shared/core/errors.ts';
import type { AccessKeys } from './access/access-keys.ts';
import { SignatureVerifier } from './access/signature.ts';
import { enforceConditionalWrites } from './conditional-writes.ts';
import { refuseLongKeys } from './key-length.ts';
import { listen } from './listen.ts';
import { restoreObjects } from './object-files.ts';
import { acceptLargeObjects } from './object-size.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';

export interface Objects {
  /** The value for `AWS_ENDPOINT_URL_S3`. Because it is an IP address, AWS's SDKs put the bucket into the path. */
  readonly url: string;
  /**
   * Creates the buckets that the service defines. Buckets of an earlier start are left as they are.
   * @returns their names, by logical id
   */
  create(service: Service, references: References): Promise<Record<string, string>>;
  close(): Promise<void>;
}

export interface ObjectsOptions {
  /** Folder in which objects are stored. When absent, they are lost when the stand-in stops. */
  readonly path?: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** The keys with which requests must be signed. Signatures are not checked when absent. */
  readonly accessKeys?: AccessKeys;
}

/** Starts the stand-in for S3 on 127.0.0.1. It is separate from the stand-in for SQS, which can be restarted. */
export async function startObjects({ path, port = 0, accessKeys }: ObjectsOptions = {}): Promise<Objects> {
  const app = buildApp({ logger: false });
  acceptLargeObjects(app);
  refuseLongKeys(app);
  enforceConditionalWrites(app);
  if (path === undefined) await app.ready();
  else await restoreObjects(app, path);
  const listening = await listen(app.server, { port, verifier: accessKeys && new SignatureVerifier('s3', accessKeys) });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    async create({ resources }, references) {
      const names: Record<string, string> = {};
      for (const [logicalId, { Type }] of Object.entries(resources)) {
        if (Type !== 'AWS::S3::Bucket') continue;
        const name = references.getName(logicalId);
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
