import { Readable } from 'node:stream';
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { definedProps } from '../core/objects.ts';

/** S3's limit for one request that deletes. */
const DELETE_BATCH = 1_000;

/** The bucket's objects as bytes. Throws what S3 throws. */
export function createBucket(client: S3Client, bucketName: string) {
  return {
    /** @returns false when `onlyIfNew` and there is one already */
    async put(key: string, bytes: Uint8Array, onlyIfNew: boolean): Promise<boolean> {
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
        if (thrown instanceof S3ServiceException && thrown.$metadata.httpStatusCode === 412) return false;
        throw thrown;
      }
    },
    /** @param maxBytes how much is taken; more than that is as if there were nothing */
    async get(key: string, maxBytes = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
      try {
        const { Body, ContentLength = 0 } = await client.send(new GetObjectCommand({ Bucket: bucketName, Key: key }));
        if (!(Body instanceof Readable)) return undefined;
        const body: AsyncIterable<Uint8Array> = Body;
        const chunks: Uint8Array[] = [];
        let sizeBytes = 0;
        // Whoever leaves the loop destroys the body: unread, it would hold a connection of the client's for ever.
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
    /** Keys that begin with `prefix`, all of them. */
    async list(prefix: string): Promise<string[]> {
      const keys: string[] = [];
      let token: string | undefined;
      do {
        const { Contents = [], NextContinuationToken } = await client.send(
          new ListObjectsV2Command({
            Bucket: bucketName,
            Prefix: prefix,
            ...definedProps({ ContinuationToken: token }),
          }),
        );
        keys.push(...Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key])));
        token = NextContinuationToken;
      } while (token !== undefined);
      return keys;
    },
    async remove(keys: readonly string[]): Promise<void> {
      for (let from = 0; from < keys.length; from += DELETE_BATCH) {
        const Objects = keys.slice(from, from + DELETE_BATCH).map((Key) => ({ Key }));
        const Delete = { Objects, Quiet: true };
        const { Errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket: bucketName, Delete }));
        // The answer is 200 all the same. What was to be gone is not to be taken for gone.
        if (Errors.length > 0) throw new Error(`${Errors.length} objects were not deleted (${Errors[0]?.Code})`);
      }
    },
  };
}
