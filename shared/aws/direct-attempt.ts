import type { IncomingMessage } from 'node:http';
import type {
  AwsCredentialIdentity,
  EndpointV2,
  HttpHandlerOptions,
  InitializeMiddleware,
  MetadataBearer,
  MiddlewareStack,
  Provider,
  RequestHandler,
  ResponseMetadata,
} from '@smithy/types';
import { createSigner } from './request-signature.ts';

/** A service with the protocol AWS JSON 1.0, and what is known of it. */
export interface DirectService {
  /** Its name in signatures. */
  readonly name: string;
  /** Begins the name of an operation in `x-amz-target`. */
  readonly targetPrefix: string;
  /** The variable that sets its endpoint. */
  readonly endpointVariable: string;
  /** Operations whose inputs and outputs hold no values but JSON's and the bytes of DynamoDB's attributes. */
  readonly operations: ReadonlySet<string>;
  /** Returns the error of a response with status 400, if it is one that another attempt can't change. */
  readonly toRefusal?: (body: Record<string, unknown>, $metadata: ResponseMetadata) => Error | undefined;
}

/** An AWS SDK's client, as far as it matters here. */
interface Client<Input extends object, Output extends MetadataBearer> {
  readonly config: {
    readonly region: Provider<string>;
    readonly useFipsEndpoint: Provider<boolean>;
    readonly useDualstackEndpoint: Provider<boolean>;
    readonly credentials: Provider<AwsCredentialIdentity>;
    readonly systemClockOffset: number;
    readonly requestHandler: RequestHandler<never, HttpResponse, HttpHandlerOptions>;
    readonly endpointProvider: (where: Where) => EndpointV2;
  };
  readonly middlewareStack: MiddlewareStack<Input, Output>;
}

type Where = { Region: string; UseFIPS: boolean; UseDualStack: boolean; Endpoint?: string };

interface HttpResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: IncomingMessage;
}

/**
 * Makes the first attempt of a client's requests without the SDK's middleware, which needs about ten times as much processor
 * time as the request itself. The SDK's HTTP handler sends them. Whatever is neither success nor a known refusal is left to the
 * SDK, which then makes the further attempts, and throws.
 */
export function addDirectAttempt<Input extends object, Output extends MetadataBearer>(
  { config, middlewareStack }: Client<Input, Output>,
  service: DirectService,
): void {
  let destination: ReturnType<typeof findDestination> | undefined;

  async function attempt(operation: string, input: object) {
    destination ??= findDestination(config, service);
    const [{ url, sign }, credentials] = await Promise.all([destination, config.credentials()]);
    const { protocol, hostname, port, host, pathname: path } = url;
    const body = JSON.stringify(toWire(input));
    const target = `${service.targetPrefix}.${operation}`;
    const headers = sign({ host, path, target, body }, credentials, Date.now() + config.systemClockOffset);
    const request = { method: 'POST', protocol, hostname, path, query: {}, headers, body };
    const { response } = await config.requestHandler.handle({
      ...request,
      ...(port === '' ? {} : { port: Number(port) }),
    } as never);
    return { response, output: parse(await readText(response.body)) };
  }

  const middleware: InitializeMiddleware<Input, Output> = (next, context) => async (args) => {
    const operation = String(context['commandName']).replace(/Command$/, '');
    if (!service.operations.has(operation)) return next(args);
    const attempted = await attempt(operation, args.input).catch(() => undefined);
    if (attempted === undefined) return next(args);
    const { response, output } = attempted;
    const $metadata = {
      httpStatusCode: response.statusCode,
      requestId: response.headers['x-amzn-requestid'] ?? '',
    };
    if (response.statusCode === 200) return { response, output: { ...output, $metadata } };
    const refusal = response.statusCode === 400 ? service.toRefusal?.(output, $metadata) : undefined;
    if (refusal !== undefined) throw refusal;
    return next(args);
  };
  middlewareStack.add(middleware, { step: 'initialize', priority: 'high', name: 'directAttempt' });
}

async function findDestination(config: Client<object, MetadataBearer>['config'], service: DirectService) {
  const [Region, UseFIPS, UseDualStack] = await Promise.all([
    config.region(),
    config.useFipsEndpoint(),
    config.useDualstackEndpoint(),
  ]);
  const Endpoint = process.env[service.endpointVariable] ?? process.env['AWS_ENDPOINT_URL'];
  const where = { Region, UseFIPS, UseDualStack, ...(Endpoint === undefined ? {} : { Endpoint }) };
  return { url: config.endpointProvider(where).url, sign: createSigner(service.name, Region) };
}

/** Returns a copy with bytes in Base64, as JSON carries them. */
function toWire(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  if (Array.isArray(value)) return value.map(toWire);
  return Object.fromEntries(Object.entries(value).map(([name, child]) => [name, toWire(child)]));
}

function parse(text: string) {
  const output = JSON.parse(text);
  restoreBytes(output);
  return output;
}

/** Replaces bytes in Base64, in place. Only an attribute's type `B` or `BS` has a string or an array of strings as its value. */
function restoreBytes(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [name, child] of Object.entries(value)) {
    if (name === 'B' && typeof child === 'string') Object.assign(value, { B: toBytes(child) });
    else if (name === 'BS' && Array.isArray(child)) Object.assign(value, { BS: child.map(toBytes) });
    else restoreBytes(child);
  }
}

const toBytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));

function readText(stream: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    stream.on('error', reject);
    stream.on('aborted', () => reject(new Error('The response was cut')));
  });
}
