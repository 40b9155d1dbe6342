import { isObject } from '../core/objects.ts';

/**
 * Names of request fields of other APIs, in lower case and without other characters than letters and digits. From the
 * parameters of OpenAI, vLLM, SGLang, llama.cpp, Ollama, Text Generation Inference, LiteLLM, OpenRouter, Fireworks,
 * Together, xAI, Qwen, Anthropic and Bedrock's models. A field of OpenAI's that only one of the two APIs checks is here
 * for the other.
 * @see https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/chat_completion/protocol.py
 * @see https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/entrypoints/openai/protocol.py
 */
type Names = ReadonlySet<string>;

/** More than one answer, or the best of several. The value 1 asks for nothing. */
const COUNTS: Names = new Set([
  ...['n', 'ncmpl', 'bestof', 'numreturnsequences', 'numgenerations', 'candidatecount', 'numbeams', 'numbeamgroups'],
  'beamwidth',
]);

/** How long the answer may or must be. */
const LENGTHS: Names = new Set([
  ...['maxtokens', 'maxcompletiontokens', 'maxoutputtokens', 'maxnewtokens', 'maxgenlen', 'maxlength', 'npredict'],
  ...['numpredict', 'maxtokenstosample', 'mintokens', 'minnewtokens', 'minlength', 'ignoreeos', 'tokenlimit'],
  ...['maxtokenstoreturn', 'inferenceconfig', 'textgenerationconfig', 'generationconfig', 'usebeamsearch'],
]);

/** What the answer is made from: another prompt, model or adapter, a guardrail, or a search, which is charged. */
const SOURCES: Names = new Set([
  ...['messages', 'prompt', 'input', 'system', 'instructions', 'documents', 'adapter', 'adapters', 'adapterid'],
  ...['guardrails', 'guardrailconfig', 'logitsprocessors', 'customlogitprocessor'],
  ...['previousresponseid', 'conversation', 'extrabody', 'inputids', 'inputembeds', 'promptembeds', 'chattemplate'],
  ...['websearchoptions', 'searchparameters', 'searchoptions', 'searchsettings', 'enablesearch', 'connectors'],
  ...['mcpservers', 'preset'],
]);

/** The form of the answer, and where it ends. A model with `passUnknown` may pass most of these on. */
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
  ...['functions', 'functioncall', 'stop', 'stopsequences', 'stoptokenids', 'stopregex'],
]);

/**
 * Fields that no upstream gets, even with `passUnknown`. They would let a caller change the model, the provider's account
 * or address, how much is generated or charged, or who goes first, past the limits of the model and of other callers.
 */
const NEVER_PASSED: Names = new Set([
  ...COUNTS,
  ...LENGTHS,
  ...SOURCES,
  // Values for each token of the prompt or of the vocabulary, and the engine's inner state. vLLM computes the first for
  // `echo`, too.
  ...['promptlogprobs', 'echo', 'nprobs', 'decoderinputdetails', 'returnhiddenstates', 'returnroutedexperts'],
  // What is charged besides tokens of text: audio, images, the provider's tools, rejected predictions, speed, retries.
  ...['modalities', 'audio', 'imageconfig', 'imagesconfig', 'functions', 'functioncall', 'container', 'prediction'],
  ...['moderation', 'speed', 'deferred', 'numretries', 'maxretries', 'inputcostpertoken', 'outputcostpertoken'],
  // Other models, providers and accounts.
  ...['model', 'models', 'modellist', 'fallbacks', 'contextwindowfallbacks', 'contentpolicyfallbacks'],
  ...['contextwindowfallbackdict', 'route', 'router', 'deploymentid', 'provider', 'providers', 'safetymodel'],
  ...['draftmodel', 'userconfig', 'tags', 'organization', 'regionname', 'inferencegeo', 'callbacks'],
  ...['plugins', 'transforms', 'baseurl', 'apibase', 'apikey', 'apiversion', 'customllmprovider'],
  ...['extraheaders', 'headers', 'extraquery', 'options', 'successcallback', 'failurecallback'],
  // The order of work, the cache that tenants share, requests of other callers, and code or state of the engine. SGLang
  // matches `stop_regex` in the process that schedules all requests.
  ...['priority', 'cachesalt', 'extrakey', 'promptcacheisolationkey', 'kvtransferparams', 'ectransferparams'],
  ...['vllmxargs', 'extraargs', 'customparams', 'stopregex', 'guideddecodingbackend', 'mmprocessorkwargs'],
  ...['mediaiokwargs', 'maxdynamicpatch', 'mindynamicpatch', 'idslot', 'sessionid', 'sessionparams', 'rid'],
  ...['requestid', 'ngramcorpusid', 'keepalive', 'ttl', 'dataparallelrank', 'routeddprank', 'disaggprefilldprank'],
  // What Codex sends about itself, and no upstream but its own knows.
  'clientmetadata',
  // What Lambent writes or checks itself.
  ...['stream', 'streamoptions', 'store', 'servicetier', 'background', 'performanceconfig', 'responseformat'],
  'timeout',
]);

/**
 * How names of such fields begin: speculative decoding, SGLang's disaggregation, and LiteLLM's credentials, settings and
 * mocked answers.
 */
const NEVER_PASSED_PREFIXES = ['speculative', 'bootstrap', 'litellm', 'aws', 'azure', 'vertex', 'mock'] as const;
/** `lora`, `lora_request`, `lora_path`: another adapter. */
const ADAPTER_PREFIX = 'lora';

/**
 * Returns what happens to a top-level field that the endpoint doesn't have: it is passed to the upstream if the alias
 * allows it, refused if the answer would be another one without it, and else ignored.
 */
export function classifyUnknownField(
  name: string,
  value: unknown,
  { passUnknown }: { readonly passUnknown: boolean },
): 'pass' | 'refuse' | 'ignore' {
  const plainName = name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  const isAdapter = plainName.startsWith(ADAPTER_PREFIX);
  if (passUnknown && !isAdapter && !isNeverPassed(plainName)) return 'pass';
  if (asksForNothing(value) || (COUNTS.has(plainName) && value === 1)) return 'ignore';
  return isAdapter || [COUNTS, LENGTHS, SOURCES, FORMS].some((names) => names.has(plainName)) ? 'refuse' : 'ignore';
}

function isNeverPassed(plainName: string): boolean {
  return NEVER_PASSED.has(plainName) || NEVER_PASSED_PREFIXES.some((prefix) => plainName.startsWith(prefix));
}

function asksForNothing(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isObject(value)) return Object.keys(value).length === 0;
  return value === null || value === false || value === 0 || value === '';
}
