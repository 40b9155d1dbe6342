import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CLIENTS, EXPECTED_REFUSALS, KNOWN_FAILURES } from '../clients/clients.ts';
import type { Check } from '../clients/drivers.ts';
import { decide } from '../clients/model/decide.ts';
import { refuseBeyond } from '../clients/model/limits.ts';
import { compareWithFull, judge, summarize, writeResults } from '../clients/report.ts';
import { FULL_KIND, KINDS } from '../clients/targets.ts';
import { readVersions } from '../clients/versions.ts';
import { watchService } from '../clients/watch.ts';
import { startUpstream } from '../upstreams/openai-upstream.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (file: string): Promise<string> => readFile(join(ROOT, file), 'utf8');

describe('the matrix of clients', () => {
  it('docs/clients.md has each client with the version that is installed', async () => {
    const [page, versions] = await Promise.all([read('docs/clients.md'), readVersions()]);
    for (const { name } of CLIENTS) expect(page).toContain(`| ${name} | ${versions[name]} |`);
  });

  it('docs/clients.md has a column for each kind of target, and the date of the last run', async () => {
    const page = await read('docs/clients.md');
    expect(page).toContain(`| client | version | ${KINDS.join(' | ')} |`);
    const [, date = ''] = /^Last run on (\d{4}-\d\d-\d\d) /m.exec(page) ?? [];
    expect(Date.parse(date)).toBeLessThanOrEqual(Date.now());
  });

  it('docs/clients.md gives the reason of each check that fails', async () => {
    const page = await read('docs/clients.md');
    for (const { reason } of KNOWN_FAILURES) expect(page).toContain(reason);
  });

  it('each exception names a client of the matrix and a reason', () => {
    for (const { client, reason } of [...KNOWN_FAILURES, ...EXPECTED_REFUSALS]) {
      expect(CLIENTS.map(({ name }) => name)).toContain(client);
      expect(reason).not.toBe('');
    }
  });
});

describe('writeResults', () => {
  const page = ['Before.', '<!-- results -->', 'old', '<!-- /results -->', 'After.'].join('\n');
  const client = { ...(CLIENTS[0] ?? expect.unreachable()), name: 'One' };
  const cells = KINDS.map((kind) => judge(client, kind, { checks: [{ check: 'a' }, { check: 'b' }] }));

  it('the table of the page has the version and the passed checks of each client, and the date', () => {
    const written = writeResults(page, [client], cells, { versions: { One: '1.2.3' }, date: '2026-11-30' });
    expect(written).toMatch(/^Before\.\n<!-- results -->\n\nLast run on 2026-11-30 /);
    expect(written).toContain(`| One | 1.2.3 |${' 2 |'.repeat(KINDS.length)}`);
    expect(written).toMatch(/<!-- \/results -->\nAfter\.$/);
  });

  it('the table says how many of the checks passed, and below it why others did not', () => {
    const known = [{ client: 'One', kinds: [KINDS[1]], checks: ['b'], reason: 'it has no b' }];
    const cell = judge(
      client,
      KINDS[1],
      { checks: [{ check: 'a' }, { check: 'b', error: 'no' }] },
      { failures: known },
    );
    const written = writeResults(page, [client], [cell], { versions: {}, date: '2026-11-30' });
    expect(written).toContain('| 1 of 2 |');
    expect(written).toContain(`- One, ${KINDS[1]}: b. It has no b.`);
  });
});

describe('judge', () => {
  const client = CLIENTS[0] ?? expect.unreachable();
  const known = [{ client: client.name, kinds: ['guide' as const], checks: ['chat'], reason: 'not yet' }];
  const refusal = { request: 'POST /v1/responses', status: 503, body: 'overloaded' };

  it('a check that fails is a problem, with its error', () => {
    const checks = [{ check: 'tools', error: 'no' }, { check: 'answer' }];
    const cell = judge(client, 'guide', { checks }, { failures: [] });
    expect(summarize(cell)).toBe('1 of 2 FAILED');
    expect(cell.problems).toEqual(['tools: no']);
  });

  it('a check that is known to fail with this kind of target is no problem', () => {
    const checks = [{ check: 'chat: tools', error: 'no' }];
    const cell = judge(client, 'guide', { checks }, { failures: known });
    expect(cell.problems).toEqual([]);
    expect(summarize(cell)).toBe('0 of 1 (known)');
    expect(judge(client, 'claude', { checks }, { failures: known }).problems).toEqual(['chat: tools: no']);
  });

  it('known failures that pass are named, so that the entry is removed', () => {
    const judgeOutdated = (checks: readonly Check[]) =>
      judge(client, 'guide', { checks }, { failures: known }).outdated;
    expect(judgeOutdated([{ check: 'chat: tools' }])).toEqual(['chat']);
    expect(judgeOutdated([{ check: 'chat: tools', error: 'no' }])).toEqual([]);
  });

  it('an error status is a problem although all checks pass, because the client may have repeated the request', () => {
    const results = { checks: [{ check: 'answer' }], refusals: [refusal] };
    expect(judge(client, 'guide', results).problems).toEqual(['POST /v1/responses was answered 503: overloaded']);
  });

  it('an error status that the client expects is no problem', () => {
    const results = { checks: [{ check: 'answer' }], refusals: [refusal] };
    const expected = { client: client.name, request: refusal.request, status: 503, text: 'load', reason: 'it is' };
    expect(judge(client, 'guide', results, { refusals: [expected] }).problems).toEqual([]);
    expect(judge(client, 'guide', results, { refusals: [{ ...expected, text: 'other' }] }).problems).toHaveLength(1);
  });
});

describe('compareWithFull', () => {
  const client = CLIENTS[0] ?? expect.unreachable();
  const full = judge(client, FULL_KIND, { checks: [{ check: 'a' }, { check: 'b' }] });

  it('a check that passes with a target that can do everything must be run with every target', () => {
    const less = judge(client, 'nova', { checks: [{ check: 'a' }] });
    expect(compareWithFull([full, less]).map(({ problems }) => problems)).toEqual([[], ['b: was not run']]);
  });

  it('a check that fails or has a reason to be missing is not reported again', () => {
    const failing = judge(client, 'nova', { checks: [{ check: 'a' }, { check: 'b', error: 'no' }] });
    const failures = [{ client: client.name, kinds: ['qwen' as const], checks: ['b'], reason: 'it has no b' }];
    const known = judge(client, 'qwen', { checks: [{ check: 'a' }] }, { failures });
    expect(compareWithFull([full, failing, known]).map(({ problems }) => problems)).toEqual([[], ['b: no'], []]);
  });
});

describe('watchService', () => {
  it('requests and answers pass unchanged, and error statuses are recorded', async () => {
    await using upstream = await startUpstream(({ path, text }) =>
      path === '/v1/bad'
        ? { status: 429, headers: { 'retry-after': '7' }, body: 'slow down' }
        : { body: `got ${text}` },
    );
    await using watch = await watchService(upstream.baseUrl);
    const good = await fetch(`${watch.url}/good?a=b`, { method: 'POST', body: 'hello', headers: { 'x-key': 'k' } });
    expect(await good.text()).toBe('got hello');
    expect(upstream.requests[0]).toMatchObject({ path: '/v1/good?a=b', headers: { 'x-key': 'k' } });
    const bad = await fetch(`${watch.url}/bad`);
    expect([bad.status, bad.headers.get('retry-after'), await bad.text()]).toEqual([429, '7', 'slow down']);
    expect(watch.refusals).toEqual([{ request: 'GET /v1/bad', status: 429, body: 'slow down' }]);
    expect(watch.counts).toEqual(
      new Map([
        ['POST /v1/good', 1],
        ['GET /v1/bad', 1],
      ]),
    );
  });
});

describe('refuseBeyond', () => {
  it('an upstream refuses what its capabilities lack, and answers other requests', async () => {
    const script = refuseBeyond(['tools'], () => ({ body: 'answer' }));
    const send = async (body: object): Promise<unknown> => {
      const reply = await script({ ...REQUEST, body }, 0);
      return reply === 'cut' ? reply : (reply.status ?? 200);
    };
    const strict = { type: 'function', function: { name: 'f', strict: true } };
    expect(await send({ messages: [], tools: [{ type: 'function', function: { name: 'f' } }] })).toBe(200);
    for (const body of [
      { tools: [strict] },
      { parallel_tool_calls: false },
      { response_format: { type: 'json_schema', json_schema: { schema: {} } } },
      { reasoning_effort: 'low' },
      { verbosity: 'low' },
      { messages: [{ role: 'user', name: 'Ada', content: '' }] },
    ])
      expect(await send(body)).toBe(400);
  });
});

const REQUEST = {
  method: 'POST',
  path: '/v1/chat/completions',
  headers: {},
  text: '',
  connection: 0,
  closedEarly: Promise.resolve(false),
};

describe('the scripted model', () => {
  const shell = {
    name: 'Bash',
    schema: { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] },
  };
  const user = { role: 'user', text: 'Run the command: echo lambent-$((6*7))' } as const;

  it('the scripted model calls the tool for shell commands, whichever is first', () => {
    const other = { name: 'read_file', schema: { type: 'object' } };
    expect(decide({ messages: [user], tools: [other, shell] })).toEqual({
      calls: [{ name: 'Bash', arguments: { command: 'echo lambent-$((6*7))' } }],
    });
  });

  it('the scripted model reports only what a tool has printed, also in later turns', () => {
    const messages = [user, { role: 'assistant', text: '' }, { role: 'tool', text: 'lambent-42\n' }] as const;
    expect(decide({ messages, tools: [shell] })).toEqual({ text: 'The command printed lambent-42.' });
    const later = [
      ...messages,
      { role: 'assistant', text: 'Done.' },
      { role: 'user', text: 'What did the command print?' },
    ] as const;
    expect(decide({ messages: later, tools: [shell] })).toEqual({ text: 'It had printed lambent-42.' });
  });

  it('the scripted model says nothing of a command whose result it does not have', () => {
    const messages = [
      user,
      { role: 'assistant', text: '' },
      { role: 'user', text: 'What did the command print?' },
    ] as const;
    expect(decide({ messages, tools: [shell] })).toEqual({ text: 'It had printed nothing that I can see.' });
  });

  it('the scripted model does a task step by step, with the tools that the client has', () => {
    const path = { type: 'object', properties: { file_path: { type: 'string' } }, required: ['file_path'] };
    const edits = { ...path.properties, old_string: { type: 'string' }, new_string: { type: 'string' } };
    const tools = [
      { name: 'Read', schema: path },
      { name: 'Edit', schema: { type: 'object', properties: edits } },
      shell,
    ];
    const text =
      'Do the task in /w: read a.txt and b.txt, replace draft by final in the first, then run the command: date';
    const task = { role: 'user', text } as const;
    const round = (result: string) => [
      { role: 'assistant' as const, text: '' },
      { role: 'tool' as const, text: result },
      // Programs add reminders to results.
      { role: 'user' as const, text: 'Remember to be brief.' },
    ];
    const rounds = [round('lambent-1'), round('edited'), round('lambent-2')];
    const answers = [0, 1, 2, 3].map((count) => decide({ messages: [task, ...rounds.slice(0, count).flat()], tools }));
    expect(answers).toEqual([
      {
        calls: [
          { name: 'Read', arguments: { file_path: '/w/a.txt' } },
          { name: 'Read', arguments: { file_path: '/w/b.txt' } },
        ],
      },
      { calls: [{ name: 'Edit', arguments: { file_path: '/w/a.txt', old_string: 'draft', new_string: 'final' } }] },
      { calls: [{ name: 'Bash', arguments: { command: 'date' } }] },
      { text: 'The command printed lambent-1 and lambent-2.' },
    ]);
  });

  it('the scripted model calls one tool at a time where it may call only one', () => {
    const tools = [{ name: 'get_weather', schema: { type: 'object' } }];
    const question = { role: 'user', text: 'How is the weather in Paris and Rome?' } as const;
    const paris = { name: 'get_weather', arguments: { city: 'Paris' } };
    const rome = { name: 'get_weather', arguments: { city: 'Rome' } };
    expect(decide({ messages: [question], tools })).toEqual({ calls: [paris, rome] });
    expect(decide({ messages: [question], tools, isParallel: false })).toEqual({ calls: [paris] });
    const answered = [question, { role: 'assistant', text: '' }, { role: 'tool', text: 'Sunny in Paris' }] as const;
    expect(decide({ messages: answered, tools, isParallel: false })).toEqual({ calls: [rome] });
  });

  it('the scripted model answers by a schema that is in the prompt', () => {
    const schema = { type: 'object', properties: { age: { type: 'integer' } }, required: ['age'] };
    const instructions = `Answer with one JSON value that matches this JSON schema.\n${JSON.stringify(schema)}`;
    expect(decide({ messages: [{ role: 'user', text: 'A person' }], tools: [], instructions })).toEqual({
      text: '{"age":1}',
    });
  });
});
