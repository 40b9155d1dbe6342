/**
 * Client process that sends each request at its scheduled time: `node post-client.ts <PostLoad as JSON>` prints
 * `PostResult[]` as JSON.
 */
import { Agent, request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PostLoad, PostResult } from './posts.ts';

const { url, headers, body, perSecond, seconds } = JSON.parse(process.argv[2] ?? '') as PostLoad;
const agent = new Agent({ keepAlive: true });
/** A short delay, so that the first request is as punctual as the others. */
const startAt = now() + 200;

function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Sends a request at `dueAt`. */
async function post(dueAt: number): Promise<PostResult> {
  await sleep(Math.max(0, dueAt - now()));
  const outcome = await sendRequest().catch((error: Error & { code?: string }) => ({
    refusal: error.code ?? 'no answer',
  }));
  return { dueAt, answeredAt: now(), ...outcome };
}

function sendRequest(): Promise<Pick<PostResult, 'id' | 'refusal'>> {
  const length = String(Buffer.byteLength(body));
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent, headers: { 'content-length': length, ...headers } };
    const request = httpRequest(new URL(url), options, (response) => {
      const { statusCode = 0, headers: answered } = response;
      text(response).then((json) => resolve(toOutcome(statusCode, answered['x-amzn-errortype'], json)), reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** API Gateway puts the type of its own errors into a header; all other errors have a code in the body. */
function toOutcome(status: number, gatewayType: string | string[] | undefined, json: string) {
  const answer = parseBody(json);
  if (status === 200 && answer.id !== undefined) return { id: answer.id };
  return { refusal: `${status} ${gatewayType ?? answer.error?.code ?? ''}`.trimEnd() };
}

function parseBody(json: string): { readonly id?: string; readonly error?: { readonly code?: string } } {
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}

const dueAts = Array.from({ length: perSecond * seconds }, (_, index) => startAt + (index * 1000) / perSecond);
const posted = await Promise.all(dueAts.map(post));
process.stdout.write(JSON.stringify(posted), () => process.exit(0));
