import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Resources } from './template.ts';

/** A function's zip, at the place of the deployment bucket that the template names. */
export interface Artefact {
  /** Name of the file in the folder of the package. */
  readonly file: string;
  /** Key of the object in the deployment bucket. Contains the digest. */
  readonly key: string;
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string;
}

/**
 * Returns the resources with the functions' zips named by their contents. osls names them by the time of packaging, so
 * that even a deployment without a change would update every function.
 * @param folder the folder that holds the zips
 */
export function nameByContents(resources: Resources, folder: string): Resources {
  const entries = Object.entries(resources).map(([id, resource]) => {
    const code = readCode(resource.Properties);
    if (code === undefined) return [id, resource] as const;
    const file = basename(code.S3Key);
    const sha256 = computeSha256(readFileSync(join(folder, file)));
    const Code = { ...code, S3Key: `code/${sha256}/${file}` };
    return [id, { ...resource, Properties: { ...resource.Properties, Code } }] as const;
  });
  return Object.fromEntries(entries);
}

/** Returns the zips that the functions of a packaged template name. */
export function listArtefacts(resources: Resources): Artefact[] {
  return Object.values(resources).flatMap(({ Properties }) => {
    const key = readCode(Properties)?.S3Key;
    const [, sha256 = '', file = ''] = /^code\/([0-9a-f]{64})\/([\w-]+\.zip)$/.exec(key ?? '') ?? [];
    return key === undefined ? [] : [{ file, key, sha256 }];
  });
}

/** Returns the SHA-256 of a file's contents, in hexadecimal. */
export function computeSha256(contents: Buffer | string): string {
  return createHash('sha256').update(contents).digest('hex');
}

function readCode(properties: Readonly<Record<string, unknown>> = {}): { readonly S3Key: string } | undefined {
  const code = Object(properties['Code']) as { readonly S3Key?: unknown };
  return typeof code.S3Key === 'string' ? { ...code, S3Key: code.S3Key } : undefined;
}
