/** The section `limits` of a policy: how much an account, a project or a key may use. An absent limit limits nothing. */
export interface Limits extends ModelLimits, QueueLimits, StorageLimits {
  /** Limits of single models of a project, by alias. Only a project's policy has them. */
  readonly models?: Readonly<Record<string, ModelLimits>>;
  /** Most tokens of an answer whose request names no maximum. Default: a quarter of the lowest limit on tokens. */
  readonly answerTokens?: number;
  /** Most bytes of each JSON schema of a request. */
  readonly schemaBytes?: number;
  /** Most levels of JSON of each of these schemas. */
  readonly schemaDepth?: number;
  /** Soft limits of money: exceeding one is reported, and refuses no call. */
  readonly alerts?: readonly SpendAlert[];
}

/** An amount of money to be reported once it is spent in a day or month of UTC. */
export interface SpendAlert {
  /** Unique in its policy. */
  readonly name: string;
  readonly per: 'day' | 'month';
  /** US dollars, with up to six decimals. */
  readonly dollars: number;
}

/** The limits that a single model can have, too. Minutes, days and months are those of UTC. */
export interface ModelLimits {
  readonly requestsPerMinute?: number;
  readonly requestsPerDay?: number;
  readonly tokensPerMinute?: number;
  readonly tokensPerDay?: number;
  /** Requests at the same time whose answers aren't streamed. */
  readonly requestsInFlight?: number;
  /** Streamed answers at the same time. */
  readonly streamsInFlight?: number;
  /** Concurrent streams of the events of background responses. */
  readonly resumedStreamsInFlight?: number;
  /** US dollars, with up to six decimals. */
  readonly dollarsPerDay?: number;
  readonly dollarsPerMonth?: number;
}

/** How many jobs may be accepted and not ended at the same time, and how often each is tried. */
export interface QueueLimits {
  readonly jobsQueued?: number;
  /** Bytes of the requests of these jobs. */
  readonly jobBytesQueued?: number;
  /** For jobs on GPU workers: the tokens of their prompts, and twice the expected tokens of their answers. */
  readonly gpuWeightWaiting?: number;
  /** Attempts of each job that count: 1 to 3. */
  readonly triesPerJob?: number;
}

/** How much a project may store. Only a project's policy has them. */
export interface StorageLimits {
  /** Sealed bytes of requests, answers and conversation items. */
  readonly storedBytes?: number;
  /** Responses, chat completions, jobs, conversations and their items. */
  readonly storedItems?: number;
}

/** Limits by kind of environment, for the administration to write into a policy. */
export const LIMIT_PRESETS = {
  dev: { requestsPerMinute: 100 },
  production: { requestsPerMinute: 1_000 },
  /** Reads models and stored objects, but calls no model. */
  sandbox: { requestsPerMinute: 0 },
} as const satisfies Readonly<Record<string, Limits>>;
