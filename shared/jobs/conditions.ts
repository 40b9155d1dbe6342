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

/** Returns `job` after `change`, as a new object. The index entry is the store's part. */
export function changed(job: Job, { set = {}, remove = [], add = {} }: JobChange): Job {
  const next: { -readonly [Field in keyof Job]: Job[Field] } = { ...job, ...set };
  for (const [field, number] of Object.entries(add)) {
    if (isCounter(field)) next[field] = (next[field] ?? 0) + number;
  }
  for (const field of remove) Reflect.deleteProperty(next, field);
  return next;
}

const COUNTERS = ['epoch', 'attempts', 'asks', 'releases', 'crashes'] as const satisfies (keyof NonNullable<
  JobChange['add']
>)[];

function isCounter(field: string): field is (typeof COUNTERS)[number] {
  return COUNTERS.some((counter) => counter === field);
}
