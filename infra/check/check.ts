/** Checks the deployed templates offline: packages the service in several variants and runs every validator on each. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageTemplate } from '../osls-package.ts';
import { type Finding, findTemplateFaults } from './findings.ts';
import { SUPPRESSIONS, type Suppression, suppresses } from './suppressions.ts';

interface Variant {
  readonly settings: readonly string[];
  readonly stage?: string;
  /** The model registry. Default: the repository's. */
  readonly models?: string;
}

const GPU = {
  models: 'infra/check/gpu-models.json',
  settings: [
    'gpuFleet=qwen',
    'gpuImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0',
    'gpuWeights=s3://models/qwen3-8b',
  ],
};

/** The variants that are checked: the smallest template, and others that together have every optional resource. */
const VARIANTS: readonly Variant[] = [
  { settings: [] },
  {
    stage: 'prod',
    settings: [
      'corsOrigin=https://app.example.com',
      'alarmEmail=ops@example.com',
      'senderSources=arn:aws:events:eu-west-1:123456789012:rule/orders',
      'senderPrincipals=222222222222',
    ],
  },
  {
    ...GPU,
    settings: [
      ...GPU.settings,
      'gpuCanaryImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.20.0',
      ...['gpuZones=3', 'gpuWorkingMin=1'],
    ],
  },
  {
    ...GPU,
    settings: [
      ...GPU.settings,
      'gpuWeightsImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/aws-cli:2.32.9',
      'gpuEgress=endpoints',
    ],
  },
];

const findings = (await Promise.all(VARIANTS.map(checkVariant))).flat();
const faults = [...findings.filter(isFault).map(describe), ...SUPPRESSIONS.filter(isUnused).map(describeUnused)];
for (const fault of new Set(faults)) console.error(fault);
if (faults.length > 0) process.exitCode = 1;
else console.log(`The templates are valid: ${SUPPRESSIONS.length} suppressions cover all findings.`);

async function checkVariant({ settings, stage = 'dev', models }: Variant): Promise<Finding[]> {
  const args = ['--stage', stage, ...settings.flatMap((setting) => ['--param', setting])];
  const folder = await mkdtemp(join(tmpdir(), 'lambent-check-'));
  try {
    return await findTemplateFaults(await packageTemplate(folder, args, models), folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function isFault(finding: Finding): boolean {
  return !SUPPRESSIONS.some((suppression) => suppresses(suppression, finding));
}

function isUnused(suppression: Suppression): boolean {
  return !findings.some((finding) => suppresses(suppression, finding));
}

function describe({ rule, resource, text }: Finding): string {
  return `${resource}: ${text} (${rule})`;
}

function describeUnused({ rule, resource }: Suppression): string {
  return `${resource}: the suppression of ${rule} matches no finding; remove it`;
}
