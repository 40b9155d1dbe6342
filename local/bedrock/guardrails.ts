import * as v from 'valibot';
import type { ErrorFrame } from './frames.ts';

/**
 * Bedrock's ApplyGuardrail. Requests are refused as its API reference and quotas say.
 * @see https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html
 */

/** Guardrails by id. A guardrail has the version `1` and its draft. */
export type Guardrails = Readonly<Record<string, AssessTexts>>;

/** Assesses the texts of a request as one guardrail. */
export type AssessTexts = (call: GuardrailCall) => Finding | ErrorFrame | Promise<Finding | ErrorFrame>;

export interface GuardrailCall {
  readonly source: 'INPUT' | 'OUTPUT';
  readonly texts: readonly string[];
  /** Aborts when the client disconnects. */
  readonly signal: AbortSignal;
}

/** What a guardrail has found in texts. */
export interface Finding {
  /** The content filters that found something, and whether they block it or only report it. */
  readonly filters?: readonly {
    readonly type: 'INSULTS' | 'HATE' | 'SEXUAL' | 'VIOLENCE' | 'MISCONDUCT' | 'PROMPT_ATTACK';
    readonly confidence: 'LOW' | 'MEDIUM' | 'HIGH';
    readonly action: 'BLOCKED' | 'NONE';
  }[];
  /** The words of the guardrail's word filter that occur. */
  readonly words?: readonly string[];
  /** The personal data that was found, if the guardrail has filters for some. */
  readonly pii?: readonly PiiEntity[];
  /** What the guardrail's own regular expressions match. They are a part of its filter of personal data. */
  readonly regexes?: readonly { readonly match: string; readonly action: PiiEntity['action'] }[];
  /** The denied topics that were found. */
  readonly topics?: readonly string[];
}

/** @see https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailPiiEntityFilter.html */
export interface PiiEntity {
  readonly type: 'NAME' | 'ADDRESS' | 'EMAIL' | 'PHONE';
  readonly match: string;
  readonly action: 'ANONYMIZED' | 'BLOCKED' | 'NONE';
}

const PATH = /^\/guardrail\/([^/]+)\/version\/([^/]+)\/apply$/;
const ID = /^(?:[a-z0-9]+|arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail\/[a-z0-9]+)$/;
const VERSION = /^(?:[1-9][0-9]{0,7}|DRAFT)$/;
const CHARACTERS_PER_UNIT = 1_000;
/**
 * The default quota of a call's size. Bedrock answers larger ones with 429.
 * @see https://github.com/BerriAI/litellm/issues/19501
 */
const MAX_UNITS = 25;

const requestBody = v.object({
  source: v.picklist(['INPUT', 'OUTPUT']),
  content: v.array(
    v.pipe(
      v.looseObject({
        text: v.optional(
          v.object({
            text: v.string(),
            qualifiers: v.optional(v.array(v.picklist(['grounding_source', 'query', 'guard_content']))),
          }),
        ),
        image: v.optional(v.looseObject({ format: v.picklist(['png', 'jpeg']) })),
      }),
      v.check((block) => Object.keys(block).length === 1, 'must have exactly one member'),
    ),
  ),
  outputScope: v.optional(v.picklist(['INTERVENTIONS', 'FULL'])),
});

/** Returns whether a request's path is one of ApplyGuardrail. */
export function isGuardrailPath(path: string): boolean {
  return PATH.test(path);
}

/** Answers a request of ApplyGuardrail: the body of the response, or an error. */
export async function applyGuardrail(
  path: string,
  json: string,
  guardrails: Guardrails,
  signal: AbortSignal,
): Promise<object | ErrorFrame> {
  const [id = '', version = ''] = (PATH.exec(path) ?? []).slice(1).map(decodeURIComponent);
  if (!ID.test(id)) return refuse('guardrailIdentifier', ID.source);
  if (!VERSION.test(version)) return refuse('guardrailVersion', VERSION.source);
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), requestBody), json);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    return toValidationError(
      `Value at '${v.getDotPath(issue) ?? 'body'}' failed to satisfy constraint: ${issue.message}`,
    );
  }
  const name = id.slice(id.lastIndexOf('/') + 1);
  const assess = Object.hasOwn(guardrails, name) ? guardrails[name] : undefined;
  if (assess === undefined || !['1', 'DRAFT'].includes(version)) {
    const message = 'The specified resource ARN was not found.';
    return { type: 'error', status: 404, name: 'ResourceNotFoundException', message };
  }
  const { source, content, outputScope } = parsed.output;
  const texts = content.flatMap(({ text }) => text?.text ?? []);
  const units = texts.reduce((sum, text) => sum + Math.ceil(text.length / CHARACTERS_PER_UNIT), 0);
  if (units > MAX_UNITS) {
    const message = 'Too many text units in the request. Please try again with less content.';
    return { type: 'error', status: 429, name: 'ThrottlingException', message };
  }
  const finding = await assess({ source, texts, signal });
  return 'type' in finding ? finding : describe(outputScope === 'FULL' ? reportAll(finding) : finding, units, texts);
}

/** Adds what a filter of personal data has not detected. */
function reportAll(finding: Finding): Finding {
  if (finding.pii === undefined || finding.pii.length > 0) return finding;
  return { ...finding, pii: [{ type: 'NAME', match: '', action: 'NONE' }] };
}

function describe(finding: Finding, units: number, texts: readonly string[]): object {
  const { filters = [], words = [], topics = [], regexes = [], pii } = finding;
  const actions = [...filters, ...regexes, ...(pii ?? [])].map(({ action }) => action);
  const blocks = words.length > 0 || topics.length > 0 || actions.includes('BLOCKED');
  const masks = !blocks && actions.includes('ANONYMIZED');
  const characters = texts.join('').length;
  const outputs = blocks
    ? [{ text: 'Sorry, the model cannot answer this question.' }]
    : masks
      ? texts.map((text) => ({ text: maskAll(text, finding) }))
      : [];
  return {
    usage: {
      topicPolicyUnits: 0,
      contentPolicyUnits: units,
      wordPolicyUnits: units,
      sensitiveInformationPolicyUnits: pii === undefined ? 0 : units,
      sensitiveInformationPolicyFreeUnits: 0,
      contextualGroundingPolicyUnits: 0,
    },
    action: blocks || masks ? 'GUARDRAIL_INTERVENED' : 'NONE',
    actionReason: blocks ? 'Guardrail blocked.' : masks ? 'Guardrail masked.' : 'No action.',
    outputs,
    assessments: [
      {
        ...(filters.length > 0 && {
          contentPolicy: { filters: filters.map((each) => ({ ...each, filterStrength: 'HIGH', detected: true })) },
        }),
        ...(words.length > 0 && {
          wordPolicy: {
            customWords: words.map((match) => ({ match, action: 'BLOCKED', detected: true })),
            managedWordLists: [],
          },
        }),
        ...(topics.length > 0 && {
          topicPolicy: { topics: topics.map((name) => ({ name, type: 'DENY', action: 'BLOCKED', detected: true })) },
        }),
        ...([...(pii ?? []), ...regexes].length > 0 && {
          sensitiveInformationPolicy: {
            piiEntities: (pii ?? []).map((each) => ({ ...each, detected: each.match !== '' })),
            regexes: regexes.map((each) => ({ name: 'pattern', ...each, detected: true })),
          },
        }),
        invocationMetrics: { guardrailProcessingLatency: 1 },
      },
    ],
    guardrailCoverage: { textCharacters: { guarded: characters, total: characters } },
  };
}

/** Returns a text as the guardrail masks it: with the types or names in the place of the values. */
function maskAll(text: string, { pii = [], regexes = [] }: Finding): string {
  return [...pii, ...regexes.map((each) => ({ type: 'pattern', ...each }))]
    .filter(({ action }) => action === 'ANONYMIZED')
    .reduce((masked, { type, match }) => masked.replaceAll(match, `{${type}}`), text);
}

function refuse(member: string, pattern: string): ErrorFrame {
  return toValidationError(
    `Value at '${member}' failed to satisfy constraint: Member must satisfy regular expression pattern: ${pattern}`,
  );
}

function toValidationError(message: string): ErrorFrame {
  return {
    type: 'error',
    status: 400,
    name: 'ValidationException',
    message: `1 validation error detected: ${message}`,
  };
}
