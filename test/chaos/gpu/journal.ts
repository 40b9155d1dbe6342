import { openSync, writeSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { findLastUserText } from '../../../local/engine/chat-request.ts';
import type { Work } from '../../../local/engine/engine.ts';
import type { ObserveRequest } from '../../../local/engine/request-observer.ts';
import type { EngineCall } from './engine-call.ts';
import { createSignature, parseJobNumber } from './questions.ts';

const tokens = v.number();
const lineSchema = v.variant('kind', [
  v.object({ kind: v.literal('begun'), call: v.number(), at: v.number(), job: v.optional(v.number()) }),
  v.object({ kind: v.literal('worked'), call: v.number(), work: v.tuple([tokens, tokens, tokens, tokens]) }),
  v.object({
    kind: v.literal('ended'),
    call: v.number(),
    at: v.number(),
    whole: v.boolean(),
    work: v.tuple([tokens, tokens, tokens, tokens]),
  }),
]);
type Line = v.InferOutput<typeof lineSchema>;

const SUFFIX = '.jsonl';

/**
 * Creates the journal of a worker. A line is written before any client can read the tokens that it records, so that a
 * kill loses nothing.
 * @param start name of the process
 */
export function createJournal(folder: string, start: string): ObserveRequest {
  const file = openSync(join(folder, `${start}${SUFFIX}`), 'a');
  const note = (line: Line): void => void writeSync(file, `${JSON.stringify(line)}\n`);
  let calls = 0;
  return (request) => {
    calls += 1;
    const call = calls;
    const job = parseJobNumber(findLastUserText(request));
    note({ kind: 'begun', call, at: Date.now(), ...(job === undefined ? {} : { job }) });
    return {
      signature: createSignature(start, call),
      onWork: (work) => note({ kind: 'worked', call, work: toTuple(work) }),
      onClose: (work, whole) => note({ kind: 'ended', call, at: Date.now(), whole, work: toTuple(work) }),
    };
  };
}

/** Reads the calls from all journals of a folder. */
export async function readJournals(folder: string): Promise<EngineCall[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(SUFFIX));
  const journals = await Promise.all(
    files.map(async (file) => parseJournal(await readFile(join(folder, file), 'utf8'), basename(file, SUFFIX))),
  );
  return journals.flat();
}

/** Parses the calls of a journal. */
export function parseJournal(journal: string, start: string): EngineCall[] {
  const calls = new Map<number, EngineCall>();
  for (const text of journal.split('\n')) {
    const line = parseLine(text);
    const known = line === undefined ? undefined : calls.get(line.call);
    if (line?.kind === 'begun') calls.set(line.call, startCall(start, line));
    else if (line?.kind === 'worked' && known !== undefined)
      calls.set(line.call, { ...known, ...fromTuple(line.work) });
    else if (line?.kind === 'ended' && known !== undefined) {
      const end = line.whole ? 'whole' : 'closed';
      calls.set(line.call, { ...known, ...fromTuple(line.work), end, endedAt: line.at });
    }
  }
  return [...calls.values()];
}

function startCall(start: string, { call, at, job }: Extract<Line, { kind: 'begun' }>): EngineCall {
  return { start, call, job, startedAt: at, end: 'dead', endedAt: undefined, ...fromTuple([0, 0, 0, 0]) };
}

/** Returns undefined for the incomplete last line of a killed process. */
function parseLine(text: string): Line | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), lineSchema), text);
  return result.success ? result.output : undefined;
}

function toTuple({
  promptTokens,
  cachedTokens,
  computedTokens,
  generatedTokens,
}: Work): [number, number, number, number] {
  return [promptTokens, cachedTokens, computedTokens, generatedTokens];
}

function fromTuple([promptTokens, cachedTokens, computedTokens, generatedTokens]: readonly [
  number,
  number,
  number,
  number,
]): Work {
  return { promptTokens, cachedTokens, computedTokens, generatedTokens };
}
