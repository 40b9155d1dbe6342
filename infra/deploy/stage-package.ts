import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { type Artefact, computeSha256, listArtefacts } from '../artefacts.ts';
import { readTemplate } from '../osls-package.ts';
import type { Template } from '../template.ts';

/** A stage as `npm run package` wrote it. */
export interface StagePackage {
  readonly folder: string;
  readonly stage: string;
  readonly region: string;
  readonly stackName: string;
  /** All settings with the values that the template contains. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly template: Template;
  /** The template of a stack that has only the deployment bucket, to which the others are uploaded. */
  readonly bucketTemplate: Template;
  readonly artefacts: readonly Artefact[];
}

/** The part of osls's record of the packaging that is used here. */
const stateSchema = v.object({
  service: v.object({
    service: v.string(),
    provider: v.object({ stage: v.string(), region: v.string() }),
    custom: v.object({ settings: v.record(v.string(), v.unknown()) }),
  }),
});

/**
 * Reads a package, and compares each zip with the digest that the template names.
 * @throws Error if there is no package, or a zip isn't the one that was packaged
 */
export async function readStagePackage(folder: string): Promise<StagePackage> {
  const text = await readFile(join(folder, 'serverless-state.json'), 'utf8').catch(() => {
    throw new Error(`There is no package in ${folder}. Run npm run package first.`);
  });
  const state = v.safeParse(v.pipe(v.string(), v.parseJson(), stateSchema), text);
  if (!state.success) throw damagedError('serverless-state.json');
  const { service } = state.output;
  const template = await readTemplate(folder).catch(() => {
    throw damagedError('The template');
  });
  const artefacts = listArtefacts(template.Resources);
  for (const artefact of artefacts) await readArtefact(folder, artefact);
  return {
    folder,
    stage: service.provider.stage,
    region: service.provider.region,
    stackName: `${service.service}-${service.provider.stage}`,
    settings: service.custom.settings,
    template,
    bucketTemplate: JSON.parse(await readFile(join(folder, 'cloudformation-template-create-stack.json'), 'utf8')),
    artefacts,
  };
}

const damagedError = (part: string) => new Error(`${part} is damaged. Package the stage again.`);

/** Returns the contents of a zip. Throws if they aren't those that were packaged. */
export async function readArtefact(folder: string, { file, sha256 }: Artefact): Promise<Buffer> {
  const contents = await readFile(join(folder, file));
  if (computeSha256(contents) === sha256) return contents;
  throw new Error(`${file} is not the file that was packaged with this template. Package the stage again.`);
}
