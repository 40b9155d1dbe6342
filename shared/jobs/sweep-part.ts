import * as v from 'valibot';

const partSchema = v.pipe(
  v.object({ part: v.pipe(v.number(), v.integer(), v.minValue(0)), parts: v.pipe(v.number(), v.integer()) }),
  v.check(({ part, parts }) => part < parts),
);

/** One of several sweeps that share the shards of the index among them: `part` is from 0 up to `parts` - 1. */
export type SweepPart = v.InferOutput<typeof partSchema>;

/** Returns the part that an event of the sweep's schedule names. Undefined for any other event: all shards then. */
export function parseSweepPart(event: unknown): SweepPart | undefined {
  const result = v.safeParse(partSchema, event);
  return result.success ? result.output : undefined;
}
