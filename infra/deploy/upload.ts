import { HeadObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { computeSha256 } from '../artefacts.ts';
import { emptyBucket } from './data.ts';
import { readArtefact, type StagePackage } from './stage-package.ts';

/** The uploaded files of a package. */
export interface Upload {
  readonly bucket: string;
  readonly templateKey: string;
  /** The template's URL for CloudFormation. */
  readonly templateUrl: string;
  /** The number of files that weren't there yet, or were uploaded too long ago. */
  readonly uploaded: number;
}

/** A successful deployment leaves younger files of others in the bucket: another operator may be about to deploy them. */
const KEPT_MS = 24 * 60 * 60_000;
/** A file that is older is uploaded again, so that it stays for at least half a day, however long a deployment waits. */
const FRESH_MS = KEPT_MS / 2;

/**
 * Uploads a package's zips and its template to the deployment bucket. S3 compares each digest. Objects that were uploaded
 * lately, named by their contents, are not uploaded again.
 */
export async function uploadPackage(
  client: S3Client,
  bucket: string,
  { folder, region, template, artefacts }: StagePackage,
): Promise<Upload> {
  const body = Buffer.from(JSON.stringify(template));
  const templateKey = `templates/${computeSha256(body)}.json`;
  const uploads = await Promise.all([
    ...artefacts.map(async (artefact) => upload(client, bucket, artefact.key, await readArtefact(folder, artefact))),
    upload(client, bucket, templateKey, body),
  ]);
  return {
    bucket,
    templateKey,
    templateUrl: `https://s3.${region}.${region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'}/${bucket}/${templateKey}`,
    uploaded: uploads.filter((isNew) => isNew).length,
  };
}

/** Returns false if the object was uploaded lately. */
async function upload(client: S3Client, Bucket: string, Key: string, Body: Buffer): Promise<boolean> {
  const ChecksumSHA256 = Buffer.from(computeSha256(Body), 'hex').toString('base64');
  try {
    const existing = await client.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }));
    if (existing.ChecksumSHA256 === ChecksumSHA256 && isYounger(existing.LastModified, FRESH_MS)) return false;
  } catch (thrown) {
    if (!(thrown instanceof Error && thrown.name === 'NotFound')) throw thrown;
  }
  await client.send(new PutObjectCommand({ Bucket, Key, Body, ChecksumAlgorithm: 'SHA256', ChecksumSHA256 }));
  return true;
}

/** Deletes the zips and templates of earlier deployments, except those that another operator may have uploaded lately. */
export async function pruneUploads(
  client: S3Client,
  { artefacts }: StagePackage,
  { bucket, templateKey }: Upload,
): Promise<void> {
  const needed = new Set([templateKey, ...artefacts.map(({ key }) => key)]);
  await emptyBucket(client, bucket, (key, modifiedAt) => !needed.has(key) && !isYounger(modifiedAt, KEPT_MS));
}

/** True if something was modified less than `ms` milliseconds ago. */
function isYounger(modifiedAt: Date | undefined, ms: number): boolean {
  return modifiedAt !== undefined && Date.now() - modifiedAt.getTime() < ms;
}
