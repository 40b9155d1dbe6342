import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApplyGuardrailCommand,
  type ApplyGuardrailResponse,
  type BedrockRuntimeClient,
  type GuardrailAssessment,
  type GuardrailContentFilter,
  type GuardrailPiiEntityFilter,
  type GuardrailPiiEntityType,
} from '@aws-sdk/client-bedrock-runtime';
import { LambentError } from '../../core/errors.ts';
import { isObject } from '../../core/objects.ts';
import type { Destination } from '../../inference/destinations.ts';
import { bedrockError } from '../../inference/providers/bedrock/errors.ts';
import type { GuardrailTarget } from '../../inference/registry.ts';
import { contentRefusedError } from '../content-refused-error.ts';
import { GuardrailError } from './guardrail-error.ts';
import { joinShortTexts, packTexts } from './pack-texts.ts';

/** What a guardrail has found. */
export interface Assessment {
  /** True if the guardrail blocks or masks anything. */
  readonly intervened: boolean;
  /** The content filters that detected something; with the scope `FULL`, also the others. */
  readonly filters: readonly GuardrailContentFilter[];
}

export interface Guardrail {
  readonly destination: Destination;
  /**
   * Assesses texts together. An intervention counts although the guardrail has failed for other texts.
   * @throws GuardrailError `guardrail_unavailable` if the guardrail fails or doesn't answer within `timeoutMs`; LambentError
   * `configuration` if it doesn't exist or may not be used; the reason of an abort
   */
  assess(texts: readonly string[], options: AssessOptions): Promise<Assessment>;
  /**
   * Finds personal data in all of some texts of a request, whether the guardrail masks, blocks or only detects it.
   * @throws LambentError as `assess`; `configuration` if the guardrail has no filter of personal data; `content_filter` if
   * another filter intervenes
   */
  findPersonalData(
    texts: readonly string[],
    options: Pick<AssessOptions, 'timeoutMs' | 'signal'>,
  ): Promise<readonly PiiEntity[]>;
}

/** A value of personal data that a guardrail has found. */
export interface PiiEntity {
  readonly type: GuardrailPiiEntityType;
  /** As it is in the text. */
  readonly value: string;
}

export interface AssessOptions {
  readonly source: 'INPUT' | 'OUTPUT';
  /** Whether filters are reported that detected nothing. Default: `INTERVENTIONS`, which reports the others only. */
  readonly scope?: 'INTERVENTIONS' | 'FULL';
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const MAX_CALLS_AT_ONCE = 4;
/** Attempts of a call that fails. One that is throttled is repeated until the timeout: the quota is one of text units per second. */
const MAX_ATTEMPTS = 3;
const BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 1_000;

/** Creates the guardrail that Bedrock's ApplyGuardrail applies. */
export function createBedrockGuardrail(
  { id, version, region }: GuardrailTarget,
  client: BedrockRuntimeClient,
): Guardrail {
  async function apply(
    texts: readonly string[],
    { source, scope }: AssessOptions,
    signal: AbortSignal,
  ): Promise<ApplyGuardrailResponse> {
    const command = new ApplyGuardrailCommand({
      guardrailIdentifier: id,
      guardrailVersion: version,
      source,
      content: texts.map((text) => ({ text: { text: text.toWellFormed() } })),
      outputScope: scope,
    });
    let failure: GuardrailError | undefined;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await client.send(command, { abortSignal: signal });
      } catch (thrown) {
        if (signal.aborted) throw failure ?? thrown;
        failure = toGuardrailError(thrown);
        if (!failure.isReachable && attempt >= MAX_ATTEMPTS) throw failure;
        await sleep(Math.min(BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS), undefined, { signal }).catch(() => {});
        if (signal.aborted) throw failure;
      }
    }
  }

  /**
   * Applies the guardrail to texts, in several calls if they are long, until a response is the last that is needed.
   * @throws as `Guardrail.assess`, unless a response is the last that is needed
   */
  async function applyToAll(
    texts: readonly string[],
    options: AssessOptions,
    isLast: (response: ApplyGuardrailResponse) => boolean,
  ): Promise<ApplyGuardrailResponse[]> {
    const { timeoutMs, signal } = options;
    signal.throwIfAborted();
    const either = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const calls = packTexts(texts);
    const responses: ApplyGuardrailResponse[] = [];
    for (let index = 0; index < calls.length && !responses.some(isLast); index += MAX_CALLS_AT_ONCE) {
      const batch = calls.slice(index, index + MAX_CALLS_AT_ONCE);
      const results = await Promise.allSettled(batch.map((call) => apply(call, options, either)));
      responses.push(...results.flatMap((result) => (result.status === 'fulfilled' ? result.value : [])));
      const failures = results.flatMap((result): unknown[] => (result.status === 'rejected' ? [result.reason] : []));
      if (signal.aborted) throw signal.reason;
      if (failures.length > 0 && !responses.some(isLast)) throw toError(failures, responses.length > 0);
    }
    return responses;
  }

  return {
    destination: { provider: 'bedrock', model: id, region },
    async assess(texts, options) {
      const responses = await applyToAll(joinShortTexts(texts), options, isIntervention);
      return { intervened: responses.some(isIntervention), filters: responses.flatMap(listFilters) };
    },
    async findPersonalData(texts, options) {
      const responses = await applyToAll(texts, { ...options, source: 'INPUT', scope: 'FULL' }, () => false);
      return responses.flatMap(listEntities);
    },
  };
}

/** Anything but `NONE`, so that an action of a later version of the API doesn't let content pass. */
function isIntervention({ action }: ApplyGuardrailResponse): boolean {
  return action !== 'NONE';
}

function listFilters({ assessments = [] }: ApplyGuardrailResponse): GuardrailContentFilter[] {
  return assessments.flatMap(({ contentPolicy }) => contentPolicy?.filters ?? []);
}

/**
 * Lists the personal data in a response. Throws if the list may be incomplete, because a guardrail without a filter of personal
 * data reports none. With the scope `FULL`, a filter of personal data also reports entities that it has not detected, and has billed
 * units; regular expressions do neither.
 * @see https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html
 * @see https://aws.amazon.com/bedrock/pricing/
 */
function listEntities(response: ApplyGuardrailResponse): PiiEntity[] {
  const entities = (response.assessments ?? []).flatMap(
    ({ sensitiveInformationPolicy }) => sensitiveInformationPolicy?.piiEntities ?? [],
  );
  if (entities.length === 0 && !response.usage?.sensitiveInformationPolicyUnits)
    throw new LambentError(
      'configuration',
      'A guardrail that finds names and addresses has no filter of personal data',
    );
  if (isOtherIntervention(response, entities)) throw contentRefusedError();
  return entities.flatMap(({ type, match, detected }) =>
    type === undefined || match === undefined || detected === false ? [] : [{ type, value: match }],
  );
}

/** Returns whether a guardrail intervenes by anything but the personal data that it has found, alone or besides. */
function isOtherIntervention(response: ApplyGuardrailResponse, entities: readonly GuardrailPiiEntityFilter[]): boolean {
  if (!isIntervention(response)) return false;
  return entities.every(({ action }) => action === 'NONE') || (response.assessments ?? []).some(hasOtherAction);
}

/** Searches all policies, so that those of a later version of the API count, too. */
function hasOtherAction({ sensitiveInformationPolicy, ...policies }: GuardrailAssessment): boolean {
  const ofPolicies = Object.values(policies).flatMap((policy): unknown[] => Object.values(policy ?? {}));
  const findings = [...ofPolicies, sensitiveInformationPolicy?.regexes].flat();
  return findings.some(
    (finding) => isObject(finding) && finding['action'] !== undefined && finding['action'] !== 'NONE',
  );
}

/** Failures that callers can bring about, by many or long requests. */
const EXHAUSTED: ReadonlySet<string> = new Set(['rate_limit_exceeded', 'insufficient_quota']);

/** @throws LambentError `configuration` if a repetition can't succeed */
function toGuardrailError(thrown: unknown): GuardrailError {
  const { code, upstream, retryAfterMs } = bedrockError(thrown, false);
  // Bedrock rejects calls of a guardrail or version that doesn't exist, which only an operator can repair.
  if (code === 'upstream_misconfigured' || code === 'upstream_rejected') {
    throw new LambentError('configuration', `The guardrail can't be used: ${upstream}`, { cause: thrown });
  }
  const details = { cause: thrown, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  return new GuardrailError(EXHAUSTED.has(code), details);
}

/** Returns the error of a check whose calls have failed: that of the configuration, or the guardrail's. */
function toError(failures: readonly unknown[], isAnswered: boolean): LambentError {
  const ofGuardrail = failures.filter((each) => each instanceof GuardrailError);
  const other = failures.find((each) => each instanceof LambentError && !(each instanceof GuardrailError));
  if (other instanceof LambentError) return other;
  const isReachable = isAnswered || ofGuardrail.some((each) => each.isReachable);
  return new GuardrailError(isReachable, ofGuardrail[0]?.details ?? { cause: failures[0] });
}
