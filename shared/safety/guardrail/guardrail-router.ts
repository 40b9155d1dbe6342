import type { GuardrailUse } from '../../access/content-policy-schema.ts';
import { listRestrictions } from '../../access/list-restrictions.ts';
import type { Policy } from '../../access/policy.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions, Router } from '../../inference/router.ts';
import { contentRefusedError } from '../content-refused-error.ts';
import { holdBack } from '../hold-back.ts';
import { omitOriginal } from '../omit-original.ts';
import { reportHit } from '../report-hit.ts';
import { listRequestTexts } from '../request-texts.ts';
import type { AssessOptions, Guardrail } from './bedrock-guardrail.ts';
import { findGuardrail } from './get-guardrail.ts';
import { GuardrailError } from './guardrail-error.ts';
import { createGuardrailWatcher } from './guardrail-watcher.ts';
import { noteCheck, noteGuardrail } from './note-guardrail.ts';
import { reportFailure } from './report-failure.ts';

type Call = Pick<GenerateOptions, 'signal' | 'telemetry'>;

const DEFAULTS = {
  on: 'both',
  onFailure: 'refuse',
  timeoutMs: 5_000,
  windowCharacters: 1_000,
  overlapCharacters: 200,
} as const;

/**
 * Returns a router that sends only requests which the guardrails of the policy let pass, and holds answers back until they have
 * answered for them. It throws LambentError `content_filter` if a guardrail refuses the request, `guardrail_unavailable` if it
 * fails and the policy doesn't let content pass then, or if only its quota or time for a long request is exhausted, and
 * `configuration` if it doesn't exist.
 */
export function withGuardrails(policy: Policy, router: Router, registry: Pick<ModelRegistry, 'guardrails'>): Router {
  return {
    async generate(request, options) {
      const uses = listUses(policy, registry, options);
      await checkInput(uses, listRequestTexts(request).flat());
      const generation = await router.generate(omitOriginal(request), options);
      const events = uses
        .filter(({ use: { on = DEFAULTS.on } }) => on !== 'input')
        .reduce((held, use) => holdBack(held, () => createWatcher(use), request.format.type), generation.events);
      return { ...generation, events };
    },
  };
}

/**
 * Checks texts that are sent to a model.
 * @throws LambentError as `withGuardrails`
 */
export async function checkTexts(
  policy: Policy,
  texts: readonly string[],
  registry: Pick<ModelRegistry, 'guardrails'>,
  call: Call,
): Promise<void> {
  await checkInput(listUses(policy, registry, call), texts);
}

/** A guardrail as one request uses it. */
interface Use {
  readonly use: GuardrailUse;
  /** Returns whether texts may pass. Throws as `Guardrail.assess`, unless the policy lets content pass without the guardrail. */
  readonly check: (texts: readonly string[], source: AssessOptions['source']) => Promise<boolean>;
}

function listUses(policy: Policy, { guardrails: targets }: Pick<ModelRegistry, 'guardrails'>, call: Call): Use[] {
  const uses = listRestrictions(policy).flatMap(({ guardrail }) => guardrail ?? []);
  return uses.map((use) => {
    const guardrail = findGuardrail(targets, use.name);
    const skipped = new Set<AssessOptions['source']>();
    return {
      use,
      async check(texts, source) {
        if (skipped.has(source)) return true;
        const startedAt = performance.now();
        noteGuardrail(call.telemetry, use.name, guardrail);
        const intervened = await assess(guardrail, use, texts, { source, call });
        // One timeout is enough: the rest of a long answer doesn't wait for further ones. A failed check of the request says nothing
        // about the answer.
        if (intervened === undefined) skipped.add(source);
        noteCheck(call.telemetry, performance.now() - startedAt);
        if (intervened === true) {
          const side = source === 'INPUT' ? 'input' : 'output';
          reportHit(call.telemetry, { kind: 'guardrail', rule: use.name, side, action: 'refuse' });
        }
        return intervened !== true;
      },
    };
  });
}

/** Returns whether a guardrail intervenes; undefined if it is down and the policy lets content pass then. */
async function assess(
  guardrail: Guardrail,
  { name, onFailure = DEFAULTS.onFailure, timeoutMs = DEFAULTS.timeoutMs }: GuardrailUse,
  texts: readonly string[],
  { source, call: { signal, telemetry } }: { readonly source: AssessOptions['source']; readonly call: Call },
): Promise<boolean | undefined> {
  try {
    return (await guardrail.assess(texts, { source, timeoutMs, signal })).intervened;
  } catch (thrown) {
    if (signal.aborted) throw thrown;
    reportFailure(telemetry, name, thrown);
    if (onFailure === 'pass' && thrown instanceof GuardrailError && !thrown.isReachable) return undefined;
    throw thrown;
  }
}

async function checkInput(uses: readonly Use[], texts: readonly string[]): Promise<void> {
  const relevant = uses.filter(({ use: { on = DEFAULTS.on } }) => on !== 'output');
  const passes = await Promise.all(relevant.map(({ check }) => check(texts, 'INPUT')));
  if (passes.includes(false)) throw contentRefusedError();
}

function createWatcher({ use, check }: Use) {
  const { windowCharacters = DEFAULTS.windowCharacters, overlapCharacters = DEFAULTS.overlapCharacters } = use;
  return createGuardrailWatcher({ windowCharacters, overlapCharacters, check: (text) => check([text], 'OUTPUT') });
}
