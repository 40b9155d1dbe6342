import * as v from 'valibot';
import { LambentError } from '../../core/errors.ts';
import { type Task, taskSchema } from './ecs-task.ts';

const workerName = { fleet: v.string(), worker: v.string() };
const commandSchema = v.variant('type', [
  v.strictObject({ type: v.literal('drain'), ...workerName }),
  v.strictObject({ type: v.literal('undrain'), ...workerName }),
  v.strictObject({ type: v.literal('show'), fleet: v.string() }),
]);
/** What an operator says by invoking the function. */
export type Command = v.InferOutput<typeof commandSchema>;

const noticeSchema = v.variant('detail-type', [
  v.object({ source: v.literal('aws.ecs'), 'detail-type': v.literal('ECS Task State Change'), detail: taskSchema }),
  v.object({
    source: v.literal('aws.ec2'),
    'detail-type': v.literal('EC2 Spot Instance Interruption Warning'),
    detail: v.object({ 'instance-id': v.string() }),
  }),
  v.object({ source: v.literal('aws.events'), 'detail-type': v.literal('Scheduled Event') }),
]);

/** What the function is called with. */
export type FleetEvent =
  /** A minute has passed. */
  | { readonly kind: 'tick' }
  | { readonly kind: 'task'; readonly task: Task }
  /** EC2 takes a spot instance back in two minutes. */
  | { readonly kind: 'interruption'; readonly instance: string }
  | { readonly kind: 'command'; readonly command: Command };

/**
 * Reads an event of EventBridge, or a direct invocation's.
 * @throws LambentError `invalid_value` when it is neither
 */
export function parseFleetEvent(event: unknown): FleetEvent {
  if (typeof event === 'object' && event !== null && 'type' in event) {
    const command = v.safeParse(commandSchema, event);
    if (command.success) return { kind: 'command', command: command.output };
    throw unknownEvent(command.issues);
  }
  const notice = v.safeParse(noticeSchema, event);
  if (!notice.success) throw unknownEvent(notice.issues);
  switch (notice.output['detail-type']) {
    case 'ECS Task State Change':
      return { kind: 'task', task: notice.output.detail };
    case 'EC2 Spot Instance Interruption Warning':
      return { kind: 'interruption', instance: notice.output.detail['instance-id'] };
    case 'Scheduled Event':
      return { kind: 'tick' };
  }
}

function unknownEvent([issue]: readonly [v.BaseIssue<unknown>, ...v.BaseIssue<unknown>[]]): LambentError {
  return new LambentError('invalid_value', `The event can't be read: ${v.getDotPath(issue) ?? 'it'} ${issue.message}`);
}
