import type { Questions } from '../questions.ts';
import type { EngineCall } from './engine-call.ts';

/** The alias of the workers' model. */
export const MODEL = 'gpu';

/** Beginnings that prompts share, so that it matters which worker has them in its cache. */
const PREAMBLES = 12;
const PREAMBLE_WORDS = 400;
/** Words of a question, which the stand-in gives back: at most, and by how many they differ. */
const WORDS = 24;

/** `job 17. …`: what is asked, long or short by the number, always the same for the same one. */
export function questionOf(kind: 'job' | 'chat', number: number): string {
  const words = Array.from({ length: 4 + ((number * 7) % WORDS) }, (_, index) => `w${(number + index) % 97}`);
  return `${kind} ${number}. ${words.join(' ')}`;
}

/** What stands before a question. */
export function preambleOf(number: number): string {
  const which = number % PREAMBLES;
  return Array.from({ length: PREAMBLE_WORDS }, (_, index) => `p${which}x${index}`).join(' ');
}

/** The number of the job that a question is of; undefined for any other question. */
export function jobOf(question: string): number | undefined {
  const found = /^job (\d+)\. /.exec(question)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Ends an answer's text: which of all calls of the run it came from. */
export const signatureOf = (start: string, call: number): string => ` #${start}/${call}`;

/** Whether a text ends as a whole answer to a question does, and which call it says that it came from. */
export function callNamedIn(
  text: string,
  question: string,
): { readonly start: string; readonly call: number } | undefined {
  const end = text.lastIndexOf(`“${question}”`);
  if (end === -1) return undefined;
  const [, start, call] = /^ #(\S+)\/(\d+)$/.exec(text.slice(end + question.length + 2)) ?? [];
  return start === undefined ? undefined : { start, call: Number(call) };
}

/**
 * Questions to GPU workers.
 * @param calls all that the workers got, when they are over
 */
export function gpuQuestions(calls: () => readonly EngineCall[]): Questions {
  return {
    body: (job) => ({ model: MODEL, instructions: preambleOf(job), input: questionOf('job', job) }),
    answers(job, text) {
      const named = callNamedIn(text, questionOf('job', job));
      return calls().some(
        (each) => each.start === named?.start && each.call === named.call && each.job === job && each.end === 'whole',
      );
    },
  };
}
