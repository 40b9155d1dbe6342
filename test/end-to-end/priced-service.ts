import { replyAsChatModel } from '../upstreams/chat-model.ts';
import { type Service, type ServiceOptions, startService } from './service.ts';

export interface PricedService extends Service {
  /** Lets answers end, those to later requests too. */
  release(): void;
  /** Lets the answers end that pause. Those to later requests pause again. */
  pauseAgain(): void;
}

/** Starts a service whose model `priced` has prices, and pauses after its first token if a request contains `slowly`. */
export async function startPricedService(options: Omit<ServiceOptions, 'script'> = {}): Promise<PricedService> {
  let gate = Promise.withResolvers<void>();
  const service = await startService({
    ...options,
    script: async ({ body }) =>
      replyAsChatModel(body, { gate: JSON.stringify(body).includes('slowly') ? gate.promise : undefined }),
    models: (upstream) => ({
      priced: {
        targets: [
          {
            provider: 'openai-compatible',
            model: 'gpt',
            baseUrl: upstream.baseUrl,
            price: { inputPerMillion: 1, outputPerMillion: 10 },
          },
        ],
      },
      ...options.models?.(upstream),
    }),
  });
  return {
    ...service,
    release: () => gate.resolve(),
    pauseAgain() {
      gate.resolve();
      gate = Promise.withResolvers();
    },
  };
}
