import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { EVERYTHING, FUNCTIONS, findByType, listFunctions, packageStage } from './packaged.ts';

let minimal: Template;
let everything: Template;
beforeAll(async () => {
  [minimal, everything] = await Promise.all([packageStage(), packageStage(...EVERYTHING)]);
});

describe('the functions', () => {
  it('the functions run their own bundles on Node 24 and arm64', () => {
    expect(listFunctions(minimal).map(({ name }) => name)).toEqual(FUNCTIONS);
    for (const { name, properties } of listFunctions(minimal)) {
      expect(properties).toMatchObject({
        Runtime: 'nodejs24.x',
        Architectures: ['arm64'],
        Handler: `.build/${name}/index.handler`,
      });
    }
  });

  it('the functions have one role each', () => {
    const roles = listFunctions(minimal).map(({ properties }) => JSON.stringify(properties['Role']));
    expect(new Set(roles).size).toBe(FUNCTIONS.length);
    expect(findByType(minimal, 'AWS::IAM::Role')).toHaveLength(FUNCTIONS.length);
  });

  it('the functions write to their own log groups, which are created before them and keep 30 days', () => {
    for (const template of [minimal, everything]) {
      for (const { id, name } of listFunctions(template)) {
        const group = id.replace('LambdaFunction', 'LogGroup');
        expect(template.Resources[group]?.Properties?.['LogGroupName']).toMatch(
          new RegExp(`^/aws/lambda/lambent-\\w+-${name}$`),
        );
        expect(template.Resources[id]?.DependsOn).toContain(group);
      }
      for (const { properties } of findByType(template, 'AWS::Logs::LogGroup'))
        expect(properties['RetentionInDays']).toBe(String(properties['LogGroupName']).endsWith('-record') ? 400 : 30);
    }
  });

  it('the functions reserve no concurrency, because an account may have only 10 executions', () => {
    for (const { properties } of listFunctions(minimal))
      expect(properties).not.toHaveProperty('ReservedConcurrentExecutions');
  });

  it('only the functions that work on tickets may be invoked by messages that they cause', () => {
    const allowed = listFunctions(minimal).filter(({ properties }) => properties['RecursiveLoop'] !== undefined);
    expect(allowed.map(({ name, properties }) => [name, properties['RecursiveLoop']])).toEqual([
      ['generate', 'Allow'],
      ['dispatch', 'Allow'],
    ]);
  });

  it('the timeout of chat exceeds the longest timeout in models.json', () => {
    const file = join(import.meta.dirname, '../../models.json');
    const { models } = parseModelRegistry(readFileSync(file, 'utf8'), file);
    const longestMs = Math.max(...Object.values(models).map(({ timeoutMs }) => timeoutMs));
    const chat = listFunctions(minimal).find(({ name }) => name === 'chat');
    expect(Number(chat?.properties['Timeout']) * 1000).toBeGreaterThanOrEqual(longestMs + 10_000);
    expect(Number(chat?.properties['Timeout'])).toBeLessThanOrEqual(900);
  });

  it('the functions have exactly the environment variables that they read', () => {
    const listVariables = (template: Template) =>
      Object.fromEntries(
        listFunctions(template).map(({ name, properties }) => [name, Object(properties['Environment']).Variables]),
      );
    const sealed = { KMS_KEY_ID: { 'Fn::GetAtt': ['VaultKey', 'Arn'] }, KEYS_TABLE: 'lambent-dev-keys' };
    const sessions = { SESSIONS_TABLE: 'lambent-dev-sessions' };
    const jobs = { ...sealed, JOBS_TABLE: 'lambent-dev-jobs', JOB_SHARDS: '4', BUCKET: { Ref: 'Bucket' } };
    const queue = { JOBS_QUEUE_URL: { Ref: 'JobsQueue' }, GPU_QUEUE_URL: { Ref: 'GpuQueue' } };
    const work = { ...queue, JOBS_DLQ_URL: { Ref: 'JobsDlq' }, REPLY_QUEUES: '{}', RETENTION_DAYS: '30' };
    const access = { ACCESS_TABLE: 'lambent-dev-access' };
    const fleet = { FLEET_TABLE: 'lambent-dev-fleet' };
    const limits = { LIMITS_TABLE: 'lambent-dev-limits' };
    const limited = { ...limits, LIMITS_OUTAGE: 'refuse' };
    const lifetime = { RETENTION_DAYS: '30', JOB_DEADLINE_HOURS: '24' };
    expect(listVariables(minimal)).toEqual({
      authorize: {
        LOG_LEVEL: 'info',
        ...access,
        KEYS_TABLE: 'lambent-dev-keys',
        KEY_TTL_SECONDS: '30',
        CUSTOM_KEYS: 'false',
      },
      chat: { LOG_LEVEL: 'info', CORS_ORIGIN: '', ...jobs, ...sessions, ...queue, ...fleet, ...limited, ...lifetime },
      embeddings: { LOG_LEVEL: 'info', CORS_ORIGIN: '', ...fleet, ...limited },
      sessions: { LOG_LEVEL: 'info', CORS_ORIGIN: '', ...jobs, ...sessions, ...limited, RETENTION_DAYS: '30' },
      responses: { LOG_LEVEL: 'info', CORS_ORIGIN: '', ...jobs, ...limited, REPLY_QUEUES: '{}' },
      token: { LOG_LEVEL: 'info', CORS_ORIGIN: '', KEYS_TABLE: 'lambent-dev-keys', ...access },
      admin: {
        LOG_LEVEL: 'info',
        CORS_ORIGIN: '',
        ACCESS_TABLE: 'lambent-dev-access',
        ADMIN_TABLE: 'lambent-dev-admin',
        USAGE_TABLE: 'lambent-dev-usage',
        ...sealed,
        EXTERNAL_KEYS: '',
        DOMAIN_TRUSTSTORE: '',
        REPLY_QUEUES: '{}',
      },
      intake: {
        LOG_LEVEL: 'info',
        ...access,
        ...jobs,
        ...queue,
        GENERATION_QUEUE_URL: { Ref: 'GenerationQueue' },
        GENERATION_DLQ_URL: { Ref: 'GenerationDlq' },
        REPLY_QUEUES: '{}',
        ...limited,
        ...lifetime,
      },
      generate: { LOG_LEVEL: 'info', ...access, ...jobs, ...sessions, ...limited, ...work, JOB_PLACES: '4' },
      dispatch: {
        LOG_LEVEL: 'info',
        ...access,
        ...jobs,
        ...sessions,
        ...limited,
        ...work,
        ...fleet,
        GPU_DLQ_URL: { Ref: 'GpuDlq' },
        JOB_PLACES: '10',
      },
      fleet: {
        LOG_LEVEL: 'info',
        ...fleet,
        JOBS_TABLE: 'lambent-dev-jobs',
        JOB_SHARDS_READ: '4',
        GPU_MAPPING_ID: { Ref: 'DispatchEventSourceMappingSQSGpuQueue' },
        GPU_BATCH_SIZE: '10',
        DISPATCH_CONCURRENCY_MAX: '2',
      },
      sweep: {
        LOG_LEVEL: 'info',
        ...access,
        ADMIN_TABLE: 'lambent-dev-admin',
        ...jobs,
        JOB_SHARDS_READ: '4',
        ...sessions,
        ...limits,
        ...work,
      },
      record: {
        LOG_LEVEL: 'info',
        USAGE_TABLE: 'lambent-dev-usage',
        ACCESS_TABLE: 'lambent-dev-access',
        AUDIT_BUCKET: { Ref: 'AuditBucket' },
        AUDIT_KEY_ID: { 'Fn::GetAtt': ['AuditKey', 'Arn'] },
        AUDIT_RETENTION_DAYS: '400',
      },
      warmup: { LOG_LEVEL: 'info', WARM_TARGETS: expect.any(String), WARM_HOLD_MS: '100' },
    });
    expect(listVariables(everything)['chat']).toMatchObject({ CORS_ORIGIN: 'https://app.example.com' });
  });
});

it('the sweep runs every minute', () => {
  const rules = findByType(minimal, 'AWS::Events::Rule').filter(({ id }) => id.startsWith('Sweep'));
  expect(rules.map(({ properties }) => properties['ScheduleExpression'])).toEqual(['rate(1 minute)']);
});
