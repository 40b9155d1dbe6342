import assert from 'node:assert/strict';

/** Where the driver sends its requests; set by `run.ts`. */
export const baseURL = read('LAMBENT_URL');
export const apiKey = read('LAMBENT_KEY');
/** True if the built-in guide answers, which is not a language model. */
export const isGuide = read('LAMBENT_KIND') === 'guide';

function read(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: start the driver with npm run clients`);
  return value;
}

/** What the drivers ask, and the answers that they expect of the scripted model (`model/decide.ts`) or the guide. */
export const HELLO = { prompt: 'Hello', answer: isGuide ? /not a language model/ : /^You said: Hello$/ };
export const WEATHER = { prompt: 'How is the weather in Paris?', answer: isGuide ? /don't call tools/ : /sunny/ };
export const CITIES = {
  prompt: 'How is the weather in Paris and Rome?',
  answer: isGuide ? /don't call tools/ : /sunny in Paris.*sunny in Rome/s,
};
export const BEFORE = { prompt: 'What did I say before?', answer: isGuide ? /\w/ : /^Before, you said: Hello$/ };
/** The answer to `HELLO.prompt` from a user of the name Ada. */
export const NAMED = { name: 'Ada', answer: isGuide ? /not a language model/ : /^You said: Ada: Hello$/ };

/** Runs a check and prints its result as a line of JSON, which `run.ts` reads. */
export async function check(name: string, run: () => Promise<void>): Promise<void> {
  const error = await run().then(
    () => undefined,
    (cause: unknown) => (cause instanceof Error ? cause.message : String(cause)),
  );
  console.log(JSON.stringify({ check: name, ...(error === undefined ? {} : { error }) }));
}

/** Throws unless the text is the expected one. */
export function expectText(text: string | null | undefined, expected: RegExp): void {
  assert.match(text ?? '', expected);
}

/** Joins the pieces of a stream. */
export async function join<T>(
  stream: AsyncIterable<T>,
  read: (piece: T) => string | null | undefined,
): Promise<string> {
  let text = '';
  for await (const piece of stream) text += read(piece) ?? '';
  return text;
}
