/** A field of a cron expression: its lowest and highest number, and names for its numbers from the lowest on. */
interface Field {
  readonly min: number;
  readonly max: number;
  readonly names?: readonly string[];
  /** Special values of a list's item. */
  readonly special?: RegExp;
}

const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const FIELDS: readonly Field[] = [
  { min: 0, max: 59 },
  { min: 0, max: 23 },
  // The last day, and the weekday that is closest to a day.
  { min: 1, max: 31, special: /^(\?|L|([1-9]|[12]\d|3[01])W)$/ },
  { min: 1, max: 12, names: MONTHS },
  // The last Friday (6L), and the first Friday (6#1).
  { min: 1, max: 7, names: DAYS, special: /^(\?|L|[1-7]L|([1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5])$/ },
  { min: 1970, max: 2199 },
];
const DAY_OF_MONTH = 2;
const DAY_OF_WEEK = 4;

/**
 * True if EventBridge accepts the text as a rate: a positive number, and a unit in the singular only for 1.
 * @see https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
 */
export function isRate(expression: string): boolean {
  return /^rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minutes|hours|days))\)$/.test(expression);
}

/**
 * True if EventBridge and Application Auto Scaling accept the text as a cron expression: six fields, of which either the
 * day of the month or the day of the week is `?`.
 * @see https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
 */
export function isCron(expression: string): boolean {
  const parts = /^cron\((.*)\)$/.exec(expression)?.[1]?.split(' ') ?? [];
  if (parts.length !== FIELDS.length || !FIELDS.every((field, index) => isField(parts[index] ?? '', field)))
    return false;
  return (parts[DAY_OF_MONTH] === '?') !== (parts[DAY_OF_WEEK] === '?');
}

function isField(part: string, field: Field): boolean {
  const items = part.split(',');
  return items.every((item) => isItem(item, field) && (item !== '?' || items.length === 1));
}

function isItem(item: string, field: Field): boolean {
  if (field.special?.test(item)) return true;
  const [range = '', step, ...more] = item.split('/');
  if (more.length > 0 || (step !== undefined && !/^[1-9]\d{0,3}$/.test(step))) return false;
  if (range === '*') return true;
  const bounds = range.split('-').map((text) => toNumber(text, field));
  return bounds.length <= 2 && bounds.every((bound) => bound !== undefined);
}

function toNumber(text: string, { min, max, names = [] }: Field): number | undefined {
  const value = names.includes(text) ? names.indexOf(text) + min : /^\d{1,4}$/.test(text) ? Number(text) : -1;
  return value >= min && value <= max ? value : undefined;
}
