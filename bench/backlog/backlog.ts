import { startThreads } from '../../test/simulation/threads.ts';
import type { Report } from '../report/report.ts';
import { type Cell, createCells } from './cells.ts';
import { toReport } from './report.ts';
import type { CellResult } from './simulate-cell.ts';

/** Simulates the job engine under backlogs and outages, and compares it with an ideal queue. */
export async function benchBacklog({ quick }: { readonly quick: boolean }): Promise<Report> {
  await using threads = startThreads<Cell, CellResult>(new URL('./thread.ts', import.meta.url));
  const cells = createCells({ quick });
  return toReport(await Promise.all(cells.map(async (cell) => ({ cell, result: await threads.run(cell) }))), { quick });
}
