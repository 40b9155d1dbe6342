import * as v from 'valibot';
import type { Service } from './service.ts';

/** The alias of the only reply queue if the setting `replyQueues` names none. */
const DEFAULT_ALIAS = 'answers';

const VARIABLE = 'REPLY_QUEUES';
const aliasesSchema = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string()));

/**
 * Returns the service with local reply queues: a queue for each alias in its setting `replyQueues`, whose queues are in
 * AWS, or a queue with the alias `answers` if the setting names none. Returns the service unchanged if its functions
 * don't have the setting.
 */
export function addReplyQueues(service: Service): Service {
  const settings = service.functions.flatMap(({ environment }) => environment[VARIABLE] ?? []);
  if (settings.length === 0) return service;
  const configured = v.safeParse(aliasesSchema, settings[0]);
  const named = configured.success ? Object.keys(configured.output) : [];
  const aliases = named.length === 0 ? [DEFAULT_ALIAS] : named;
  const queueId = (alias: string): string => `${toLogicalId(alias)}ReplyQueue`;
  const fields = aliases.map((alias) => ({
    'Fn::Join': ['', [`${JSON.stringify(alias)}:"`, { Ref: queueId(alias) }, '"']],
  }));
  const setting = { 'Fn::Join': ['', ['{', { 'Fn::Join': [',', fields] }, '}']] };
  const queues = aliases.map((alias) => {
    const QueueName = `${service.name}-${service.stage}-reply-${alias.replaceAll('.', '-')}`;
    return [queueId(alias), { Type: 'AWS::SQS::Queue', Properties: { QueueName } }] as const;
  });
  return {
    ...service,
    resources: { ...service.resources, ...Object.fromEntries(queues) },
    functions: service.functions.map((each) =>
      each.environment[VARIABLE] === undefined
        ? each
        : { ...each, environment: { ...each.environment, [VARIABLE]: setting } },
    ),
  };
}

/** Converts an alias to a logical id, which has only letters and digits: `order-answers` becomes `OrderAnswers`. */
function toLogicalId(alias: string): string {
  return alias.replace(/(?:^|[\W_]+)(\w?)/g, (_, first: string) => first.toUpperCase());
}
