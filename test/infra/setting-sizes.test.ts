import { expect, it } from 'vitest';
import { makeSettings } from './make-settings.ts';
import { findByType, packageStage } from './packaged.ts';

/** Returns a list without its last value as soon as its text is longer than `length` characters. */
function fill<T>(length: number, make: (index: number) => T): T[] {
  const list: T[] = [];
  while (JSON.stringify(list).length <= length) list.push(make(list.length));
  return list.slice(0, -1);
}

const makeQueue = (index: number): [alias: string, url: string] => [
  `queue-${index}`,
  `https://sqs.ap-southeast-1.amazonaws.com/123456789012/answers-${index}`,
];
const makeRole = (index: number) => `arn:aws:iam::222222222222:role/senders/team-${index}`;
const makeTopic = (index: number) => `arn:aws:sns:ap-southeast-1:123456789012:${'x'.repeat(100)}${index}`;
const makeKey = (index: number) =>
  `arn:aws:kms:ap-southeast-1:333333333333:key/11111111-2222-3333-4444-${String(index).padStart(12, '0')}`;

it.each([
  ['without external keys', 0, 2_880],
  ['with as many external keys as possible', 30, 590],
])('as many reply queues as the settings allow fit into variables and policies: %s', async (_, keys, length) => {
  const queues = fill(length, makeQueue);
  const format = (list: typeof queues) => JSON.stringify(Object.fromEntries(list));
  const externalKeys = Array.from({ length: keys }, (_each, index) => makeKey(index)).join(',');
  const args = [`replyQueues=${format(queues)}`, ...(keys === 0 ? [] : [`externalKeys=${externalKeys}`])];
  const template = await packageStage(...args.flatMap((arg) => ['--param', arg]));
  const functions = findByType(template, 'AWS::Lambda::Function');
  const variables = functions.map(({ properties }) =>
    JSON.stringify(Object(properties['Environment']).Variables ?? {}),
  );
  expect(variables.filter((each) => each.includes('answers-0'))).toHaveLength(6);
  for (const each of variables) expect(each.length).toBeLessThan(4_000);
  for (const { id, properties } of findByType(template, 'AWS::IAM::Role')) {
    const policies = [properties['Policies'] ?? []].flat();
    const characters = policies.map((policy) => JSON.stringify(Object(policy).PolicyDocument ?? '').length);
    expect(
      characters.reduce((sum, each) => sum + each, 0),
      id,
    ).toBeLessThan(10_240);
  }
  const tooMany = [...queues, ...fill(600, (index) => makeQueue(queues.length + index))];
  expect(() => makeSettings({ replyQueues: format(tooMany), externalKeys })).toThrow(
    /replyQueues and externalKeys have \d+ bytes together, above 3000/,
  );
});

it('as many senders as the settings allow fit into the policy of the queue', async () => {
  const principals = Array.from({ length: 47 }, (_, index) => String(222222222000 + index));
  const sources = fill(6_500 - JSON.stringify(principals).length, makeTopic);
  const [senderPrincipals, senderSources] = [principals.join(','), sources.join(',')];
  const template = await packageStage(
    ...['--param', `senderSources=${senderSources}`, '--param', `senderPrincipals=${senderPrincipals}`],
  );
  const policies = findByType(template, 'AWS::SQS::QueuePolicy');
  const policy = policies.find(({ id }) => id === 'GenerationQueuePolicy')?.properties['PolicyDocument'];
  const expanded = JSON.stringify(policy)
    .replaceAll(
      /\{"Fn::GetAtt":\["GenerationQueue","Arn"\]\}/g,
      `"arn:aws:sqs:ap-southeast-1:123456789012:${'x'.repeat(80)}"`,
    )
    // IAM names an account by its root user.
    .replaceAll(/"(\d{12})"/g, '"arn:aws:iam::$1:root"');
  expect(expanded).toContain(':root');
  expect(expanded.length).toBeLessThan(8_192);
  const more = { senderSources, senderPrincipals: [...principals, makeRole(0)].join(',') };
  expect(() => makeSettings(more)).toThrow('senderPrincipals can name at most 47 identities');
  const larger = { senderSources: [...sources, makeTopic(99)].join(','), senderPrincipals };
  expect(() => makeSettings(larger)).toThrow(
    /senderSources and senderPrincipals have \d+ bytes together, above 6500: the policy/,
  );
});
