import * as v from 'valibot';
import { LambentError } from '../../core/errors.ts';
import { type Task, taskSchema } from './ecs-task.ts';

const workerFields = { fleet: v.string(), worker: v.string() };
const commandSchema = v.variant('type', [
  v.strictObject({ type: v.literal('drain'), ...workerFields }),
  v.strictObject({ type: v.literal('undrain'), ...workerFields }),
  v.strictObject({ type: v.literal('show'), fleet: v.string() }),
]);
/** An operator's command: the payload of a direct invocation. */
export type Command = v.InferOutput<typeof commandSchema>;

const busEventSchema = v.variant('detail-type', [
  v.object({ source: v.literal('aws.ecs'), 'detail-type': v.literal('ECS Task State Change'), detail: taskSchema }),
  v.object({
    source: v.literal('aws.ec2'),
    'detail-type': v.literal('EC2 Spot Instance Interruption Warning'),
    detail: v.object({ 'instance-id': v.string() }),
  }),
  v.object({ source: v.literal('aws.events'), 'detail-type': v.literal('Scheduled Event') }),
]);

/** An event that the `fleet` function handles. */
export type FleetEvent =
  /** The schedule, each minute. */
  | { readonly kind: 'tick' }
  | { readonly kind: 'task'; readonly task: Task }
  /** EC2 reclaims a spot instance in two minutes. */
  | { readonly kind: 'interruption'; readonly instance: string }
  | { readonly kind: 'command'; readonly command: Command };

/**
 * Parses an EventBridge event or the payload of a direct invocation.
 * @throws LambentError `invalid_value` for anything else
 */
export function parseFleetEvent(event: unknown): FleetEvent {
  if (typeof event === 'object' && event !== null && 'type' in event) {
    const command = v.safeParse(commandSchema, event);
    if (command.success) return { kind: 'command', command: command.output };
    throw invalidEventError(command.issues);
  }
  const busEvent = v.safeParse(busEventSchema, event);
  if (!busEvent.success) throw invalidEventError(busEvent.issues);
  switch (busEvent.output['detail-type']) {
    case 'ECS Task State Change':
      return { kind: 'task', task: busEvent.output.detail };
    case 'EC2 Spot Instance Interruption Warning':
      return { kind: 'interruption', instance: busEvent.output.detail['instance-id'] };
    case 'Scheduled Event':
      return { kind: 'tick' };
  }
}

function invalidEventError([issue]: readonly [v.BaseIssue<unknown>, ...v.BaseIssue<unknown>[]]): LambentError {
  const path = v.getDotPath(issue);
  const message = path === null ? issue.message : `${path}: ${issue.message}`;
  return new LambentError('invalid_value', `The event is invalid: ${message}`);
}
