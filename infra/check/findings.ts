import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Template } from '../template.ts';

/** Something that a validator holds against a resource of the template. */
export interface Finding {
  readonly rule: string;
  /** Logical id; the stack's name for what concerns the template as a whole. */
  readonly resource: string;
  readonly text: string;
}

const reportSchema = v.object({
  pluginReports: v.array(
    v.object({
      violations: v.array(
        v.object({
          ruleName: v.string(),
          description: v.string(),
          violatingConstructs: v.array(v.object({ constructPath: v.string() })),
        }),
      ),
    }),
  ),
});

/**
 * What CloudFormation's own rules, cdk-nag's AWS Solutions pack and Control Tower's guard rules say of a template,
 * without network.
 * @param folder an empty folder of the caller's
 * @throws Error with the CDK's message when the template can't be read as one
 */
export async function findingsOf(template: Template, folder: string): Promise<Finding[]> {
  const templateFile = join(folder, 'template.json');
  const outDir = join(folder, 'cdk.out');
  await writeFile(templateFile, JSON.stringify(readable(template)));
  const printed = await runSynth([join(import.meta.dirname, 'synth.ts'), templateFile, outDir]);
  const text = await readFile(join(outDir, 'validation-report.json'), 'utf8').catch((cause: unknown) => {
    throw new Error(`The template can't be read as one.\n${printed}`, { cause });
  });
  const { pluginReports } = v.parse(reportSchema, JSON.parse(text));
  return pluginReports
    .flatMap(({ violations }) => violations)
    .flatMap(({ ruleName, description, violatingConstructs }) =>
      violatingConstructs.map(({ constructPath }) => ({
        rule: ruleName,
        resource: constructPath.slice(constructPath.lastIndexOf('/') + 1),
        text: description,
      })),
    );
}

/** osls gives the REST API a policy of no text, which the CDK doesn't take for one. */
function readable({ Resources, ...template }: Template): Template {
  const entries = Object.entries(Resources).map(([id, resource]) => {
    const { Policy, ...properties } = resource.Properties ?? {};
    return [id, Policy === '' ? { ...resource, Properties: properties } : resource] as const;
  });
  return { ...template, Resources: Object.fromEntries(entries) };
}

/** Its exit code says that there are findings, which the report says too. */
function runSynth(args: readonly string[]): Promise<string> {
  return new Promise((settle, fail) => {
    const texts: string[] = [];
    const synth = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    synth.stderr.setEncoding('utf8').on('data', (text: string) => texts.push(text));
    synth.on('error', fail).on('close', () => settle(texts.join('')));
  });
}
