import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import type { Responder } from '../../local/bedrock/frames.ts';
import type { Guardrails } from '../../local/bedrock/guardrails.ts';
import { createGuide } from '../../local/bedrock/guide.ts';
import { type Cloud, startCloud } from '../../local/cloud.ts';
import { managedFunctions } from '../lambda-mode.ts';
import { type Script, startUpstream, type Upstream } from '../upstreams/openai-upstream.ts';
import { createScopedFetch } from './keys.ts';

/** The whole running service: the packaged bundles in function processes, and upstreams that speak HTTP. */
export interface Service extends AsyncDisposable {
  readonly cloud: Cloud;
  /** The upstream of the model `compatible`. */
  readonly upstream: Upstream;
  /**
   * The official client without retries, so that a test sees every answer. Each request has a key with the scope of its
   * route alone.
   */
  readonly client: OpenAI;
  /** All lines that functions have logged. */
  readonly logs: readonly string[];
  /** The folder that contains all stored data. */
  readonly stateDir: string;
}

export interface ServiceOptions {
  /** Replies for the model `compatible`. By default, a small chat model replies. */
  readonly script?: Script;
  /** Replies for the model `bedrock`. By default, the built-in guide replies. */
  readonly respond?: Responder;
  /** Additional fields of the model `compatible`. */
  readonly alias?: Readonly<Record<string, unknown>>;
  /** More models, by name. */
  readonly models?: (upstream: Upstream) => Readonly<Record<string, object>>;
  /** Fleets of GPU workers, by name. */
  readonly fleets?: Readonly<Record<string, object>>;
  readonly environment?: Readonly<Record<string, string>>;
  /** More sections of the models file, such as `moderations`. */
  readonly sections?: (upstream: Upstream) => Readonly<Record<string, object>>;
  /** The guardrails of the Bedrock stand-in. */
  readonly guardrails?: Guardrails;
  /** True for functions whose processes serve many requests each. Default: as the tests run. */
  readonly isManaged?: boolean;
  /** Called with the folder of the stored data before the service starts. */
  readonly prepare?: (stateDir: string) => Promise<void>;
}

const GUIDE = 'lambent.guide';

/** Starts a service with the models `default` (the guide), `bedrock`, `compatible` and `lean`. */
export async function startService({
  script,
  respond,
  alias,
  models: more,
  fleets = {},
  environment,
  sections,
  guardrails = {},
  isManaged = false,
  prepare,
}: ServiceOptions = {}): Promise<Service> {
  const stateDir = await mkdtemp(join(tmpdir(), 'lambent-test-'));
  await prepare?.(stateDir);
  const upstream = await startUpstream(script);
  const guide = createGuide();
  const models = {
    default: { targets: [{ provider: 'bedrock', model: GUIDE }] },
    bedrock: { targets: [{ provider: 'bedrock', model: 'anthropic.claude-sonnet-4-5-20250929-v1:0' }] },
    compatible: {
      targets: [{ provider: 'openai-compatible', model: 'upstream-model', baseUrl: upstream.baseUrl }],
      ...alias,
    },
    // The capabilities of DeepSeek and Qwen in this repository's models.json.
    lean: {
      targets: [
        {
          provider: 'openai-compatible',
          model: 'lean-model',
          baseUrl: upstream.baseUrl,
          capabilities: ['tools', 'json', 'stop'],
        },
      ],
    },
    ...more?.(upstream),
  };
  await writeFile(
    join(stateDir, 'test-models.json'),
    JSON.stringify({
      models,
      fleets,
      patterns: { 'gpt-*': 'compatible' },
      imageHosts: ['images.example.com'],
      ...sections?.(upstream),
    }),
  );
  const logs: string[] = [];
  const cloud = await startCloud({
    stateDir,
    bedrock: (call) => (call.modelId === GUIDE || respond === undefined ? guide : respond)(call),
    guardrails,
    schedules: false,
    managedFunctions: isManaged ? 'all' : managedFunctions(),
    environment: {
      MODELS_FILE: join(stateDir, 'test-models.json'),
      TIMINGS_DIVISOR: '6',
      ...environment,
    },
    onLog: ({ text }) => logs.push(text),
  });
  return {
    cloud,
    upstream,
    logs,
    stateDir,
    client: new OpenAI({
      baseURL: cloud.url,
      apiKey: 'sk-local',
      maxRetries: 0,
      fetch: await createScopedFetch(cloud),
    }),
    async [Symbol.asyncDispose]() {
      await cloud.close();
      await upstream.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}
