import { describeMachine } from '../../test/measure/machine.ts';
import { type DatedReport, formatBudget, type Table } from './report.ts';

/** Formats a report as plain text for a terminal. */
export function toText({ machine, date, report }: DatedReport): string {
  const parts = [
    `${report.title}\n${'='.repeat(report.title.length)}`,
    `${describeMachine(machine)}, ${date}. Figures are relative to this machine.`,
    ...report.tables.map(toTextTable),
    report.budgets.map((budget) => `  ${formatBudget(budget)}`).join('\n'),
  ];
  return `\n${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function toTextTable({ caption, columns, rows }: Table): string {
  const lines = [columns, ...rows];
  const widths = columns.map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)));
  const toRow = (cells: readonly string[]) =>
    cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)));
  return [caption, ...lines.map((cells) => `  ${toRow(cells).join('  ')}`)].join('\n');
}
