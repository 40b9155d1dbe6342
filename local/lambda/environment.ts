import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, getPriority, setPriority } from 'node:os';
import { text } from 'node:stream/consumers';
import { FunctionError } from './errors.ts';
import { type FunctionDefinition, MAX_PAYLOAD_BYTES } from './function.ts';
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

/** What an environment tells its pool. */
export interface EnvironmentEvents {
  /** It waits for work. */
  onIdle(environment: Environment): void;
  /** Its process has ended; `failure` says why when it never got as far as waiting for work. */
  onGone(environment: Environment, failure: FunctionError | undefined): void;
  onLog(line: LogLine): void;
}

export interface EnvironmentOptions {
  readonly definition: FunctionDefinition;
  /** Path of the compiled runtime client. */
  readonly runtimeClient: string;
  /** The process's whole environment; `AWS_LAMBDA_RUNTIME_API` comes from `runtimeApi`. */
  readonly variables: Readonly<Record<string, string>>;
  /** `127.0.0.1:port` of the Runtime API. */
  readonly runtimeApi: string;
  /** Milliseconds until it must wait for work. */
  readonly initTimeoutMs: number;
  /** Epoch ms after which its credentials are no use. */
  readonly expiresAt: number;
}

/**
 * - `starting`: loads the handler;
 * - `idle`: waits for work;
 * - `busy`: has an invocation whose answer is not whole;
 * - `finishing`: its answer is whole, but it has not asked for work again;
 * - `gone`: the process has ended, or is being ended.
 */
export type Phase = 'starting' | 'idle' | 'busy' | 'finishing' | 'gone';

/** One execution environment: a process that serves one invocation at a time. */
export class Environment {
  readonly id: string = randomUUID();
  /** Epoch ms since when it has been idle. */
  idleSince = 0;
  readonly exited: Promise<void>;
  readonly #expiresAt: number;
  readonly #definition: FunctionDefinition;
  readonly #events: EnvironmentEvents;
  readonly #child: ChildProcess;
  #phase: Phase = 'starting';
  #timer: NodeJS.Timeout;
  /** The runtime's pending request for work. */
  #poll: ServerResponse | undefined;
  #invocation: Invocation | undefined;
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
      // The path names the environment, so that one server can serve them all.
      env: { ...variables, AWS_LAMBDA_RUNTIME_API: `${runtimeApi}/${this.id}` },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (this.#child.pid !== undefined) standBack(this.#child.pid, definition);
    this.#timer = setTimeout(() => this.#initTimedOut(initTimeoutMs), initTimeoutMs);
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#gone(new FunctionError('Runtime.ExitError', exitMessage(code, signal)));
        resolve();
      });
      this.#child.once('error', (error) => {
        this.#gone(
          new FunctionError('Runtime.StartError', `No process could start in ${definition.taskRoot}: ${error.message}`),
        );
        resolve();
      });
    });
    this.#forwardLines('stdout');
    this.#forwardLines('stderr');
  }

  /** Process id; 0 when it could not start. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Id of the invocation that it has; undefined when it has none. */
  get requestId(): string | undefined {
    return this.#invocation?.requestId;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Whether its credentials are no use any more. A new one serves at least once, whatever it was given. */
  get expired(): boolean {
    return this.#served && this.#expiresAt <= Date.now();
  }

  /** Hands `invocation` to the process, which must be idle. */
  run(invocation: Invocation): void {
    const poll = this.#poll;
    if (this.#phase !== 'idle' || poll === undefined) throw new Error(`Environment ${this.id} is ${this.#phase}`);
    this.#phase = 'busy';
    this.#served = true;
    this.#poll = undefined;
    this.#invocation = invocation;
    const { timeoutMs } = this.#definition;
    this.#timer = setTimeout(() => this.#timedOut(invocation), timeoutMs);
    poll.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(invocation.payload),
      'Lambda-Runtime-Aws-Request-Id': invocation.requestId,
      'Lambda-Runtime-Deadline-Ms': Date.now() + timeoutMs,
      'Lambda-Runtime-Invoked-Function-Arn': invocation.functionArn,
      'Lambda-Runtime-Trace-Id': `Root=1-${invocation.requestId}`,
      ...(invocation.clientContext === undefined ? {} : { 'Lambda-Runtime-Client-Context': invocation.clientContext }),
    });
    poll.end(invocation.payload);
  }

  /** Ends the process at once. What it was serving fails. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Runtime API: the runtime asks for work. */
  onNext(response: ServerResponse): void {
    this.#poll = response;
    if (this.#phase === 'starting' || this.#phase === 'finishing') this.#becomeIdle();
  }

  /** Runtime API: the runtime begins to answer. */
  onResponse(requestId: string, request: IncomingMessage, acknowledge: (status: number) => void): void {
    const invocation = this.#invocation;
    if (invocation === undefined || invocation.requestId !== requestId || invocation.answered) {
      acknowledge(400);
    } else if (Number(request.headers['content-length'] ?? 0) > MAX_PAYLOAD_BYTES) {
      const message = `Response payload size exceeded maximum allowed payload size (${MAX_PAYLOAD_BYTES} bytes).`;
      invocation.fail(new FunctionError('Function.ResponseSizeTooLarge', message));
      acknowledge(413);
      this.#complete(invocation);
    } else {
      request.once('close', () => this.#complete(invocation));
      request.once('end', () => {
        this.#complete(invocation);
        acknowledge(202);
      });
      invocation.answer(request);
    }
  }

  /** Runtime API: the handler failed before it answered. */
  async onError(requestId: string, request: IncomingMessage, acknowledge: (status: number) => void): Promise<void> {
    const invocation = this.#invocation;
    const report = await text(request);
    if (invocation !== undefined && invocation.requestId === requestId) {
      invocation.fail(FunctionError.fromReport(report));
      this.#complete(invocation);
    }
    acknowledge(202);
  }

  /** Runtime API: the handler could not be loaded. */
  async onInitError(request: IncomingMessage, acknowledge: (status: number) => void): Promise<void> {
    this.#initFailure = FunctionError.fromReport(await text(request));
    acknowledge(202);
  }

  #complete(invocation: Invocation): void {
    if (this.#invocation !== invocation) return;
    clearTimeout(this.#timer);
    this.#invocation = undefined;
    invocation.end();
    if (this.#phase !== 'busy') return;
    this.#phase = 'finishing';
    if (this.#poll !== undefined) this.#becomeIdle();
  }

  #becomeIdle(): void {
    clearTimeout(this.#timer);
    this.#phase = 'idle';
    this.idleSince = Date.now();
    this.#events.onIdle(this);
  }

  #timedOut(invocation: Invocation): void {
    const seconds = (this.#definition.timeoutMs / 1000).toFixed(2);
    const message = `RequestId: ${invocation.requestId} Error: Task timed out after ${seconds} seconds`;
    this.#log('stderr', message);
    invocation.fail(new FunctionError('Sandbox.Timedout', message));
    this.kill();
  }

  #initTimedOut(initTimeoutMs: number): void {
    const message = `The function did not start within ${(initTimeoutMs / 1000).toFixed(2)} seconds`;
    this.#initFailure = new FunctionError('Sandbox.Timedout', message);
    this.kill();
  }

  #gone(failure: FunctionError): void {
    if (this.#phase === 'gone') return;
    clearTimeout(this.#timer);
    const neverReady = this.#phase === 'starting';
    this.#phase = 'gone';
    if (this.#invocation !== undefined) {
      const { requestId } = this.#invocation;
      this.#invocation.fail(new FunctionError(failure.errorType, `RequestId: ${requestId} Error: ${failure.message}`));
      this.#invocation = undefined;
    }
    this.#events.onGone(this, neverReady ? (this.#initFailure ?? failure) : undefined);
  }

  #forwardLines(stream: 'stdout' | 'stderr'): void {
    const output = this.#child[stream];
    if (output) forEachLine(output, (line) => this.#log(stream, line));
  }

  #log(stream: 'stdout' | 'stderr', line: string): void {
    this.#events.onLog({ function: this.#definition.name, pid: this.pid, stream, text: line });
  }
}

/** How far a function's process stands back, in steps of `nice`: for who waits for an answer, and for who doesn't. */
const STEPS_BACK = { interactive: 5, background: 12 };

/**
 * Puts a function's process behind the cloud's own: what stands for AWS's services must answer as promptly when functions
 * have all processors busy, or functions would find those services out of reach. And what a queue gives to do waits for
 * what a caller waits for, which has processors of its own in AWS.
 */
function standBack(pid: number, { background }: FunctionDefinition): void {
  const steps = background ? STEPS_BACK.background : STEPS_BACK.interactive;
  try {
    setPriority(pid, Math.min(constants.priority.PRIORITY_LOW, getPriority() + steps));
  } catch {
    // It has ended already, or the system doesn't allow it: then it competes like any other.
  }
}

function exitMessage(code: number | null, signal: NodeJS.Signals | null): string {
  const cause = signal === null ? `exit status ${code}` : `signal: ${signal}`;
  return `Runtime exited ${code === 0 ? 'without providing a reason' : `with error: ${cause}`}`;
}
