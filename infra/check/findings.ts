import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Template } from '../template.ts';

/** A rule that a resource of the template breaks. */
export interface Finding {
  readonly rule: string;
  /** Logical id; the stack's name if the finding concerns the template as a whole. */
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
 * Returns the rules that a template breaks: CloudFormation's own, cdk-nag's AWS Solutions pack, Control Tower's guard
 * rules, and ours on tags. Needs the dependencies of this folder, but no network.
 * @param folder an empty folder for temporary files
 * @throws Error with the CDK's message when it can't parse the template
 */
export async function findTemplateFaults(template: Template, folder: string): Promise<Finding[]> {
  const templateFile = join(folder, 'template.json');
  const outDir = join(folder, 'cdk.out');
  await writeFile(templateFile, JSON.stringify(removeEmptyPolicies(template)));
  const errorOutput = await runSynth([join(import.meta.dirname, 'synth.ts'), templateFile, outDir]);
  const text = await readFile(join(outDir, 'validation-report.json'), 'utf8').catch((cause: unknown) => {
    throw new Error(`The CDK can't parse the template.\n${errorOutput}`, { cause });
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

/** osls gives the REST API an empty string as its policy, which the CDK rejects. */
function removeEmptyPolicies({ Resources, ...template }: Template): Template {
  const entries = Object.entries(Resources).map(([id, resource]) => {
    const { Policy, ...properties } = resource.Properties ?? {};
    return [id, Policy === '' ? { ...resource, Properties: properties } : resource] as const;
  });
  return { ...template, Resources: Object.fromEntries(entries) };
}

/**
 * Runs `synth.ts`. Its exit code is ignored, because it fails whenever there are findings, which the report contains.
 * @returns its error output
 */
function runSynth(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const texts: string[] = [];
    const synth = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    synth.stderr.setEncoding('utf8').on('data', (text: string) => texts.push(text));
    synth.on('error', reject).on('close', () => resolve(texts.join('')));
  });
}
