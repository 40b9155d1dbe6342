import { BucketLocationConstraint } from '@aws-sdk/client-s3';
import * as v from 'valibot';
import { isCron, isRate } from './schedule-expression.ts';

/** One setting: its schema, which accepts the texts of the command line too, and the values that it allows in words. */
export interface SettingType<T> {
  readonly schema: v.GenericSchema<unknown, T>;
  /** For docs/settings.md. Numbers have their unit. */
  readonly allowed: string;
  /** For an error message, after "must be". */
  readonly rule: string;
}

function defineType<T>(schema: v.GenericSchema<unknown, T>, allowed: string, rule = allowed): SettingType<T> {
  return { schema, allowed, rule };
}

/** Accepts a number or its decimal text. */
const numeric = v.union([v.number(), v.pipe(v.string(), v.regex(/^-?\d+(\.\d+)?$/), v.toNumber())]);

/** Returns the type of a number of a range, with a unit such as `MB`. */
export function number(min: number, max: number, unit = ''): SettingType<number> {
  const allowed = `${min} to ${max} ${unit}`.trim();
  return defineType(v.pipe(numeric, v.minValue(min), v.maxValue(max)), allowed, `a number, ${allowed}`);
}

/** Returns the type of a whole number of a range, with a unit such as `MB`. */
export function whole(min: number, max: number, unit = ''): SettingType<number> {
  const { schema, allowed } = number(min, max, unit);
  return defineType(v.pipe(schema, v.integer()), allowed, `a whole number, ${allowed}`);
}

export const flag: SettingType<boolean> = defineType(
  v.pipe(
    v.union([v.boolean(), v.picklist(['true', 'false'])]),
    v.transform((value) => value === true || value === 'true'),
  ),
  'true, false',
  'true or false',
);

/** Returns the type of a text that is one of a list. */
export function oneOf<const T extends string>(...values: readonly T[]): SettingType<T> {
  return defineType(v.picklist(values), values.join(', '), `one of ${values.join(', ')}`);
}

/** Returns the type of a text with a pattern. */
export function text(pattern: RegExp, allowed: string, rule = allowed): SettingType<string> {
  return defineType(v.pipe(v.string(), v.regex(pattern)), allowed, rule);
}

/** Returns the type of a list that is written as one text. */
export function list(pattern: RegExp, separator: RegExp, allowed: string, rule: string): SettingType<string[]> {
  const split = v.transform((value: string) => value.split(separator).filter((item) => item !== ''));
  return defineType(v.pipe(v.string(), v.regex(pattern), split), allowed, rule);
}

/** Returns the type of a JSON object of texts. */
export function record(
  key: v.GenericSchema<string, string>,
  value: v.GenericSchema<string, string>,
  rule: string,
): SettingType<Readonly<Record<string, string>>> {
  const isObject = v.custom<object>((parsed) => !Array.isArray(parsed));
  return defineType(v.pipe(v.string(), v.parseJson(), isObject, v.record(key, value)), 'JSON object', rule);
}

/** The regions in which S3 has buckets. The first region is the default, which S3's list of constraints leaves out. */
const REGIONS: ReadonlySet<string> = new Set(['us-east-1', ...Object.values(BucketLocationConstraint)]);
export const region = defineType(
  v.pipe(
    v.string(),
    v.check((name) => name !== BucketLocationConstraint.EU && REGIONS.has(name)),
  ),
  'AWS region',
  'an AWS region, such as eu-west-1',
);

/** https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html */
const LOG_DAYS: readonly number[] = [
  ...[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
];
export const logDays = defineType(
  v.pipe(
    numeric,
    v.check((days) => LOG_DAYS.includes(days)),
  ),
  '1 to 3653 days, as CloudWatch offers',
  `one of CloudWatch's periods: ${LOG_DAYS.join(', ')} days`,
);

export const schedule = defineType(
  v.pipe(
    v.string(),
    v.check((expression) => isRate(expression) || isCron(expression)),
  ),
  'rate(…) or cron(…)',
  "a schedule of EventBridge's, such as rate(5 minutes), rate(1 hour) or cron(0 8 ? * MON-FRI *)",
);

export const cron = defineType(
  v.pipe(v.string(), v.check(isCron)),
  'cron(…)',
  'a cron expression of six fields, such as cron(0 8 ? * MON-FRI *)',
);

const TIME_ZONES: ReadonlySet<string> = new Set(['Etc/UTC', 'UTC', ...Intl.supportedValuesOf('timeZone')]);
export const timeZone = defineType(
  v.pipe(
    v.string(),
    v.check((name) => TIME_ZONES.has(name)),
  ),
  'IANA time zone',
  'a time zone, such as Europe/Berlin',
);
