import type { Readable } from 'node:stream';

/** The metadata that a streaming function sends before the body. */
interface Head {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
}

/** Eight NUL bytes between the head, which is JSON, and the body. */
const END_OF_HEAD = Buffer.alloc(8);

/** Splits a streaming function's response into its head, which the first result carries, and the chunks of its body. */
export async function* splitHead(answer: Readable): AsyncGenerator<{ head?: Head; bytes: Buffer }> {
  let start: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    if (start === undefined) {
      yield { bytes: chunk };
      continue;
    }
    start = Buffer.concat([start, chunk]);
    const end = start.indexOf(END_OF_HEAD);
    if (end === -1) continue;
    const head = JSON.parse(start.toString('utf8', 0, end)) as Head;
    yield { head, bytes: start.subarray(end + END_OF_HEAD.length) };
    start = undefined;
  }
}
