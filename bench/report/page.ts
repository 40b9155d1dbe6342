import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeMachine } from '../../test/measure/machine.ts';
import { toSvg } from './chart.ts';
import { formatBudget, type Record, type Table } from './report.ts';

/** Writes a report's page and its charts to `folder`, over those of an earlier run, and links the page in the README there. */
export async function publish(record: Record, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { name, charts } = record.report;
  const images = charts.map((chart, index) => ({ file: `${name}-${index + 1}.svg`, chart }));
  await Promise.all(images.map(({ file, chart }) => writeFile(join(folder, file), toSvg(chart))));
  const pictures = images.map(({ file, chart }) => `![${chart.title}](${file})`);
  await writeFile(join(folder, `${name}.md`), toMarkdown(record, pictures));
  const readme = join(folder, 'README.md');
  const rows = await readFile(readme, 'utf8');
  await writeFile(readme, rows.replace(`| ${name} |`, `| [${name}](${name}.md) |`));
}

function toMarkdown({ machine, date, report }: Record, pictures: readonly string[]): string {
  const parts = [
    `# ${report.title}`,
    `<!-- Written by \`npm run bench -- ${report.name} --publish\`; edit bench/ instead. -->`,
    `${describeMachine(machine)}, ${date.slice(0, 10)}. All figures come from one run on that one machine: they say how the sides stand to each other, not what another machine will show.`,
    ...report.method,
    ...pictures,
    ...report.tables.map(toMarkdownTable),
    ...(report.budgets.length > 0 ? ['## Budgets'] : []),
    report.budgets.map((budget) => `- ${formatBudget(budget)}`).join('\n'),
    ...(report.limits === undefined ? [] : ['## What limits it', ...report.limits]),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function toMarkdownTable({ caption, columns, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = line(columns.map((_, index) => (index === 0 ? '---' : '--:')));
  return [`**${caption}**`, '', line(columns), rule, ...rows.map(line)].join('\n');
}
