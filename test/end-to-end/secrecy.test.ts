import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventsOf } from '../upstreams/reply.ts';
import { type Service, startService } from './service.ts';

const CANARY = 'canary-5e1f7a';

let service: Service;
beforeAll(async () => {
  service = await startService({
    environment: { LOG_LEVEL: 'debug', UPSTREAM_KEY: `${CANARY}-upstream-key` },
    script: ({ text }) => {
      if (text.includes('please fail')) return { status: 400, body: { error: { message: `${CANARY} was refused` } } };
      if (text.includes('please break')) return { status: 500, body: `${CANARY} broke` };
      if (text.includes('please cut')) return eventsOf([{ choices: [{ delta: { content: CANARY } }] }], 'cut');
      return {
        body: { choices: [{ message: { role: 'assistant', content: `${CANARY}-answer` }, finish_reason: 'stop' }] },
      };
    },
  });
});
afterAll(() => service[Symbol.asyncDispose]());

/** Sends a request with the canary wherever content can be, and returns its status and text. */
async function ask(content: string, more: object = {}, key = 'sk-local'): Promise<string> {
  const answer = await fetch(`${service.cloud.url}/chat/completions?${CANARY}=1`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'x-trace': CANARY },
    body: JSON.stringify({
      model: 'compatible',
      messages: [
        { role: 'system', content: CANARY },
        { role: 'user', content: `${content} ${CANARY}` },
      ],
      user: CANARY,
      ...more,
    }),
  });
  return `${answer.status} ${await answer.text()}`;
}

describe('what is said', () => {
  test('is in no log: not in prompts, answers, errors, keys or headers', async () => {
    expect(await ask('answer me')).toContain(`${CANARY}-answer`);
    expect(await ask('please fail')).toContain('400');
    expect(await ask('please break')).toContain('503');
    expect(await ask('please cut', { stream: true })).toContain('"error"');
    expect(await ask('unknown field', { [CANARY]: CANARY })).toContain('400');
    expect(await ask('unknown model', { model: CANARY })).toContain('404');
    expect(await ask('wrong key', {}, `sk-${CANARY}`)).toContain('401');
    await fetch(`${service.cloud.url}/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
      body: `{"${CANARY}": ${CANARY}`,
    });
    const logged = service.logs.join('\n');
    // The lines are there: every request above has left one.
    expect(logged.match(/"message":"request"/g)?.length).toBeGreaterThanOrEqual(7);
    expect(logged).not.toContain(CANARY);
    expect(logged).not.toContain('sk-local');
  });
});
