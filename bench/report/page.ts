import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeMachine } from '../../test/measure/machine.ts';
import { toSvg } from './chart.ts';
import { type DatedReport, formatBudget, type Table } from './report.ts';

/** Columns at which paragraphs are wrapped. */
const LINE_WIDTH = 118;

/**
 * Writes a report's page and charts to `folder`, replacing those of an earlier run, and links the page in the folder's
 * README.
 */
export async function publish(record: DatedReport, folder: string): Promise<void> {
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

function toMarkdown({ machine, date, report }: DatedReport, pictures: readonly string[]): string {
  const parts = [
    `# ${report.title}`,
    `<!-- Written by \`npm run bench -- ${report.command ?? report.name} --publish\`; edit bench/ instead. -->`,
    wrap(
      `${describeMachine(machine)}, ${date.slice(0, 10)}. All figures come from one run on one machine: compare the targets with each other, not with figures from another machine.`,
    ),
    ...report.method.map(wrap),
    ...pictures,
    ...report.tables.map(toMarkdownTable),
    ...(report.budgets.length > 0 ? ['## Budgets'] : []),
    report.budgets.map((budget) => `- ${formatBudget(budget)}`).join('\n'),
    ...(report.limits === undefined ? [] : ['## Limits', ...report.limits.map(wrap)]),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function toMarkdownTable({ caption, columns, rows }: Table): string {
  const toRow = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = toRow(columns.map((_, index) => (index === 0 ? '---' : '--:')));
  return [`**${caption}**`, '', toRow(columns), rule, ...rows.map(toRow)].join('\n');
}

/** Wraps a paragraph. A line never begins with a word that Markdown reads as a list item. */
function wrap(paragraph: string): string {
  const lines: string[] = [];
  for (const word of paragraph.split(' ')) {
    const line = lines.at(-1);
    const fits = line !== undefined && line.length + 1 + word.length <= LINE_WIDTH;
    if (line !== undefined && (fits || /^([-+*]|\d+[.)])$/.test(word))) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}
