/** Checks the deployed templates offline: packages the service in several variants and runs every validator on each. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageTemplate } from '../osls-package.ts';
import { mustRunPython } from '../python.ts';
import { findTemplateFaults } from './findings.ts';
import { listFaults } from './judge.ts';
import { isPythonRule, lintTemplates } from './python-linters.ts';
import { SUPPRESSIONS } from './suppressions.ts';

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
    'gpuWeightsImage=public.ecr.aws/aws-cli/aws-cli@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
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
      'domainName=api.example.com',
      'domainCertificate=arn:aws:acm:eu-west-1:123456789012:certificate/0123',
      'domainTruststore=s3://my-ca/clients.pem',
      'firewall=true',
    ],
  },
  {
    ...GPU,
    settings: [
      ...GPU.settings,
      'gpuCanaryImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.20.0',
      ...['gpuZones=3', 'gpuWorkingMin=1', 'vpcEndpoints=vpce-0123456789abcdef0'],
    ],
  },
  {
    settings: [
      ...[
        'managedHttp=true',
        'chatMemoryMb=2048',
        'embeddingsMemoryMb=2048',
        'sessionsMemoryMb=2048',
        'responsesMemoryMb=2048',
      ],
      ...['managedWorkers=true', 'generateMemoryMb=2048', 'dispatchMemoryMb=2048', 'gpuZones=3'],
    ],
  },
  {
    ...GPU,
    settings: [
      ...GPU.settings,
      'gpuWeightsImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/aws-cli:2.32.9',
      'gpuEgress=endpoints',
      'domainName=api.example.com',
      'domainCertificate=arn:aws:acm:eu-west-1:123456789012:certificate/0123',
      'tlsPolicy=SecurityPolicy_TLS13_1_3_2025_09',
    ],
  },
];

const folder = await mkdtemp(join(tmpdir(), 'lambent-check-'));
try {
  const faults = await check(join(folder, 'templates'));
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true });
}

/**
 * Runs the validators on all variants.
 * @param templates folder for the templates
 * @returns the faults, none if all templates are valid
 */
async function check(templates: string): Promise<string[]> {
  await mkdir(templates);
  const packaged = await Promise.all(VARIANTS.map((variant, index) => packageVariant(variant, templates, index)));
  const withPython = await mustRunPython();
  const findings = await Promise.all([
    ...packaged.map(({ template, folder }) => findTemplateFaults(template, folder)),
    withPython ? lintTemplates(templates) : [],
  ]);
  const suppressions = withPython ? SUPPRESSIONS : SUPPRESSIONS.filter(({ rule }) => !isPythonRule(rule));
  const faults = listFaults(findings.flat(), suppressions);
  if (faults.length === 0)
    console.log(`The templates are valid: ${suppressions.length} suppressions cover all findings.`);
  if (!withPython)
    console.warn('Skipped cfn-lint and checkov, which need python3, 3.11 or newer, with its module venv.');
  return faults;
}

/** Packages a variant. Returns its template, which is also a file in `templates`, and a folder for temporary files. */
async function packageVariant({ settings, stage = 'dev', models }: Variant, templates: string, index: number) {
  const args = ['--stage', stage, ...settings.flatMap((setting) => ['--param', setting])];
  const temporary = join(folder, String(index));
  await mkdir(temporary);
  const template = await packageTemplate(temporary, args, models);
  await writeFile(join(templates, `${index}.json`), JSON.stringify(template));
  return { template, folder: temporary };
}
