import { AsyncLocalStorage } from 'node:async_hooks';

/** Data of one invocation by key; Lambda's own keys are symbols. */
type InvocationData = Record<PropertyKey, unknown>;

const REQUEST_ID = Symbol.for('_AWS_LAMBDA_REQUEST_ID');
const X_RAY_TRACE_ID = Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID');
const PROTECTED_KEYS: ReadonlySet<PropertyKey> = new Set([REQUEST_ID, X_RAY_TRACE_ID]);

/**
 * The store that AWS's runtime offers as `awslambda.InvokeStore` if one process serves many invocations. It keeps each
 * invocation's data separate across `await`. The AWS SDK reads the trace id of its requests from it.
 * @see https://github.com/awslabs/aws-lambda-invoke-store
 */
export class InvokeStore {
  readonly #storage = new AsyncLocalStorage<InvocationData>();

  /** Runs `serve` with an invocation's ids, which all code that it calls can read, also after an `await`. */
  runInvocation<Result>(requestId: string, traceId: string, serve: () => Result): Result {
    return this.run({ [REQUEST_ID]: requestId, [X_RAY_TRACE_ID]: traceId }, serve);
  }

  run<Result>(data: InvocationData, serve: () => Result): Result {
    return this.#storage.run(data, serve);
  }

  getContext(): InvocationData | undefined {
    return this.#storage.getStore();
  }

  hasContext(): boolean {
    return this.#storage.getStore() !== undefined;
  }

  get(key: PropertyKey): unknown {
    return this.#storage.getStore()?.[key];
  }

  /** @throws Error outside of an invocation, and for a key of Lambda's own */
  set(key: PropertyKey, value: unknown): void {
    if (PROTECTED_KEYS.has(key)) throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    const data = this.#storage.getStore();
    if (data === undefined) throw new Error('No context available');
    data[key] = value;
  }

  /** Returns the request id; `-` outside of an invocation. */
  getRequestId(): string {
    return String(this.get(REQUEST_ID) ?? '-');
  }

  getXRayTraceId(): string | undefined {
    const traceId = this.get(X_RAY_TRACE_ID);
    return traceId === undefined ? undefined : String(traceId);
  }

  /** Returns undefined, because no function here uses Lambda's tenant isolation. */
  getTenantId(): undefined {
    return undefined;
  }
}
