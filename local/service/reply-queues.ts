import * as v from 'valibot';
import type { Service } from './service.ts';

/** The alias that a message may name on a laptop where the service's own setting has none. */
const ALIAS = 'answers';

const VARIABLE = 'REPLY_QUEUES';
const aliasesSchema = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string()));

/**
 * A service whose reply queues are the laptop's own: one for each alias of its setting `replyQueues`, whose queues are in
 * AWS, or one of the alias `answers`. Nothing changes for a service that answers on no queue.
 */
export function withReplyQueues(service: Service): Service {
  const settings = service.functions.flatMap(({ environment }) => environment[VARIABLE] ?? []);
  if (settings.length === 0) return service;
  const configured = v.safeParse(aliasesSchema, settings[0]);
  const named = configured.success ? Object.keys(configured.output) : [];
  const aliases = named.length === 0 ? [ALIAS] : named;
  const idOf = (alias: string): string => `${capitalized(alias)}ReplyQueue`;
  const fields = aliases.map((alias) => ({
    'Fn::Join': ['', [`${JSON.stringify(alias)}:"`, { Ref: idOf(alias) }, '"']],
  }));
  const setting = { 'Fn::Join': ['', ['{', { 'Fn::Join': [',', fields] }, '}']] };
  const queues = aliases.map((alias) => {
    const QueueName = `${service.name}-${service.stage}-reply-${alias.replaceAll('.', '-')}`;
    return [idOf(alias), { Type: 'AWS::SQS::Queue', Properties: { QueueName } }] as const;
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

/** `order-answers` is `OrderAnswers`: a logical id has letters and digits only. */
function capitalized(alias: string): string {
  return alias.replace(/(?:^|[\W_]+)(\w?)/g, (_, first: string) => first.toUpperCase());
}
