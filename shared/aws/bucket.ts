import { Readable } from 'node:stream';
import { setTimeout as sleepFor } from 'node:timers/promises';
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { omitUndefined } from '../core/objects.ts';

/** Requests that are sent for one object while S3 responds 409, because another conditional write of it is in progress. */
const MAX_CONFLICTS = 5;
const CONFLICT_PAUSE_MS = 50;

/** S3's limit for the keys of one DeleteObjects request. */
const DELETE_BATCH_SIZE = 1_000;

/** Creates the client of a bucket. Its functions throw S3's errors. */
export function createBucket(client: S3Client, bucketName: string) {
  /**
   * Yields all keys that begin with `prefix`, in the order of their bytes. Asks for a page when it is needed.
   * @param after only keys behind this one
   */
  async function* listKeys(prefix: string, after?: string): AsyncGenerator<string, void> {
    let token: string | undefined;
    do {
      const { Contents = [], NextContinuationToken } = await client.send(
        new ListObjectsV2Command({
          Bucket: bucketName,
          Prefix: prefix,
          ...omitUndefined({ ContinuationToken: token, StartAfter: after }),
        }),
      );
      for (const { Key } of Contents) if (Key !== undefined) yield Key;
      token = NextContinuationToken;
    } while (token !== undefined);
  }

  return {
    /**
     * Writes an object. Returns false if `onlyIfNew` is set and the key exists. Repeats the request while another such request
     * for the key is in progress.
     */
    async put(key: string, bytes: Uint8Array, onlyIfNew: boolean): Promise<boolean> {
      for (let attempt = 1; ; attempt += 1) {
        try {
          await client.send(
            new PutObjectCommand({
              Bucket: bucketName,
              Key: key,
              Body: bytes,
              ...(onlyIfNew ? { IfNoneMatch: '*' } : {}),
            }),
          );
          return true;
        } catch (thrown) {
          const status = thrown instanceof S3ServiceException ? thrown.$metadata.httpStatusCode : undefined;
          if (status === 412) return false;
          if (status !== 409 || attempt === MAX_CONFLICTS) throw thrown;
          await sleepFor(CONFLICT_PAUSE_MS * attempt);
        }
      }
    },
    /** Reads an object. Returns undefined if there is none, or if it is larger than `maxBytes`. */
    async get(key: string, maxBytes = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
      try {
        const { Body, ContentLength = 0 } = await client.send(new GetObjectCommand({ Bucket: bucketName, Key: key }));
        if (!(Body instanceof Readable)) return undefined;
        const body: AsyncIterable<Uint8Array> = Body;
        const chunks: Uint8Array[] = [];
        let sizeBytes = 0;
        // Returning from the loop destroys the body. An unread body would occupy one of the client's connections
        // forever.
        for await (const chunk of body) {
          sizeBytes += chunk.byteLength;
          if (Math.max(sizeBytes, ContentLength) > maxBytes) return undefined;
          chunks.push(chunk);
        }
        return Buffer.concat(chunks);
      } catch (thrown) {
        if (thrown instanceof NoSuchKey) return undefined;
        throw thrown;
      }
    },
    /** Lists all keys that begin with `prefix`. */
    async list(prefix: string): Promise<string[]> {
      const keys: string[] = [];
      for await (const key of listKeys(prefix)) keys.push(key);
      return keys;
    },
    listKeys,
    /** Deletes objects. Throws an error if S3 reports that some were not deleted. */
    async remove(keys: readonly string[]): Promise<void> {
      for (let from = 0; from < keys.length; from += DELETE_BATCH_SIZE) {
        const Objects = keys.slice(from, from + DELETE_BATCH_SIZE).map((Key) => ({ Key }));
        const Delete = { Objects, Quiet: true };
        const { Errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket: bucketName, Delete }));
        // S3 responds with status 200 even if it deleted none of them.
        if (Errors.length > 0) throw new Error(`${Errors.length} objects were not deleted (${Errors[0]?.Code})`);
      }
    },
  };
}
