import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { installRequirements } from '../python.ts';
import type { Finding } from './findings.ts';

/** The ids of the rules of cfn-lint and checkov. */
const RULES = /^([EW]\d|CKV)/;

const lintSchema = v.array(
  v.object({
    Rule: v.object({ Id: v.string() }),
    Message: v.string(),
    Location: v.object({ Path: v.nullable(v.array(v.union([v.string(), v.number()]))) }),
  }),
);

const checkovSchema = v.object({
  results: v.object({
    failed_checks: v.array(v.object({ check_id: v.string(), check_name: v.string(), resource: v.string() })),
  }),
  summary: v.object({ parsing_errors: v.literal(0, "checkov can't parse a template") }),
});

/** Returns true if a rule is one of the linters in Python. */
export function isPythonRule(rule: string): boolean {
  return RULES.test(rule);
}

/**
 * Returns the rules of cfn-lint (errors and warnings) and checkov that the templates break. Installs both on first use;
 * needs no network afterwards.
 * @param folder absolute path of a folder that holds the templates as `*.json`, and nothing else
 * @throws Error if a linter can't be installed or can't read a template
 */
export async function lintTemplates(folder: string): Promise<Finding[]> {
  const python = await installRequirements(import.meta.dirname);
  return (await Promise.all([runCfnLint(python, folder), runCheckov(python, folder)])).flat();
}

async function runCfnLint(python: string, folder: string): Promise<Finding[]> {
  const script = join(dirname(python), 'cfn-lint');
  const args = ['--format', 'json', '--non-zero-exit-code', 'none', '--template', join(folder, '*.json')];
  const problems = v.parse(lintSchema, JSON.parse(await runPython(python, [script, ...args])));
  return problems.map(({ Rule, Message, Location }) => ({
    rule: Rule.Id,
    resource: String(Location.Path?.[0] === 'Resources' ? Location.Path[1] : 'Template'),
    text: Message,
  }));
}

async function runCheckov(python: string, folder: string): Promise<Finding[]> {
  const offline = ['--skip-download', '--soft-fail', '--quiet', '--compact'];
  const args = ['-m', 'checkov.main', ...offline, '--framework', 'cloudformation', '--output', 'json', '--directory'];
  const report = v.parse(checkovSchema, JSON.parse(await runPython(python, [...args, folder])));
  return report.results.failed_checks.map(({ check_id, check_name, resource }) => ({
    rule: check_id,
    resource: resource.slice(resource.lastIndexOf('.') + 1),
    text: check_name,
  }));
}

async function runPython(python: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(python, args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}
