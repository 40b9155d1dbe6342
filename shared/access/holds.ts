import * as v from 'valibot';

const holdsSchema = v.record(
  v.string(),
  v.object({
    /** Epoch seconds. */
    since: v.number(),
    /** Epoch seconds at which the hold ends by itself. */
    until: v.number(),
    /** `manual` if an administrator holds it. */
    reason: v.string(),
  }),
);

/** The held keys of a project, by the ids that their calls have. */
export type Holds = v.InferOutput<typeof holdsSchema>;
export type Hold = Holds[string];

/** Parses the held keys in a project's item. @throws ValiError, SyntaxError if it is not valid */
export function parseHolds(json: string | undefined): Holds {
  return json === undefined ? {} : v.parse(holdsSchema, JSON.parse(json));
}

/**
 * Returns the hold of a key. Undefined if the key is not held, or its hold has ended at `now` (epoch milliseconds).
 * @throws as `parseHolds`
 */
export function findHold(json: string | undefined, keyId: string, now: number): Hold | undefined {
  const holds = parseHolds(json);
  const hold = Object.hasOwn(holds, keyId) ? holds[keyId] : undefined;
  return hold !== undefined && hold.until * 1000 > now ? hold : undefined;
}
