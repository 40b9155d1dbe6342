import type { Policy, Restrictions } from '../access/policy.ts';
import type { ModerationUse } from '../inference/moderation.ts';

/**
 * The stages of a call of a model, from the inside. Limits count what the others refuse. Content rules see the caller's own text;
 * moderation and guardrails see it masked. Sealed reasoning is opened for all of them.
 */
const ORDER = ['guardrail', 'moderation', 'personalData', 'contentRules', 'sealedReasoning', 'limits'] as const;
type Stage = (typeof ORDER)[number];

/** The functions that put a call into a stage. A kind of call doesn't have a stage that can't apply to it. */
export type Stages<Call> = { readonly [Name in Stage]?: (next: Call) => Promise<Call> };

/**
 * Returns a call within the stages for the sections of a policy, and for the moderation that a request asks for. It is the given one
 * if there are none.
 */
export async function enterStages<Call>(
  call: Call,
  { policy, moderation }: { readonly policy: Policy; readonly moderation?: ModerationUse | undefined },
  stages: Stages<Call>,
): Promise<Call> {
  let outer = call;
  for (const name of ORDER) {
    const isNeeded =
      name === 'moderation'
        ? moderation !== undefined
        : name === 'sealedReasoning'
          ? outer !== call
          : hasSection(policy, name);
    if (isNeeded) outer = (await stages[name]?.(outer)) ?? outer;
  }
  return outer;
}

/** Returns whether any level of a policy has a section. */
export function hasSection({ account, project, key }: Policy, section: keyof Restrictions): boolean {
  return [account, project, key].some((level) => level?.[section] !== undefined);
}
