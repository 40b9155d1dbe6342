import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { constants, getPriority, setPriority } from 'node:os';
import { text } from 'node:stream/consumers';
import { FunctionError } from './errors.ts';
import { type FunctionDefinition, MAX_RESPONSE_BYTES } from './function.ts';
import type { Invocation } from './invocation.ts';
import { forEachLine } from './lines.ts';

/** A line that a function wrote to stdout or stderr. */
export interface LogLine {
  /** The function's short name. */
  readonly function: string;
  readonly pid: number;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** Events that an environment reports to its pool. */
export interface EnvironmentEvents {
  /** Called when the environment is ready for an invocation, which `run` hands to it. */
  onPoll(environment: Environment): void;
  /** Called when the process has ended. `failure` is the reason if it ended before its first poll. */
  onGone(environment: Environment, failure: FunctionError | undefined): void;
  onLog(line: LogLine): void;
}

export interface EnvironmentOptions {
  readonly definition: FunctionDefinition;
  /** Path of the bundled runtime client. */
  readonly runtimeClient: string;
  /** All environment variables of the process except `AWS_LAMBDA_RUNTIME_API`, which comes from `runtimeApi`. */
  readonly variables: Readonly<Record<string, string>>;
  /** `127.0.0.1:port` of the Runtime API. */
  readonly runtimeApi: string;
  /** Maximum milliseconds from the start to the first poll. */
  readonly initTimeoutMs: number;
  /** Epoch ms at which its credentials expire. */
  readonly expiresAt: number;
}

/**
 * The state of an environment's process:
 * - `starting`: it loads the handler;
 * - `ready`: it polls for an invocation, and may be running others;
 * - `busy`: it runs as many invocations as it may;
 * - `between-polls`: it may run more invocations, but has not polled yet: for a moment after a response or after it got
 *   an invocation, and after a response that broke off;
 * - `retiring`: it finishes its invocations and gets no more;
 * - `gone`: it has ended.
 */
export type Phase = 'starting' | 'ready' | 'busy' | 'between-polls' | 'retiring' | 'gone';

interface Running {
  readonly invocation: Invocation;
  readonly timer: NodeJS.Timeout;
}

/** Types of the errors that the runtime reports just before its process ends. */
const CRASH_TYPES: ReadonlySet<string> = new Set(['Runtime.UncaughtException', 'Runtime.UnhandledPromiseRejection']);

/**
 * Milliseconds in which a process must poll again after it was asked to, or its event loop is considered blocked. A
 * process is asked when an invocation timed out or a response broke off. The limit is generous, because a laptop's
 * processors may be busy with other processes.
 */
const PROBE_TIMEOUT_MS = 10_000;

/** One execution environment: a process that serves one invocation at a time, or up to `maxConcurrency` at once. */
export class Environment {
  readonly id: string = randomUUID();
  /** Epoch ms since which it has run no invocation. */
  idleSince = 0;
  readonly exited: Promise<void>;
  readonly #expiresAt: number;
  readonly #definition: FunctionDefinition;
  readonly #events: EnvironmentEvents;
  readonly #child: ChildProcess;
  /** The runtime's polls that wait for an invocation. */
  readonly #polls: ServerResponse[] = [];
  readonly #pollSockets = new WeakSet<Socket>();
  /** Invocations that it runs, by request id. */
  readonly #running = new Map<string, Running>();
  /** Ids of invocations that have timed out but whose code still runs. */
  readonly #overrunning = new Set<string>();
  readonly #initTimer: NodeJS.Timeout;
  #probeTimer: NodeJS.Timeout | undefined;
  #polled = false;
  /** `performance.now()` of the last request to the Runtime API. */
  #lastRequestAt = 0;
  #retiring = false;
  /** True if a response broke off and the runtime has not polled since. */
  #suspected = false;
  #gone = false;
  #initFailure: FunctionError | undefined;
  #served = false;

  constructor(options: EnvironmentOptions, events: EnvironmentEvents) {
    const { definition, runtimeClient, variables, runtimeApi, initTimeoutMs, expiresAt } = options;
    this.#definition = definition;
    this.#events = events;
    this.#expiresAt = expiresAt;
    this.#child = spawn(process.execPath, [runtimeClient], {
      argv0: `lambda:${definition.name}`,
      cwd: definition.taskRoot,
      // The path contains the environment's id, so that one server can serve all environments.
      env: { ...variables, AWS_LAMBDA_RUNTIME_API: `${runtimeApi}/${this.id}` },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (this.#child.pid !== undefined) lowerPriority(this.#child.pid, definition);
    this.#initTimer = setTimeout(() => this.#onInitTimeout(initTimeoutMs), initTimeoutMs);
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#onExit(new FunctionError('Runtime.ExitError', describeExit(code, signal)));
        resolve();
      });
      this.#child.once('error', (error) => {
        this.#onExit(
          new FunctionError(
            'Runtime.StartError',
            `The process could not start in ${definition.taskRoot}: ${error.message}`,
          ),
        );
        resolve();
      });
    });
    this.#forwardLines('stdout');
    this.#forwardLines('stderr');
  }

  /** Process id; 0 if the process could not start. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Ids of the invocations that it runs. */
  get requestIds(): string[] {
    return [...this.#running.keys()];
  }

  /** Number of invocations that it runs. */
  get load(): number {
    return this.#running.size;
  }

  /** Number of further invocations that it may run. */
  get room(): number {
    return this.#maxConcurrency - this.#running.size - this.#overrunning.size;
  }

  get phase(): Phase {
    if (this.#gone) return 'gone';
    if (this.#retiring) return 'retiring';
    if (!this.#polled) return 'starting';
    if (this.room <= 0) return 'busy';
    return this.#polls.length > 0 && !this.#suspected ? 'ready' : 'between-polls';
  }

  /**
   * True if its credentials have expired. False before its first invocation, so that a new environment serves at least
   * one, even with expired credentials.
   */
  get expired(): boolean {
    return this.#served && this.#expiresAt <= Date.now();
  }

  /** Hands `invocation` to the process, which must be `ready`. */
  run(invocation: Invocation): void {
    const poll = this.#polls.pop();
    if (poll === undefined) throw new Error(`Environment ${this.id} is ${this.phase}`);
    const { timeoutMs } = this.#definition;
    const { requestId, payload, remainingMs = timeoutMs } = invocation;
    this.#served = true;
    const startedAt = performance.now();
    const timer = setTimeout(() => this.#onTimeout(invocation, startedAt), timeoutMs);
    this.#running.set(requestId, { invocation, timer });
    poll.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(payload),
      'Lambda-Runtime-Aws-Request-Id': requestId,
      'Lambda-Runtime-Deadline-Ms': Date.now() + remainingMs,
      'Lambda-Runtime-Invoked-Function-Arn': invocation.functionArn,
      'Lambda-Runtime-Trace-Id': invocation.traceHeader,
      ...(invocation.clientContext === undefined ? {} : { 'Lambda-Runtime-Client-Context': invocation.clientContext }),
    });
    poll.end(payload);
  }

  /** Ends the process at once. All invocations that it runs fail. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Ends the process when it has finished its invocations. It gets no more. */
  retire(): void {
    this.#retiring = true;
    if (this.#running.size === 0) this.kill();
  }

  /** Runtime API: handles a poll for an invocation. */
  onPoll(response: ServerResponse): void {
    this.#lastRequestAt = performance.now();
    clearTimeout(this.#initTimer);
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    this.#suspected = false;
    this.#watchConnection(response.socket);
    this.#polls.push(response);
    this.#polled = true;
    if (this.#running.size === 0) this.idleSince = Date.now();
    if (this.phase === 'ready') this.#events.onPoll(this);
  }

  /** Runtime API: handles the start of an invocation's response. */
  onResponse(requestId: string, request: IncomingMessage, acknowledge: (status: number) => void): void {
    this.#lastRequestAt = performance.now();
    this.#overrunning.delete(requestId);
    const invocation = this.#running.get(requestId)?.invocation;
    if (invocation === undefined || invocation.isSettled) {
      acknowledge(400);
    } else if (Number(request.headers['content-length'] ?? 0) > MAX_RESPONSE_BYTES) {
      const message = `Response payload size exceeded maximum allowed payload size (${MAX_RESPONSE_BYTES} bytes).`;
      invocation.fail(new FunctionError('Function.ResponseSizeTooLarge', message));
      acknowledge(413);
      this.#complete(invocation);
    } else {
      request.once('close', () => {
        if (!request.complete) this.#suspect();
        this.#complete(invocation);
      });
      request.once('end', () => {
        this.#complete(invocation);
        acknowledge(202);
      });
      invocation.respond(request);
    }
  }

  /** Runtime API: handles the report of a handler that failed before it responded. */
  async onError(requestId: string, request: IncomingMessage, acknowledge: (status: number) => void): Promise<void> {
    this.#lastRequestAt = performance.now();
    this.#overrunning.delete(requestId);
    const error = FunctionError.fromReport(await text(request));
    const invocation = this.#running.get(requestId)?.invocation;
    invocation?.fail(error);
    // The process may still poll, but an invocation that it gets now would be lost.
    if (CRASH_TYPES.has(error.errorType)) this.#retiring = true;
    if (invocation !== undefined) this.#complete(invocation);
    acknowledge(202);
  }

  /** Runtime API: handles the report that the handler could not be loaded. */
  async onInitError(request: IncomingMessage, acknowledge: (status: number) => void): Promise<void> {
    this.#initFailure = FunctionError.fromReport(await text(request));
    acknowledge(202);
  }

  /** Stops handing out invocations when a connection that polled is closed, because the process is ending then. */
  #watchConnection(socket: Socket | null): void {
    if (socket === null || this.#pollSockets.has(socket)) return;
    this.#pollSockets.add(socket);
    socket.once('close', () => {
      this.#retiring = true;
    });
  }

  get #maxConcurrency(): number {
    return this.#definition.managedInstances?.maxConcurrency ?? 1;
  }

  #complete(invocation: Invocation): void {
    const running = this.#running.get(invocation.requestId);
    if (running === undefined) return;
    clearTimeout(running.timer);
    this.#running.delete(invocation.requestId);
    if (this.#running.size === 0) this.idleSince = Date.now();
    invocation.end();
    if (this.#retiring) this.retire();
    // The runtime may have polled before its response was complete.
    else if (this.phase === 'ready') this.#events.onPoll(this);
  }

  /**
   * Fails an invocation that took too long. Standard Lambda ends its environment. Lambda Managed Instances let the code
   * continue, so that other invocations are not interrupted, and end an environment only if it is unhealthy.
   * @see https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-execution-environment.html
   */
  #onTimeout(invocation: Invocation, startedAt: number): void {
    const seconds = (this.#definition.timeoutMs / 1000).toFixed(2);
    const message = `RequestId: ${invocation.requestId} Error: Task timed out after ${seconds} seconds`;
    this.#log('stderr', message);
    // The runtime will still respond to it, unless a response has begun, which is cut below.
    const stillRuns = !invocation.isSettled;
    invocation.fail(new FunctionError('Sandbox.Timedout', message));
    if (this.#definition.managedInstances === undefined) {
      this.kill();
    } else {
      if (stillRuns) this.#overrunning.add(invocation.requestId);
      invocation.cut();
      this.#complete(invocation);
      this.#probe(startedAt);
    }
  }

  /**
   * Ends the process if its event loop is blocked. The process is asked to poll again, and ended if it doesn't. A
   * process without an open poll can't be asked: it is ended if it runs nothing else and has made no request since
   * `startedAt`.
   */
  #probe(startedAt: number): void {
    if (this.#probeTimer !== undefined || this.#askForPoll()) return;
    if (this.#running.size === 0 && this.#lastRequestAt < startedAt) this.kill();
  }

  /**
   * Stops handing out invocations until the runtime polls again: a response that breaks off may be the first sign that
   * the process has ended.
   */
  #suspect(): void {
    this.#suspected = true;
    if (this.#probeTimer === undefined) this.#askForPoll();
  }

  /**
   * Asks the runtime to poll again within `PROBE_TIMEOUT_MS`, by answering a poll with 204. Returns false if none is
   * open.
   */
  #askForPoll(): boolean {
    const poll = this.#polls.pop();
    if (poll === undefined) return false;
    this.#probeTimer = setTimeout(() => this.kill(), PROBE_TIMEOUT_MS);
    poll.writeHead(204).end();
    return true;
  }

  #onInitTimeout(initTimeoutMs: number): void {
    const message = `The function did not start within ${(initTimeoutMs / 1000).toFixed(2)} seconds`;
    // A queue's messages then stay hidden for the queue's own visibility timeout, without any other trace.
    this.#log('stderr', message);
    this.#initFailure = new FunctionError('Sandbox.Timedout', message);
    this.kill();
  }

  #onExit(failure: FunctionError): void {
    if (this.#gone) return;
    this.#gone = true;
    clearTimeout(this.#initTimer);
    clearTimeout(this.#probeTimer);
    for (const [requestId, { invocation, timer }] of this.#running) {
      clearTimeout(timer);
      invocation.fail(new FunctionError(failure.errorType, `RequestId: ${requestId} Error: ${failure.message}`));
    }
    this.#running.clear();
    this.#events.onGone(this, this.#polled ? undefined : (this.#initFailure ?? failure));
  }

  #forwardLines(stream: 'stdout' | 'stderr'): void {
    const output = this.#child[stream];
    if (output) forEachLine(output, (line) => this.#log(stream, line));
  }

  #log(stream: 'stdout' | 'stderr', line: string): void {
    this.#events.onLog({ function: this.#definition.name, pid: this.pid, stream, text: line });
  }
}

/** Steps of `nice` by which the priority of a function's process is below the local cloud's. */
const NICE_STEPS = { interactive: 5, background: 12 };

/**
 * Gives a function's process a lower priority than the local cloud. When functions keep all processors busy, their
 * requests to the stand-ins for AWS's services would time out otherwise. Background functions get the lowest priority,
 * so that they don't slow down functions that a caller waits for; in AWS each environment has its own processor.
 */
function lowerPriority(pid: number, { background }: FunctionDefinition): void {
  const steps = background ? NICE_STEPS.background : NICE_STEPS.interactive;
  try {
    setPriority(pid, Math.min(constants.priority.PRIORITY_LOW, getPriority() + steps));
  } catch {
    // The process has ended already, or the system doesn't allow it. The process then keeps its priority.
  }
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  const cause = signal === null ? `exit status ${code}` : `signal: ${signal}`;
  return `Runtime exited ${code === 0 ? 'without providing a reason' : `with error: ${cause}`}`;
}
