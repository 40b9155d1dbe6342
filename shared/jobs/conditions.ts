import type { Job } from './job.ts';
import type { Condition, Guard, JobChange } from './ports.ts';

/** Whether all of a guard's conditions hold for `job`. */
export function holds(guard: Guard, job: Job): boolean {
  return guard.every((condition) => holdsOne(condition, job[condition.field]));
}

function holdsOne(condition: Condition, value: Job[keyof Job]): boolean {
  switch (condition.is) {
    case 'equal':
      return value === condition.value;
    case 'oneOf':
      return typeof value === 'string' && condition.values.includes(value);
    case 'absent':
      return value === undefined;
    case 'absentOrAtMost':
      return value === undefined || (typeof value === 'number' && value <= condition.value);
    case 'above':
      return typeof value === 'number' && value > condition.value;
  }
}

/** `job` after `change`, as a new object. */
export function changed(job: Job, { set = {}, remove = [], add = {} }: JobChange): Job {
  const next: Job = {
    ...job,
    ...set,
    epoch: (set.epoch ?? job.epoch) + (add.epoch ?? 0),
    attempts: (set.attempts ?? job.attempts) + (add.attempts ?? 0),
    releases: (set.releases ?? job.releases) + (add.releases ?? 0),
  };
  for (const field of remove) Reflect.deleteProperty(next, field);
  return next;
}
