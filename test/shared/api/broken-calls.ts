import { vi } from 'vitest';
import type { Policy } from '../../../shared/access/policy.ts';
import { LimitsStage } from '../../../shared/api/limits-stage.ts';
import type { Capability } from '../../../shared/inference/capabilities.ts';
import { computeCost } from '../../../shared/inference/cost.ts';
import type { GenerationEvent, GenerationRequest, Usage } from '../../../shared/inference/generation.ts';
import { type ModelCall, UpstreamError } from '../../../shared/inference/model.ts';
import { estimatePromptTokens } from '../../../shared/inference/prompt-tokens.ts';
import { parseModelRegistry, type Target } from '../../../shared/inference/registry.ts';
import { createRouter, type Router } from '../../../shared/inference/router.ts';
import { Stopped } from '../../../shared/jobs/lease.ts';
import { type Cap, listCaps, listModelCaps } from '../../../shared/limits/caps.ts';
import { collect, makeRequest } from '../inference/requests.ts';
import { createRandom, LimitWorld } from '../limits/limit-world.ts';
import type { MemoryCounters } from '../limits/memory-counters.ts';

const target = (model: string, dollars: number) => ({
  ...{ provider: 'bedrock', model },
  price: { inputPerMillion: dollars, outputPerMillion: 5 * dollars },
});
const MODELS = {
  default: {
    ...{ targets: [target('first', 1), target('second', 2)], fallbacks: ['spare'], strictOutput: 'hold' },
    ...{ maxOutputTokens: 200, firstTokenTimeoutMs: 60_000 },
  },
  spare: { targets: [target('third', 4)], maxOutputTokens: 100, strictOutput: 'hold' },
};
const REGISTRY = parseModelRegistry(JSON.stringify({ models: MODELS }), 'test');

const TENANTS = ['acme', 'beta'];
const KEYS = ['one', 'two', 'three'];

/** The attempts of a call after which the router tries again, and that its upstream may charge. */
const BREAKS = {
  cut: () => new UpstreamError('upstream_cut', 'cut', { recovery: 'retry', retryAfterMs: 0 }),
  broken: () =>
    new UpstreamError('upstream_unavailable', 'reset', { recovery: 'retry', upstream: 'ECONNRESET', retryAfterMs: 1 }),
  unreadable: () => new UpstreamError('upstream_malformed', 'no JSON', { recovery: 'retryOnce', retryAfterMs: 0 }),
  slow: () => new UpstreamError('upstream_timeout', 'slow', { recovery: 'nextTarget' }),
};
type Break = keyof typeof BREAKS;

/** What the upstream of an attempt has charged for. */
interface Charge {
  readonly tenant: string;
  readonly keyId: string;
  /** The model that was asked for, and the one whose target was called. */
  readonly requested: string;
  readonly called: string;
  readonly tokens: bigint;
  readonly spend: bigint;
}

/** The upstreams of a call. */
interface Upstream {
  /** The most tokens that its prompt may have. */
  readonly prompt: number;
  readonly call: Pick<Charge, 'tenant' | 'keyId' | 'requested'>;
  readonly cancel: AbortController;
  attempts: number;
}

export interface BrokenCallsOptions {
  readonly store: MemoryCounters;
  readonly seed: number;
  readonly policy: Policy;
  readonly environments: number;
  readonly faults: number;
  /** Whether the models may reason out of sight. */
  readonly reasons: boolean;
}

/** Calls through the stage of limits and the real router, whose upstreams break off, refuse, dawdle and repeat themselves. */
export class BrokenCalls {
  /** Attempts of calls after their first one. */
  retries = 0;
  readonly #options: BrokenCallsOptions;
  readonly #world: LimitWorld;
  readonly #random: () => number;
  readonly #charges: Charge[] = [];
  /** By the key of the conversation. */
  readonly #upstreams = new Map<string, Upstream>();

  constructor(options: BrokenCallsOptions) {
    this.#options = options;
    this.#random = createRandom(options.seed + 1);
    this.#world = new LimitWorld({
      ...options,
      ...{ policyOf: () => options.policy, stepMs: 5 },
      // The router's pauses end. Its timeouts don't.
      onIdle: () => vi.advanceTimersByTimeAsync(2),
    });
  }

  /** Makes calls at once, and returns when all have ended or died. */
  async run(calls: number): Promise<void> {
    const environments = Array.from({ length: this.#options.environments }, () => this.#createEnvironment());
    let pending = calls;
    for (let index = 0; index < calls; index += 1) {
      void this.#call(this.#pick(environments), `call-${index}`)
        .catch(() => {})
        .finally(() => {
          pending -= 1;
        });
    }
    // A call may wait for code to be loaded.
    do await this.#world.finish();
    while (this.#options.faults === 0 && pending > 0);
  }

  /** Settles what the dead have left, when they can't be running any more. */
  async sweep(): Promise<void> {
    this.#world.now += 18 * 60_000;
    await this.#world.sweep();
  }

  /** Returns what the upstreams have charged for, beside each cap, and what the key's item counts for caps of keys. */
  listUse(): { readonly name: string; readonly used: bigint; readonly max: bigint; readonly counted?: bigint }[] {
    const { policy, store } = this.#options;
    const sums = new Map<string, { used: bigint; max: bigint; counted?: bigint }>();
    const add = (cap: Cap, scope: string, charge: Charge): void => {
      if (cap.metric !== 'tokens' && cap.metric !== 'spend') return;
      const name = `${cap.name} of ${cap.level} ${scope}`;
      const sum = sums.get(name) ?? { used: 0n, max: cap.max };
      const letter = cap.metric === 'tokens' ? 't' : 'c';
      const item = store.items.get(`key#${charge.tenant}#${charge.keyId}`) ?? {};
      const counter = Object.keys(item).find((each) =>
        each.startsWith(`k.${letter}.${cap.span === 'month' ? 'y' : cap.span[0]}`),
      );
      const counted = cap.level === 'key' && counter !== undefined ? { counted: item[counter] ?? 0n } : {};
      sums.set(name, { ...sum, ...counted, used: sum.used + charge[cap.metric] });
    };
    for (const charge of this.#charges) {
      const { tenant, keyId, requested, called } = charge;
      const scopes = { account: '', project: tenant, model: `${tenant} ${requested}`, key: `${tenant} ${keyId}` };
      for (const cap of listCaps(policy, requested, 'answers')) add(cap, scopes[cap.level], charge);
      if (called === requested) continue;
      for (const cap of listModelCaps(policy, called, 'answers')) add(cap, `${tenant} ${called}`, charge);
    }
    return [...sums].map(([name, sum]) => ({ name, ...sum }));
  }

  #createEnvironment(): Router & { readonly stage: LimitsStage } {
    const capabilities = new Set<Capability>(this.#options.reasons ? ['json', 'reasoning'] : ['json']);
    const getCapabilities = () => capabilities;
    const now = () => this.#world.now;
    const router = createRouter({
      ...{ registry: REGISTRY, getCapabilities, now, random: () => 0 },
      createModel: async ({ aliasName, target }) => ({
        managesOwnHealth: true,
        generate: (request, call) => this.#answer(aliasName, target, request, call),
      }),
    });
    const store = this.#world.createStore();
    const stage = new LimitsStage({ store, registry: REGISTRY, getCapabilities, whenDown: 'refuse', now });
    return { ...router, stage };
  }

  async #call({ stage, ...router }: Router & { readonly stage: LimitsStage }, id: string): Promise<void> {
    const { policy } = this.#options;
    const call = { tenant: this.#pick(TENANTS), keyId: this.#pick(KEYS), requested: this.#pick(['default', 'spare']) };
    const cancel = new AbortController();
    const format = { type: 'jsonSchema', name: 'a', schema: { type: 'object' }, strict: true } as const;
    const request = makeRequest({
      ...{ tenant: call.tenant, model: call.requested, conversationKey: id },
      messages: [{ role: 'user', content: [{ type: 'text', text: 'x'.repeat(Math.ceil(this.#random() * 400)) }] }],
      ...(this.#random() < 0.7 && { maxOutputTokens: Math.ceil(this.#random() * 150) }),
      ...(this.#random() < 0.2 && { format }),
      ...(this.#random() < 0.5 && { reasoningEffort: 'low' as const }),
    });
    this.#upstreams.set(id, { call, cancel, prompt: Math.ceil(estimatePromptTokens(request) * 1.25), attempts: 0 });
    const options = {
      ...{ signal: cancel.signal, deadlineAt: this.#world.now + 600_000 },
      ...{ streamed: this.#random() < 0.7, queued: this.#random() < 0.3 },
    };
    const caller = { tenant: call.tenant, keyId: call.keyId, policy };
    const { events } = await stage.limit(router, { caller }).generate(request, options);
    await collect(events);
  }

  /** One attempt at a target. */
  async *#answer(
    called: string,
    { price }: Target,
    request: GenerationRequest,
    { signal, streamed }: ModelCall,
  ): AsyncGenerator<GenerationEvent> {
    const upstream = this.#upstreams.get(request.conversationKey);
    if (upstream === undefined) throw new Error('An unknown call');
    upstream.attempts += 1;
    if (upstream.attempts > 1) this.retries += 1;
    const { prompt } = upstream;
    const longest = request.maxOutputTokens ?? Number.POSITIVE_INFINITY;
    const charge = (outputTokens: number): Usage => {
      const usage = { inputTokens: prompt, outputTokens, cachedInputTokens: 0, reasoningTokens: 0 };
      const spend = price === undefined ? 0n : computeCost(usage, price);
      this.#charges.push({ ...upstream.call, called, tokens: BigInt(prompt + outputTokens), spend });
      return usage;
    };
    /** What an upstream has made that is not seen. */
    const hidden = (): number => {
      const mayBe = !streamed || (this.#options.reasons && request.reasoningEffort !== 'none');
      return mayBe && Number.isFinite(longest) ? longest : 0;
    };
    if (!(await this.#world.pause())) {
      charge(hidden());
      await new Promise(() => {});
    }
    signal.throwIfAborted();
    const fate = this.#random();
    if (fate < 0.1) throw new UpstreamError('upstream_unavailable', 'busy', { recovery: 'retry', retryAfterMs: 0 });
    if (fate < 0.5) {
      charge(hidden());
      throw BREAKS[this.#pick(Object.keys(BREAKS) as Break[])]();
    }
    if (fate < 0.6) {
      charge(hidden());
      upstream.cancel.abort(new Stopped('cancelled'));
      throw signal.reason;
    }
    const text = '{"a": 1, "b": "x"}';
    const whole = Math.min(longest, 20);
    if (fate < 0.7 && streamed && request.reasoningEffort === undefined && whole >= 10) {
      yield { type: 'text', text };
      charge(5);
      throw new UpstreamError('upstream_cut', 'cut', { recovery: 'retry' });
    }
    yield { type: 'text', text: this.#random() < 0.5 ? text : 'no JSON' };
    if (!(await this.#world.pause())) {
      charge(whole);
      await new Promise(() => {});
    }
    yield { type: 'finish', reason: 'stop', usage: charge(Math.floor(whole * this.#random())) };
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)] as T;
  }
}
