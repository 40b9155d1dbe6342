import { openSync, writeSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { findLastUserText } from '../../../local/engine/chat-request.ts';
import type { Work } from '../../../local/engine/engine.ts';
import type { ObserveRequest } from '../../../local/engine/request-observer.ts';
import type { EngineCall } from './engine-call.ts';
import { jobOf, signatureOf } from './questions.ts';

const tokens = v.number();
const lineSchema = v.variant('what', [
  v.object({ what: v.literal('begun'), call: v.number(), at: v.number(), job: v.optional(v.number()) }),
  v.object({ what: v.literal('worked'), call: v.number(), work: v.tuple([tokens, tokens, tokens, tokens]) }),
  v.object({
    what: v.literal('ended'),
    call: v.number(),
    at: v.number(),
    whole: v.boolean(),
    work: v.tuple([tokens, tokens, tokens, tokens]),
  }),
]);
type Line = v.InferOutput<typeof lineSchema>;

const SUFFIX = '.jsonl';

/**
 * Keeps a journal of what a worker does. Each line is in the file before the tokens that it tells of have been read by
 * anybody, so that nothing of it is lost when the process is killed.
 * @param start name of the process
 */
export function keepJournal(folder: string, start: string): ObserveRequest {
  const file = openSync(join(folder, `${start}${SUFFIX}`), 'a');
  const note = (line: Line): void => void writeSync(file, `${JSON.stringify(line)}\n`);
  let calls = 0;
  return (request) => {
    calls += 1;
    const call = calls;
    const job = jobOf(findLastUserText(request));
    note({ what: 'begun', call, at: Date.now(), ...(job === undefined ? {} : { job }) });
    return {
      signature: signatureOf(start, call),
      onWork: (work) => note({ what: 'worked', call, work: numbersOf(work) }),
      onClose: (work, whole) => note({ what: 'ended', call, at: Date.now(), whole, work: numbersOf(work) }),
    };
  };
}

/** All calls of all processes that kept their journal in a folder. */
export async function readJournals(folder: string): Promise<EngineCall[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(SUFFIX));
  const journals = await Promise.all(
    files.map(async (file) => callsIn(await readFile(join(folder, file), 'utf8'), basename(file, SUFFIX))),
  );
  return journals.flat();
}

/** The calls that a journal tells of. */
export function callsIn(journal: string, start: string): EngineCall[] {
  const calls = new Map<number, EngineCall>();
  for (const text of journal.split('\n')) {
    const line = parseLine(text);
    const known = line === undefined ? undefined : calls.get(line.call);
    if (line?.what === 'begun') calls.set(line.call, begun(start, line));
    else if (line?.what === 'worked' && known !== undefined) calls.set(line.call, { ...known, ...workOf(line.work) });
    else if (line?.what === 'ended' && known !== undefined) {
      const end = line.whole ? 'whole' : 'closed';
      calls.set(line.call, { ...known, ...workOf(line.work), end, endedAt: line.at });
    }
  }
  return [...calls.values()];
}

function begun(start: string, { call, at, job }: Extract<Line, { what: 'begun' }>): EngineCall {
  return { start, call, job, begunAt: at, end: 'dead', endedAt: undefined, ...workOf([0, 0, 0, 0]) };
}

/** Undefined for what a killed process left of its last line. */
function parseLine(text: string): Line | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), lineSchema), text);
  return result.success ? result.output : undefined;
}

function numbersOf({
  promptTokens,
  cachedTokens,
  computedTokens,
  generatedTokens,
}: Work): [number, number, number, number] {
  return [promptTokens, cachedTokens, computedTokens, generatedTokens];
}

function workOf([promptTokens, cachedTokens, computedTokens, generatedTokens]: readonly [
  number,
  number,
  number,
  number,
]): Work {
  return { promptTokens, cachedTokens, computedTokens, generatedTokens };
}
