import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageTemplate } from '../infra/osls-package.ts';
import type { Template } from '../infra/template.ts';
import { computeIdleCost, type IdleMeasures, sumIdleCost } from './idle-cost.ts';
import { formatNumber, type Table } from './report/report.ts';
import { startJobCloud } from './targets/job-cloud.ts';

/** The scheduled functions of a stage without fleets. */
const SCHEDULED = ['sweep', 'warmup'];

/** Returns the bill of an idle stage with the default settings, as a table. */
export async function tabulateIdleCost(): Promise<Table> {
  const items = computeIdleCost(await packageDefaultStage(), await measureIdle());
  const sum = sumIdleCost(items);
  const format = ({ dollars, afterFreeTier }: typeof sum) => [dollars.toFixed(2), afterFreeTier.toFixed(2)];
  return {
    caption: 'US dollars of the first month of an idle stage',
    columns: ['', 'amount', 'list price', 'after the free tier'],
    rows: [
      ...items.map((item) => [item.label, formatNumber(item.amount), ...format(item)]),
      ['total', '', ...format(sum)],
    ],
  };
}

async function packageDefaultStage(): Promise<Template> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-cost-'));
  try {
    return await packageTemplate(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/**
 * Runs the scheduled functions of a local cloud without requests. Of two runs the second counts: in the first one,
 * environments start.
 * @returns the custom metrics that all functions published, by name and dimensions, and the log lines of each function
 */
export async function measureIdle(): Promise<IdleMeasures> {
  let lines: { readonly function: string; readonly text: string }[] = [];
  await using jobCloud = await startJobCloud({ tokens: 1, intervalMs: 0 }, { onLog: (line) => lines.push(line) });
  for (let round = 0; round < 2; round += 1) {
    lines = [];
    for (const name of SCHEDULED) {
      const { body } = await jobCloud.cloud.invoke(`lambent-local-${name}`, Buffer.from('{}'));
      for await (const _ of body);
    }
  }
  return {
    customMetrics: new Set(lines.flatMap(({ text }) => listMetrics(text))).size,
    logBytes: Object.fromEntries(
      SCHEDULED.map((name) => [
        name,
        lines.filter((line) => line.function === name).reduce((sum, { text }) => sum + text.length, 0),
      ]),
    ),
  };
}

/** Returns the metrics of a log line in CloudWatch's embedded metric format, by name and dimensions. */
function listMetrics(text: string): string[] {
  if (!text.includes('"_aws"')) return [];
  const line = JSON.parse(text);
  return line._aws.CloudWatchMetrics.flatMap(
    ({ Metrics, Dimensions }: { Metrics: { Name: string }[]; Dimensions: string[][] }) =>
      Metrics.flatMap(({ Name }) =>
        Dimensions.map((names) => JSON.stringify([Name, ...names.map((name) => [name, line[name]])])),
      ),
  );
}
