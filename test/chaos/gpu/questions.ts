import type { Questions } from '../questions.ts';
import type { EngineCall } from './engine-call.ts';

/** The alias of the workers' model. */
export const MODEL = 'gpu';

/** Number of shared prompt prefixes, so that placement by cache matters. */
const PREAMBLES = 12;
const PREAMBLE_WORDS = 400;
/** Maximum of additional words of a question, which the engine echoes. */
const WORDS = 24;

/** Returns a question that names its number, such as `job 17. …`. Its length depends on the number. */
export function createQuestion(kind: 'job' | 'chat', number: number): string {
  const words = Array.from({ length: 4 + ((number * 7) % WORDS) }, (_, index) => `w${(number + index) % 97}`);
  return `${kind} ${number}. ${words.join(' ')}`;
}

/** Returns the prompt prefix that comes before the question with this number. */
export function createPreamble(number: number): string {
  const which = number % PREAMBLES;
  return Array.from({ length: PREAMBLE_WORDS }, (_, index) => `p${which}x${index}`).join(' ');
}

/** Returns the number of a job's question, or undefined for another question. */
export function parseJobNumber(question: string): number | undefined {
  const found = /^job (\d+)\. /.exec(question)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Returns the end of an answer's text, which names its call. */
export const createSignature = (start: string, call: number): string => ` #${start}/${call}`;

/** Returns the call that an answer names, or undefined if the text is not a complete answer to the question. */
export function parseSignature(
  text: string,
  question: string,
): { readonly start: string; readonly call: number } | undefined {
  const end = text.lastIndexOf(`“${question}”`);
  if (end === -1) return undefined;
  const [, start, call] = /^ #(\S+)\/(\d+)$/.exec(text.slice(end + question.length + 2)) ?? [];
  return start === undefined ? undefined : { start, call: Number(call) };
}

/**
 * Returns the questions for GPU workers.
 * @param calls returns all calls to workers, after the run
 */
export function createGpuQuestions(calls: () => readonly EngineCall[]): Questions {
  return {
    kind: (job) => (job % 8 === 0 ? 'repeated' : 'plain'),
    body: (job) => ({ model: MODEL, instructions: createPreamble(job), input: createQuestion('job', job) }),
    isAnswer(job, text) {
      const named = parseSignature(text, createQuestion('job', job));
      return calls().some(
        (each) => each.start === named?.start && each.call === named.call && each.job === job && each.end === 'whole',
      );
    },
  };
}
