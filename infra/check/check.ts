/** Checks what would be deployed, offline: packages the service in each of its shapes and asks every validator. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageTemplate } from '../osls-package.ts';
import { type Finding, findingsOf } from './findings.ts';
import { SUPPRESSIONS, type Suppression, suppresses } from './suppressions.ts';

/** Settings with which the template has everything that it can have, and those with which it has the least. */
const VARIANTS: readonly (readonly string[])[] = [
  [],
  ['--stage', 'prod', '--param', 'corsOrigin=https://app.example.com', '--param', 'alarmEmail=ops@example.com'],
];

const findings = (await Promise.all(VARIANTS.map(checkVariant))).flat();
const faults = [...findings.filter(isFault).map(describe), ...SUPPRESSIONS.filter(isIdle).map(describeIdle)];
for (const fault of new Set(faults)) console.error(fault);
if (faults.length > 0) process.exitCode = 1;
else console.log(`The template holds: ${SUPPRESSIONS.length} suppressions, each with a reason, cover all findings.`);

async function checkVariant(args: readonly string[]): Promise<Finding[]> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-check-'));
  try {
    return await findingsOf(await packageTemplate(folder, args), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function isFault(finding: Finding): boolean {
  return !SUPPRESSIONS.some((suppression) => suppresses(suppression, finding));
}

function isIdle(suppression: Suppression): boolean {
  return !findings.some((finding) => suppresses(suppression, finding));
}

function describe({ rule, resource, text }: Finding): string {
  return `${resource}: ${text} (${rule})`;
}

function describeIdle({ rule, resource }: Suppression): string {
  return `${resource}: the suppression of ${rule} matches nothing any more; remove it`;
}
