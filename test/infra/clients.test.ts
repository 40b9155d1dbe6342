import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CLIENTS, KNOWN_FAILURES } from '../clients/clients.ts';
import { decide } from '../clients/model/decide.ts';
import { judge } from '../clients/report.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (file: string): Promise<string> => readFile(join(ROOT, file), 'utf8');

describe('the matrix of clients', () => {
  it('docs/clients.md has each client with the version that is installed', async () => {
    const [page, node, programs, python, go] = await Promise.all([
      read('docs/clients.md'),
      read('test/clients/package.json'),
      read('test/clients/programs/package.json'),
      read('test/clients/python/requirements.txt'),
      read('test/clients/go/go.mod'),
    ]);
    const npm: Record<string, string> = { ...JSON.parse(node).dependencies, ...JSON.parse(programs).dependencies };
    for (const { name, package: id, runtime } of CLIENTS) {
      const pinned = {
        node: npm[id],
        program: npm[id],
        python: new RegExp(`^${id}==(\\S+)`, 'm').exec(python)?.[1],
        go: new RegExp(`${id} v(\\S+)`).exec(go)?.[1],
      }[runtime];
      expect(page).toContain(`| ${name} | ${pinned} |`);
    }
  });

  it('each known failure names a client of the matrix and a reason', () => {
    for (const { client, reason } of KNOWN_FAILURES) {
      expect(CLIENTS.map(({ name }) => name)).toContain(client);
      expect(reason).not.toBe('');
    }
  });
});

describe('judge', () => {
  const client = CLIENTS[0] ?? expect.unreachable();
  const known = [{ client: client.name, kinds: ['guide' as const], checks: ['chat'], reason: 'not yet' }];

  it('a check that fails is a problem, with its error', () => {
    const { summary, problems } = judge(client, 'guide', [{ check: 'tools', error: 'no' }, { check: 'answer' }], []);
    expect({ summary, problems }).toEqual({ summary: '1 of 2 FAILED', problems: ['tools: no'] });
  });

  it('a check that is known to fail with this kind of target is no problem', () => {
    const checks = [{ check: 'chat: tools', error: 'no' }];
    expect(judge(client, 'guide', checks, known)).toMatchObject({ summary: '0 of 1 (known)', problems: [] });
    expect(judge(client, 'bedrock', checks, known).problems).toEqual(['chat: tools: no']);
  });

  it('known failures that pass are named, so that the entry is removed', () => {
    expect(judge(client, 'guide', [{ check: 'chat: tools' }], known).outdated).toEqual(['chat']);
    expect(judge(client, 'guide', [{ check: 'chat: tools', error: 'no' }], known).outdated).toEqual([]);
  });
});

describe('the scripted model', () => {
  const shell = {
    name: 'Bash',
    schema: { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] },
  };
  const user = { role: 'user', text: 'Run the command: echo lambent-$((6*7))' } as const;

  it('the scripted model calls the tool for shell commands, whichever is first', () => {
    const other = { name: 'read_file', schema: { type: 'object' } };
    expect(decide({ messages: [user], tools: [other, shell] })).toEqual({
      call: { name: 'Bash', arguments: { command: 'echo lambent-$((6*7))' } },
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
});
