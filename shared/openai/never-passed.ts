/**
 * Names of request fields that are refused even by models with `passUnknown`, in lower case and without underscores. They would
 * let a caller change the model, the provider's account or address, how much is generated, or who goes first, past the
 * limits of the model and of other callers. From the parameters of OpenAI, vLLM, SGLang, llama.cpp, Ollama, Text Generation
 * Inference, LiteLLM, OpenRouter and Bedrock's models.
 */
const NEVER_PASSED: ReadonlySet<string> = new Set([
  // More answers, or longer ones.
  ...[
    'n',
    'bestof',
    'numreturnsequences',
    'numgenerations',
    'candidatecount',
    'usebeamsearch',
    'numbeams',
    'beamwidth',
  ],
  ...['maxtokens', 'maxcompletiontokens', 'maxoutputtokens', 'maxnewtokens', 'maxgenlen', 'maxlength', 'npredict'],
  ...['numpredict', 'maxtokenstosample', 'mintokens', 'minnewtokens', 'minlength', 'ignoreeos', 'tokenlimit'],
  ...['promptlogprobs', 'maxtokenstoreturn', 'inferenceconfig', 'textgenerationconfig', 'generationconfig'],
  // Other models, providers and accounts.
  ...['model', 'models', 'fallbacks', 'contextwindowfallbackdict', 'route', 'router', 'provider', 'providers'],
  ...['plugins', 'transforms', 'baseurl', 'apibase', 'apikey', 'apiversion', 'customllmprovider', 'extrabody'],
  ...['extraheaders', 'headers', 'extraquery', 'options', 'adapter', 'adapters', 'adapterid', 'lora', 'lorarequest'],
  // The order of work, the cache that tenants share, and code or state of the engine.
  ...[
    'priority',
    'cachesalt',
    'kvtransferparams',
    'logitsprocessors',
    'customlogitprocessor',
    'vllmxargs',
    'extraargs',
  ],
  ...['idslot', 'sessionparams', 'bootstraphost', 'bootstrapport', 'bootstraproom', 'dataparallelrank', 'rid'],
  // What Lambent writes itself.
  ...['messages', 'prompt', 'input', 'system', 'stream', 'streamoptions', 'store', 'servicetier', 'background'],
  ...['guardrails', 'guardrailconfig', 'performanceconfig', 'mocktimeout', 'mockresponse', 'timeout'],
]);

/** Returns whether a field may be passed to an upstream although Lambent doesn't know it. */
export function mayPass(field: string): boolean {
  return !NEVER_PASSED.has(field.replaceAll(/[_-]/g, '').toLowerCase());
}
