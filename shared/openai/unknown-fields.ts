import { isObject } from '../core/objects.ts';

/**
 * Names of request fields of other APIs, in lower case and without underscores. From the parameters of OpenAI, vLLM,
 * SGLang, llama.cpp, Ollama, Text Generation Inference, LiteLLM, OpenRouter and Bedrock's models.
 */
type Names = ReadonlySet<string>;

/** More than one answer, or the best of several. The value 1 asks for nothing. */
const COUNTS: Names = new Set([
  ...['n', 'bestof', 'numreturnsequences', 'numgenerations', 'candidatecount', 'numbeams', 'beamwidth'],
]);

/** How long the answer may or must be. */
const LENGTHS: Names = new Set([
  ...['maxtokens', 'maxcompletiontokens', 'maxoutputtokens', 'maxnewtokens', 'maxgenlen', 'maxlength', 'npredict'],
  ...['numpredict', 'maxtokenstosample', 'mintokens', 'minnewtokens', 'minlength', 'ignoreeos', 'tokenlimit'],
  ...['maxtokenstoreturn', 'inferenceconfig', 'textgenerationconfig', 'generationconfig', 'usebeamsearch'],
]);

/** What the answer is made from: another prompt, model or adapter, or a guardrail. */
const SOURCES: Names = new Set([
  ...['messages', 'prompt', 'input', 'system', 'instructions', 'documents', 'adapter', 'adapters', 'adapterid'],
  ...['lora', 'lorarequest', 'guardrails', 'guardrailconfig', 'logitsprocessors', 'customlogitprocessor'],
  ...['previousresponseid', 'conversation', 'extrabody'],
]);

/** The form of the answer, and where it ends. A model with `passUnknown` may pass these on. */
const FORMS: Names = new Set([
  ...['guidedjson', 'guidedregex', 'guidedchoice', 'guidedgrammar', 'structuredoutputs', 'grammar', 'ebnf', 'regex'],
  ...[
    'jsonschema',
    'responseschema',
    'responseformat',
    'outputschema',
    'toolchoice',
    'promptlogprobs',
    'echo',
    'suffix',
  ],
  ...['functions', 'functioncall', 'stop', 'stopsequences', 'stoptokenids'],
]);

/**
 * Fields that no upstream gets, even with `passUnknown`. They would let a caller change the model, the provider's account
 * or address, how much is generated, or who goes first, past the limits of the model and of other callers.
 */
const NEVER_PASSED: Names = new Set([
  ...COUNTS,
  ...LENGTHS,
  ...SOURCES,
  'promptlogprobs',
  // Other models, providers and accounts.
  ...['model', 'models', 'fallbacks', 'contextwindowfallbackdict', 'route', 'router', 'provider', 'providers'],
  ...['plugins', 'transforms', 'baseurl', 'apibase', 'apikey', 'apiversion', 'customllmprovider'],
  ...['extraheaders', 'headers', 'extraquery', 'options'],
  // The order of work, the cache that tenants share, and code or state of the engine.
  ...['priority', 'cachesalt', 'kvtransferparams', 'vllmxargs', 'extraargs'],
  ...['idslot', 'sessionparams', 'bootstraphost', 'bootstrapport', 'bootstraproom', 'dataparallelrank', 'rid'],
  // What Lambent writes itself.
  ...['stream', 'streamoptions', 'store', 'servicetier', 'background', 'performanceconfig'],
  ...['mocktimeout', 'mockresponse', 'timeout'],
]);

/**
 * Returns what happens to a top-level field that the endpoint doesn't have: it is passed to the upstream if the alias
 * allows it, refused if the answer would be another one without it, and else ignored.
 */
export function classifyUnknownField(
  name: string,
  value: unknown,
  { passUnknown }: { readonly passUnknown: boolean },
): 'pass' | 'refuse' | 'ignore' {
  const plainName = name.replaceAll(/[_-]/g, '').toLowerCase();
  if (passUnknown && !NEVER_PASSED.has(plainName)) return 'pass';
  if (asksForNothing(value) || (COUNTS.has(plainName) && value === 1)) return 'ignore';
  return [COUNTS, LENGTHS, SOURCES, FORMS].some((names) => names.has(plainName)) ? 'refuse' : 'ignore';
}

function asksForNothing(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isObject(value)) return Object.keys(value).length === 0;
  return value === null || value === false || value === 0 || value === '';
}
